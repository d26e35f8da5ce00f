"""The engine of a daemon whose scans several workers reconstruct: one thread that gives out frames and merges what comes back.

It has the face of :class:`daemon.engine.loop.Engine`. Frames that wait for a worker are in its backlog, beyond the bound of
memory in the journal. A worker that is lost delays its own region only: its frames are read from the journal once more.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daemon.cluster.answers import IDLE_WAIT_S, Answers
from daemon.cluster.common_model import CommonModel, wait_until_warm
from daemon.cluster.group import WorkerGroup
from daemon.cluster.learner_feed import LearnerFeed
from daemon.cluster.link import WorkerState
from daemon.cluster.open_scans import OpenClusterScans
from daemon.cluster.output import MergedOutput
from daemon.cluster.plan import ModelPlan
from daemon.cluster.scan import ClusterScan
from daemon.engine.backlog import Store
from daemon.engine.engine_scan import EngineScans
from daemon.engine.face import EngineFace
from daemon.engine.held_scan import HeldScan
from daemon.engine.loop import Engine
from daemon.engine.models import ActiveModel
from daemon.engine.options import EngineOptions
from daemon.engine.ports import EngineEvents, ExaminerPort, FrameLearner, PositionFinderPort
from daemon.messages import FrcFields
from daemon.metrics import Metrics
from ptychopinn.device import to_host
from ptychopinn.diagnosis.correction import Correction
from ptychopinn.errors import ReconstructionError
from streams.frame import ScanPoint
from streams.refusal_reasons import RefusalReason

log = logging.getLogger(__name__)


class ClusterEngine:
    """Engines on a Ray cluster behind the face of one.

    Parameters
    ----------
    connect
        Returns the module ``ray`` and the actors of the workers; the stack gets what undoes it.
    store
        The journal, from which frames are read again.
    """

    def __init__(
        self,
        model: ActiveModel,
        options: EngineOptions,
        metrics: Metrics,
        events: EngineEvents,
        *,
        store: Store,
        scans: EngineScans[ClusterScan],
        connect: Callable[[ExitStack], tuple[Any, Sequence[Any]]],
    ) -> None:
        self._options = options
        self._metrics = metrics
        self._events = events
        self._store = store
        self._scans = OpenClusterScans(scans)
        self._stack = ExitStack()
        self.ray, actors = connect(self._stack)
        self.workers = WorkerGroup(actors, options.queue_bytes, self._scans, store=store, metrics=metrics)
        self._output = MergedOutput(options, metrics, events, lambda: self._model.active)
        self._answers = Answers(self.ray, metrics, events, self._scans)
        self._model = CommonModel(model, metrics, self.workers, self._answers)
        self._stop = threading.Event()
        self._stop_by = float("inf")
        self._has_ended = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self.warm = threading.Event()
        self.beat = time.monotonic()
        self.correction = Correction()
        self.examiner: ExaminerPort | None = None

    @property
    def active(self) -> ActiveModel:
        """The model in use."""
        return self._model.active

    @property
    def learner(self) -> FrameLearner | None:
        """The fine-tuning that a sample of the frames goes to."""
        feed = self._answers.feed
        return None if feed is None else feed.learner

    @learner.setter
    def learner(self, learner: FrameLearner | None) -> None:
        self._answers.feed = None if learner is None else LearnerFeed(learner)

    def find_positions_with(self, finder: PositionFinderPort) -> None:
        """Refuse: positions are not looked for on a cluster."""
        raise NotImplementedError("positions are not looked for on a cluster")

    def begin_with(self, model: ActiveModel) -> None:
        """Take another model before :meth:`start`."""
        self._model.begin_with(model)

    def use(self, model: ActiveModel, change: Correction = Correction()) -> ActiveModel:
        """Take another model: all workers do so between two batches, and this returns when all have.

        With another probe every worker begins again, and does the frames of open scans again.

        Raises
        ------
        ReconstructionError
            If a worker cannot use the model, the engine has ended, or patterns or positions were to be corrected.
        """
        if change != Correction():
            raise ReconstructionError("patterns and positions are not corrected on a cluster")
        swap = self._model.ask(model, self._wake.set, self._has_ended.is_set)
        if swap.active is None:
            raise ReconstructionError(f"the model {model.name} is not used: {swap.fault or 'the daemon stops'}")
        return swap.active

    def pixel_size_m(self, scan_id: str) -> float | None:
        """Return the object pixel of a scan."""
        return self._options.pixel_size_m(scan_id)

    @property
    def failure(self) -> str | None:
        """The last fault, in words; None if there was none."""
        return self._answers.failure

    @property
    def last_pattern(self) -> tuple[str, int, NDArray[np.float32]] | None:
        """Scan, index and amplitudes ``(N, N)`` of the frame given out last."""
        return self.workers.last_pattern

    @property
    def latency_s(self) -> float | None:
        """From receipt to publication, the median of the frames published last, s."""
        return self._output.latency_s

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread; ``warm`` is set once every worker has begun."""
        self._thread.start()

    def wait_until_warm(self) -> None:
        """Return when every worker has begun. Raises :class:`DaemonError` if one cannot."""
        wait_until_warm(self.warm, self._answers, self._thread.is_alive)

    @property
    def backlog(self) -> tuple[int, int]:
        """Frames that wait for a worker, and how many of them have to be read back from the disk."""
        return self.workers.waiting

    @property
    def backlog_age_s(self) -> float:
        """How long the oldest frame that waits for a worker has waited, s."""
        return self.workers.age_s

    @property
    def is_finishing(self) -> bool:
        """Whether a scan that has ended has its last seconds."""
        return any(scan.is_ended for scan in self._scans)

    def wait_for_rest(self, most_s: float) -> None:
        """Return at once: the work on pictures is done elsewhere."""

    def submit(self, points: Iterable[ScanPoint]) -> None:
        """Give out points to the backlogs of the workers."""
        for scan_id, group in groupby(points, lambda point: point.scan_id):
            some = list(group)
            scan = self._scan(scan_id)
            if scan is None:
                for point in some:
                    self._events.on_refused(scan_id, point.index, RefusalReason.OBJECT_PIXEL_UNKNOWN)
                continue
            links = self.workers.links
            shares = scan.given_out(some, [link.waiting for link in links])
            for index, reason in shares.refused.items():
                self._events.on_refused(scan_id, index, reason)
            for owner, share in shares.frames.items():
                links[owner].backlog.put(share)
            for helped, halo in shares.halos.items():
                links[helped].halo.put(halo)
        self._wake.set()

    def finish(self, scan_id: str) -> None:
        """Say that a scan has all the frames it will get."""
        scan = self._scan(scan_id, else_pixel_size_m=1.0)  # without a pixel size it has no frames: those were refused
        if scan is not None:
            scan.is_ended = True
        for link in self.workers:
            link.finish(scan_id)
        self._wake.set()

    def frc(self, scan_id: str) -> FrcFields | None:
        """Return how sharp the refined layer of the worker with the most frames is; None where that is not known."""
        scan = self._scans.get(scan_id)
        return None if scan is None else scan.largest.frc

    def path_px(self, scan_id: str, after: int, most: int, *, told: bool = False) -> list[tuple[float, float]] | None:
        """Return positions of stitched frames from number `after` on; None once the scan is closed."""
        scan = self._scans.get(scan_id)
        return None if scan is None else scan.places.path_px(after, most, told=told)

    def held(self, scan_id: str) -> HeldScan | None:
        """Return copies of what is known about the frames of a scan; None once it is closed."""
        scan = self._scans.get(scan_id)
        if scan is None:
            return None
        return scan.held(self._probe, self._store)

    @property
    def _probe(self) -> NDArray[np.complex64]:
        return np.asarray(to_host(self._model.active.probe), dtype=np.complex64)

    def stop(self, within_s: float = float("inf")) -> None:
        """Finish what is queued, publish, and end the thread; what is not done in time is left to the next start."""
        self._stop_by = time.monotonic() + within_s
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        self._has_ended.set()
        self._stack.close()

    def _scan(self, scan_id: str, else_pixel_size_m: float | None = None) -> ClusterScan | None:
        """Return the scan, which its first frame opens; None while its object pixel is not known."""

        def make() -> ClusterScan | None:
            pixel_size_m = self._options.pixel_size_m(scan_id) or else_pixel_size_m
            if pixel_size_m is None:
                return None
            return ClusterScan(scan_id, len(self.workers.links), self._probe, self._options, pixel_size_m)

        return self._scans.opened(scan_id, make)

    def _run(self) -> None:
        try:
            while not (
                self._stop.is_set()
                and ((self.workers.is_idle and not len(self._scans)) or time.monotonic() > self._stop_by)
            ):
                try:
                    self._turn()
                except Exception as fault:
                    log.exception("the engine goes on after a fault")
                    self._answers.count(f"the engine goes on after a fault: {fault}")
                    time.sleep(IDLE_WAIT_S)
            for scan in self._scans:
                self._output.leave(scan, self.workers.forget(scan.scan_id))
        finally:
            self._has_ended.set()

    def _turn(self) -> None:
        self.beat = time.monotonic()
        for link in self.workers:
            if link.is_due_to_begin:
                link.begin(ModelPlan.of(self._model.active))
            if link.is_away and any(other.state is WorkerState.RUNNING for other in self.workers):
                self._answers.give_away(link, self.workers.links)
            self.workers.give_out(link, self._answers, at_once=self._stop.is_set())
            self.workers.ask_changes(link)
        self._answers.wait(self.workers.links, self._wake, is_busy=len(self._scans) > 0)
        self._answers.take(self.workers.links)
        self._model.turn()
        if self._answers.feed is not None:
            self._answers.feed.label(self._scans)
        for scan in self._scans:
            scan.look_with(None if self._stop.is_set() else self.examiner)
        if self.workers.are_running:
            self.warm.set()
        if self._stop.is_set():
            for scan in [scan for scan in self._scans if not scan.is_ended]:
                self.finish(scan.scan_id)  # the daemon stops
        self._answers.finish(self.workers.links)
        self._output.publish_due(list(self._scans))
        for scan in [scan for scan in self._scans if scan.is_done and not scan.is_held]:
            self._output.close(scan)
            self._scans.close(scan)
        self.workers.measure()


def make_engine(
    model: ActiveModel,
    options: EngineOptions,
    metrics: Metrics,
    events: EngineEvents,
    *,
    store: Store | None,
    scans: EngineScans[Any],
    workers: int,
    connect: Callable[[EngineOptions, ExitStack], tuple[Any, Sequence[Any]]],
) -> EngineFace:
    """Return an engine in this process, or with ``workers`` that of a cluster, which needs a journal."""
    if not workers or store is None:
        return Engine(model, options, metrics, events, store=store, scans=scans)
    return ClusterEngine(model, options, metrics, events, store=store, scans=scans, connect=partial(connect, options))
