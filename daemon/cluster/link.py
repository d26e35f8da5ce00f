"""The reader's end of one worker: its actor, the frames that wait for it, the calls that it has not answered."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daemon.cluster.plan import FrameBatch, MetricSamples, ModelPlan, WorkerFacts
from daemon.engine.backlog import Backlog
from daemon.messages import WorkerStatus
from streams.frame import ScanPoint

CREDITS = 2
"""Batches in flight for a worker: it works on one while the next is on its way."""
BATCH_FRAMES, MOST_FRAMES = 64, 256
"""Frames in a batch: so many are waited for, a while, and so many go at once; one batch costs the reader about 1 ms."""
GATHER_S = 0.05
"""Longest wait of a frame for a batch to be full, s: half of the publishing period."""
AGAIN_S = 0.5
"""Time until a worker that was lost is asked again, s: Ray needs some seconds to start its process."""

AWAY_S = 60.0
"""Time after which the frames of a lost worker go to others, s: a process that is started again is there within about 10 s."""


class WorkerState(StrEnum):
    """Whether a worker takes frames."""

    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"


class Call(StrEnum):
    """What a worker is asked."""

    BEGIN = "begin"
    TAKE = "take"
    USE = "use"
    CHANGES = "changes"
    FINISH = "finish"


@dataclass(slots=True, eq=False)
class Asked:
    """A call that is not answered yet."""

    call: Call
    scan_id: str = ""
    points: Sequence[ScanPoint] = ()
    is_halo: bool = False
    """Whether the frames help the refined layer alone."""
    generation: int | None = None
    """Of the model that the worker is to use."""


class WorkerLink:
    """Used by the reader's cluster thread; the status reads it."""

    def __init__(self, number: int, actor: Any, backlog: Backlog, halo: Backlog) -> None:
        self.number = number
        self.backlog = backlog
        self.halo = halo
        """Frames of others that wait for the worker's refined layer."""
        self._actor = actor
        self.epoch = 0
        self.state = WorkerState.STARTING
        self.facts: WorkerFacts | None = None
        self.asked: dict[Any, Asked] = {}
        self.sequence = 0
        self.restarts = 0
        self.losses_in_row = 0
        self.frames_stitched = 0
        self.failure: str | None = None
        self.generation: int | None = None
        """The generation of the worker's model."""
        self.told_s: float | None = None
        self.metrics: Sequence[MetricSamples] = ()
        self._begin_at = 0.0
        self._lost_at: float | None = None

    @property
    def in_flight(self) -> list[Asked]:
        """Batches that are not answered."""
        return [asked for asked in list(self.asked.values()) if asked.call is Call.TAKE]

    @property
    def frames_in_flight(self) -> int:
        """Their frames."""
        return sum(len(asked.points) for asked in self.in_flight)

    @property
    def waiting(self) -> int:
        """Frames that are to be stitched, waiting and in flight."""
        return len(self.backlog) + sum(len(asked.points) for asked in self.in_flight if not asked.is_halo)

    @property
    def tiles_age_s(self) -> float | None:
        """Time since the worker told tiles, s; None before the first."""
        return None if self.told_s is None else time.monotonic() - self.told_s

    @property
    def is_due_to_begin(self) -> bool:
        """Whether to ask the worker to begin now."""
        return self.state is not WorkerState.RUNNING and not self.asked and time.monotonic() >= self._begin_at

    @property
    def is_away(self) -> bool:
        """Whether the worker has been lost for so long that others do its frames."""
        return self._lost_at is not None and time.monotonic() - self._lost_at > AWAY_S

    def begin(self, model: ModelPlan) -> None:
        """Ask the worker to begin another epoch."""
        self.epoch += 1
        self.sequence = 0
        self._ask(self._actor.begin.remote(model, self.epoch), Asked(Call.BEGIN, generation=model.generation))

    def use(self, model: ModelPlan) -> None:
        """Have the worker go on with another model for the same probe, unless it uses it already, or does so soon."""
        is_asked = any(one.generation == model.generation for one in self.asked.values())
        if self.state is WorkerState.RUNNING and self.generation != model.generation and not is_asked:
            self._ask(self._actor.use.remote(self.epoch, model), Asked(Call.USE, generation=model.generation))

    def note_begun(self, facts: WorkerFacts) -> None:
        """Note where the worker has begun."""
        self.facts, self.state, self.failure, self._lost_at = facts, WorkerState.RUNNING, None, None

    def note_lost(self, reason: str, *, is_planned: bool = False) -> list[Asked]:
        """Note that the worker's engine is gone; return what it was asked and will not answer."""
        asked = list(self.asked.values())
        self.asked.clear()
        if self.state is WorkerState.RUNNING and not is_planned:
            self.restarts += 1
            self._lost_at = time.monotonic()
        if not is_planned:
            self.failure = reason
            self._begin_at = time.monotonic() + AGAIN_S
            self.state = WorkerState.RESTARTING if self.facts is not None else WorkerState.STARTING
        else:
            self.state = WorkerState.STARTING
        return asked

    def batch(self, waits: Backlog, *, at_once: bool) -> Sequence[Any]:
        """Return what waits for the worker in one of its two backlogs, if it may get more and there is a batch of it."""
        if self.state is not WorkerState.RUNNING or len(self.in_flight) >= CREDITS:
            return ()
        if not at_once and 0 < len(waits) < BATCH_FRAMES and waits.age_s < GATHER_S:
            return ()
        return waits.take(MOST_FRAMES, 0.0)

    def finish(self, scan_id: str) -> None:
        """Note that a scan gets no more frames."""
        self.backlog.finish(scan_id)
        self.halo.finish(scan_id)

    def send(self, points: Sequence[ScanPoint], pixel_size_m: float, *, is_halo: bool) -> None:
        """Send frames of one scan and of one shape."""
        batch = FrameBatch.of(points, self.epoch, pixel_size_m, is_halo=is_halo)
        self._ask(self._actor.take.remote(batch), Asked(Call.TAKE, points[0].scan_id, points, is_halo))

    @property
    def awaits_changes(self) -> bool:
        """Whether the worker has been asked for changed tiles."""
        return any(one.call is Call.CHANGES for one in self.asked.values())

    def ask_changes(self, probes: Mapping[str, NDArray[np.complex64]]) -> None:
        """Ask for changed tiles; ``probes`` are changes of the probes of scans."""
        self._ask(self._actor.changes.remote(self.epoch, probes), Asked(Call.CHANGES))

    def ask_to_finish(self, scan_id: str) -> None:
        """Say that a scan has ended."""
        self._ask(self._actor.finish.remote(self.epoch, scan_id), Asked(Call.FINISH, scan_id))

    def status(self) -> WorkerStatus:
        """Return the status of the worker."""
        return {
            "worker": self.number,
            "state": self.state,
            "host": None if self.facts is None else self.facts.host,
            "device": None if self.facts is None else self.facts.device,
            "frames_stitched": self.frames_stitched,
            "frames_waiting": len(self.backlog),
            "frames_in_flight": self.frames_in_flight,
            "tiles_age_s": self.tiles_age_s,
            "restarts": self.restarts,
            "trouble": self.failure,
        }

    def note_told(self, has_tiles: bool) -> None:
        """Note that the worker has answered for its tiles."""
        if has_tiles:
            self.told_s = time.monotonic()

    def has_frames_of(self, scan_id: str) -> bool:
        """Whether frames of a scan are in flight."""
        return any(asked.scan_id == scan_id for asked in self.in_flight)

    def _ask(self, reference: Any, asked: Asked) -> None:
        self.asked[reference] = asked


def alike(points: Sequence[ScanPoint]) -> Iterator[list[ScanPoint]]:
    """Yield the points of each scan, shape and type together."""
    runs: dict[tuple[Any, ...], list[ScanPoint]] = {}
    for point in points:
        runs.setdefault((point.scan_id, point.counts.shape, point.counts.dtype.str), []).append(point)
    yield from runs.values()
