"""The daemon's side of fine-tuning: passes frames to the process without waiting, and takes promoted networks.

The process starts when there are enough frames, and is restarted a few times if it dies. The engine only appends to a
bounded queue. If the learner lags, it drops the oldest queued frames; this does not hurt training.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from daemon.background.learning.child import LEAST_FRAMES, ChildOptions
from daemon.background.learning.learning_process import STOP_S, ChildProcess, LearningProcess
from daemon.messages import LearningState, LearningStatus
from daemon.metrics import Metrics

QUEUED_FRAMES = 256  # frames that wait for the process
MOST_STARTS = 5  # starts of the process before fine-tuning stays off
TICK_S = 0.1  # time between two exchanges with the process, s

log = logging.getLogger(__name__)

Weights = Mapping[str, NDArray[Any]]
OnPromoted = Callable[[Weights, "Scores"], None]


class Scores(TypedDict):
    """How a promoted network was chosen: R-factors on held-out frames."""

    steps: int
    heldout_rfactor: float
    heldout_rfactor_before: float


@dataclass(slots=True)
class LearnerState:
    """Progress of fine-tuning; R of the active network and of the last candidate on held-out frames."""

    state: str = LearningState.WAITING
    steps: int = 0
    loss: float | None = None
    frames: int = 0
    refused: int = 0
    heldout_rfactor: dict[str, float] = field(default_factory=dict)
    promotions: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> LearningStatus:
        """Return the state as plain data."""
        return {
            "state": self.state,
            "steps": self.steps,
            "loss": self.loss,
            "frames": self.frames,
            "refused": self.refused,
            "heldout_rfactor": self.heldout_rfactor,
            "promotions": self.promotions,
        }


class Learner:
    """Fine-tunes one network for one probe. ``on_promoted(weights, scores)`` is called from its thread."""

    def __init__(
        self,
        options: ChildOptions,
        metrics: Metrics,
        on_promoted: OnPromoted,
        begin_process: Callable[[], LearningProcess] = ChildProcess,
    ) -> None:
        self._options = options
        self._metrics = metrics
        self._on_promoted = on_promoted
        self._frames: deque[tuple[tuple[str, int], NDArray[np.float32], tuple[float, float]]] = deque(
            maxlen=QUEUED_FRAMES
        )
        self._labels: deque[tuple[tuple[str, int], NDArray[np.complex64]]] = deque(maxlen=QUEUED_FRAMES)
        self._orders: deque[tuple[Any, ...]] = deque()
        self._weights: Weights = options.weights
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="learner", daemon=True)
        self._begin_process = begin_process
        self._process: LearningProcess | None = None
        self._starts = 0
        self._counted_steps = 0
        self.is_paused = False
        self._is_resting = False
        self.state = LearnerState()

    def start(self) -> None:
        """Start the thread; the process starts with the first frames."""
        self._thread.start()

    def stop(self) -> None:
        """End the process and the thread."""
        self._stop.set()
        while self._thread.is_alive():
            self._thread.join(STOP_S)
            process = self._process
            if self._thread.is_alive() and process is not None:
                process.kill()  # the thread waits for it
        self._end_process()

    def offer(self, scan_id: str, index: int, amplitude: NDArray[np.float32], position_px: tuple[float, float]) -> None:
        """Queue a stitched frame (engine thread)."""
        self._frames.append(((scan_id, index), amplitude, position_px))

    def label(self, scan_id: str, index: int, patch: NDArray[np.complex64]) -> None:
        """Queue the refined object ``(N, N)`` at a frame's position (engine thread)."""
        self._labels.append(((scan_id, index), patch))

    def use(self, weights: Weights) -> None:
        """Continue from other weights."""
        self._weights = weights
        self._is_resting = False
        self._orders += [("use", dict(weights)), self._pace()]

    def rest(self) -> None:
        """Stop learning until :meth:`use`: the active model has no network."""
        self._is_resting = True
        self._orders.append(self._pace())

    def pause(self) -> None:
        """Stop learning until :meth:`resume`; frames are still queued."""
        self.is_paused = True
        self._orders.append(self._pace())

    def resume(self) -> None:
        """Continue learning."""
        self.is_paused = False
        self._orders.append(self._pace())

    def _pace(self) -> tuple[str]:
        return ("pause",) if self.is_paused or self._is_resting else ("resume",)

    def _run(self) -> None:
        while not self._stop.wait(TICK_S):
            try:
                self._tick()
            except (OSError, EOFError, ValueError) as fault:
                self._fail(fault)

    def _tick(self) -> None:
        if not self._starts:
            self.state.state = self._state()
        if self._process is None:
            if len(self._frames) < LEAST_FRAMES or self._starts >= MOST_STARTS:
                return
            self._begin()
        process = self._process
        if process is None:
            return
        while self._orders:
            process.send(self._orders.popleft())
        for kind, queue in (("frames", self._frames), ("labels", self._labels)):
            some = [queue.popleft() for _ in range(min(16, len(queue)))]
            if some:
                process.send((kind, some))
        while process.poll():
            self._take(*process.recv())
        self.state.state = self._state()

    def _state(self) -> str:
        if self.is_paused:
            return LearningState.PAUSED
        if self._is_resting:
            return LearningState.RESTING
        return LearningState.LEARNING if self.state.steps else LearningState.WAITING

    def _begin(self) -> None:
        self._process = self._begin_process()
        self._starts += 1
        self._process.send(self._options)  # sent later than the start, so as not to wait until libraries are loaded
        self._counted_steps = 0
        self._orders.appendleft(("use", dict(self._weights)))
        self._orders.append(self._pace())
        log.info("fine-tuning starts in %s", self._process.name)

    def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end()

    def _fail(self, fault: Exception) -> None:
        self._end_process()
        if self._stop.is_set():
            return
        again = "it is restarted" if self._starts < MOST_STARTS else "it stays off until the daemon is restarted"
        self.state.state = f"failed ({type(fault).__name__}); {again}"
        log.warning("the fine-tuning process ended; %s", again)
        self._metrics.stage_failures.labels("finetune").inc()

    def _take(self, kind: str, *what: Any) -> None:
        if kind == "progress":
            steps, loss, self.state.frames, self.state.refused = what
            self._count_steps(steps)
            self.state.loss = loss if np.isfinite(loss) else None
            self._metrics.finetune_loss.set(loss)
            return
        steps, verdict, active, candidate, weights = what
        self._count_steps(steps)
        scores = {"active": active[0], "candidate": candidate[0]}
        self.state.heldout_rfactor = {name: value for name, value in scores.items() if np.isfinite(value)}
        for name, value in self.state.heldout_rfactor.items():
            self._metrics.finetune_heldout_rfactor.labels(name).set(value)
        self.state.promotions[verdict] = self.state.promotions.get(verdict, 0) + 1
        self._metrics.finetune_promotions.labels(verdict).inc()
        words = f"R {candidate[0]:.4f} against {active[0]:.4f} on held-out frames"
        if weights is None:
            log.info("fine-tuning step %d: candidate %s, %s", self.state.steps, verdict, words)
            return
        self._weights = weights
        log.info("fine-tuning step %d: candidate promoted, %s", self.state.steps, words)
        about: Scores = {
            "steps": self.state.steps,
            "heldout_rfactor": candidate[0],
            "heldout_rfactor_before": active[0],
        }
        self._on_promoted(weights, about)

    def _count_steps(self, steps: int) -> None:
        self._metrics.finetune_steps.inc(steps - self._counted_steps)
        self.state.steps += steps - self._counted_steps
        self._counted_steps = steps
