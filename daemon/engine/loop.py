"""The engine: one thread that owns the device, from scan points to layer updates.

Batches adapt: all that is ready, in the backlog's order, at most ``batch_frames``; fewer once the device has run out of memory.
A frame whose computation fails is refused alone. Each frame is shown at once: by the sharp model (the lift with its network, or
a cnn) while that keeps up in its share of the time, else by the quick one (the lift alone), and by the sharp one later.
Idle time goes to second looks and to the refiner.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from daemon.engine.backlog import Backlog, EndOfScan, LostPoint, Store
from daemon.engine.cadence import Publishing
from daemon.engine.closing import ScanEnding
from daemon.engine.engine_scan import EngineScan, EngineScans, OwnScans
from daemon.engine.faults import EngineFaults
from daemon.engine.frame_moves import FrameMoves
from daemon.engine.improvement import Improvement
from daemon.engine.model_in_use import ModelInUse
from daemon.engine.model_timing import blank_frames, sharp_frame_s
from daemon.engine.models import ActiveModel
from daemon.engine.open_scans import OpenScans
from daemon.engine.options import EngineOptions
from daemon.engine.ports import EngineEvents, ExaminerPort, FrameLearner, PositionFinderPort
from daemon.engine.scan import ScanWork
from daemon.engine.scan_answers import ScanAnswers
from daemon.engine.scan_memory import ScanMemory
from daemon.engine.scan_output import scan_result
from daemon.engine.spare_time import SpareTime, newest_with_work
from daemon.engine.stitching import Stitcher
from daemon.errors import DaemonError
from daemon.metrics import Metrics
from ptychopinn.device import memory_bytes, to_device
from ptychopinn.diagnosis.correction import Correction
from ptychopinn.errors import ReconstructionError
from streams.frame import ScanPoint

SWAP_POLL_S = 0.5
"""A caller that asks for another model looks at this interval whether the engine has ended."""

log = logging.getLogger(__name__)


class Engine(ScanAnswers):
    """Runs the chain from joined points to published layers. It owns the model in use.

    ``scans`` finds what it keeps about each scan; without a registry it has its own table.
    """

    def __init__(
        self,
        model: ActiveModel,
        options: EngineOptions,
        metrics: Metrics,
        events: EngineEvents,
        store: Store | None = None,
        scans: EngineScans[ScanWork] | None = None,
    ) -> None:
        scans = OwnScans[EngineScan[ScanWork]](EngineScan) if scans is None else scans
        self._options = options
        self._metrics = metrics
        self._faults = faults = EngineFaults(metrics, scans)
        self._publishing = publishing = Publishing(options, metrics, events, faults.count)
        self._memory = ScanMemory(options.keep_patch_bytes, options.refine_buffer_bytes)
        self._queue = queue = Backlog(options.queue_bytes, scans.open, store)
        self._stop_by = float("inf")
        self._stop, self._has_ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self.warm, self._resting = threading.Event(), threading.Event()
        self.beat = time.monotonic()
        self._stitcher = stitcher = Stitcher(
            options, metrics, events, faults=faults, publishing=publishing, queue=queue, store=store
        )
        self._ending = ScanEnding(metrics, events, publishing, faults=faults, stitcher=stitcher)
        self._spare_time = spare = SpareTime(metrics, faults, queue)
        self._improvement = Improvement(options.refine_improve_s, events, publishing, faults=faults, spare_time=spare)
        self._model = ModelInUse(model, options, metrics, faults=faults, stitcher=stitcher)
        self._scans = OpenScans(
            options,
            metrics,
            self._model,
            queue=queue,
            faults=faults,
            stitcher=stitcher,
            ending=self._ending,
            improvement=self._improvement,
            moves=FrameMoves(options, metrics, events, faults),
            scans=scans,
            stop=self._stop,
        )

    @property
    def active(self) -> ActiveModel:
        """The model in use."""
        return self._model.active

    @property
    def correction(self) -> Correction:
        """Correction of patterns and positions, in this scan and in later ones."""
        return self._model.correction

    @property
    def examiner(self) -> ExaminerPort | None:
        """The diagnosis, where there is one."""
        return self._scans.examiner

    @examiner.setter
    def examiner(self, examiner: ExaminerPort | None) -> None:
        self._scans.examiner = examiner

    def find_positions_with(self, finder: PositionFinderPort) -> None:
        """Have true positions looked for."""
        self._scans.moves.finder = finder

    def begin_with(self, model: ActiveModel) -> None:
        """Take another model before :meth:`start`."""
        self._model.begin_with(model)

    def use(self, model: ActiveModel, change: Correction = Correction()) -> ActiveModel:
        """Take another model between two batches; return it as it is in use. Waits for the engine.

        Frames keep the patches that they were shown with. Where the probe is another, frames are corrected by ``change``
        too, and those of open scans are stitched again in spare time, the newest first.

        Raises
        ------
        ReconstructionError
            If the model cannot be run, or the engine has ended: the one before it stays in use.
        """
        swap = self._model.ask(model, change)
        self._queue.wake()
        while not swap.done.wait(SWAP_POLL_S) and not self._has_ended.is_set():
            pass
        if swap.active is None:
            raise ReconstructionError(f"the model {model.name} is not used: {swap.fault or 'the daemon stops'}")
        return swap.active

    def pixel_size_m(self, scan_id: str) -> float | None:
        """Return the object pixel of a scan as it is corrected."""
        return self._model.pixel_size_m(scan_id)

    @property
    def failure(self) -> str | None:
        """The last fault, in words; None if there was none."""
        return self._faults.failure

    @property
    def last_pattern(self) -> tuple[str, int, NDArray[np.float32]] | None:
        """Scan, index and amplitudes ``(N, N)`` of the frame stitched last."""
        return self._stitcher.last_pattern

    @property
    def learner(self) -> FrameLearner | None:
        """The fine-tuning that frames are offered to."""
        return self._publishing.learner

    @learner.setter
    def learner(self, learner: FrameLearner | None) -> None:
        self._publishing.learner = learner

    @property
    def latency_s(self) -> float | None:
        """From receipt to publication, the median of the frames published last, s."""
        return self._publishing.latency_s

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread; ``warm`` is set after a first dry batch."""
        self._thread.start()

    def wait_until_warm(self) -> None:
        """Return when the first dry batch is done. Raises :class:`DaemonError` if it failed."""
        while not self.warm.wait(0.5):
            if not self._thread.is_alive():
                raise DaemonError(f"the engine cannot start: {self.failure}; check [model] device")

    @property
    def backlog(self) -> tuple[int, int]:
        """Frames that wait for the device, and how many of them have to be read back from the disk."""
        return len(self._queue), self._queue.on_disk

    @property
    def backlog_age_s(self) -> float:
        """How long the oldest frame that waits for the device has waited, s."""
        return self._queue.age_s

    @property
    def is_finishing(self) -> bool:
        """Whether a scan that has ended has its last seconds."""
        return self._scans.is_finishing

    def wait_for_rest(self, most_s: float) -> None:
        """Return when the engine rests or no scan gets frames, at the latest after a time, s. Not for the engine's thread."""
        if self._scans.is_scanning:
            self._resting.wait(most_s)

    def submit(self, points: Iterable[ScanPoint]) -> None:
        """Queue points; without a journal, wait while the queue is full."""
        self._queue.put(points)

    def finish(self, scan_id: str) -> None:
        """Say that a scan has all the frames it will get."""
        self._queue.finish(scan_id)

    def stop(self, within_s: float = float("inf")) -> None:
        """Finish what is queued, publish, and end the thread; what is not done in time is left to the next start."""
        self._stop_by = time.monotonic() + within_s
        self._stop.set()
        log.info("the engine stops; %d frames wait, those not done within %g s are left", len(self._queue), within_s)
        self._queue.close()
        if self._thread.is_alive():
            self._thread.join()
        self._has_ended.set()

    def _run(self) -> None:
        try:
            if self._is_warmed_up():
                self._run_until_stopped()
        finally:
            self._has_ended.set()

    def _is_warmed_up(self) -> bool:
        try:
            _warm_up(self._model.active, self._options, self._stitcher)
        except Exception as fault:
            log.exception("the engine cannot start")
            self._faults.failure = str(fault)
            return False
        self.warm.set()
        return True

    def _run_until_stopped(self) -> None:
        while not (self._stop.is_set() and (not len(self._queue) or time.monotonic() > self._stop_by)):
            try:
                self._turn()
            except Exception as fault:  # a stage's own faults are counted where they happen
                if self._faults.failure != (words := f"the engine goes on after a fault: {fault}"):
                    log.exception("the engine goes on after a fault")
                self._improvement.stop()
                self._faults.count(words)
        self._scans.end_all(self._note_beat)
        self._publishing.flush()

    def _note_beat(self) -> None:
        self.beat = time.monotonic()

    def _take(self, wait_s: float) -> list[ScanPoint | EndOfScan | LostPoint]:
        """Return what waits; rest until something comes, at most for a time."""
        if wait_s > 0 and not len(self._queue):
            self._resting.set()
        try:
            return self._queue.take(self._stitcher.batch_frames, wait_s)
        finally:
            self._resting.clear()

    def _turn(self) -> None:
        """Take what is there, or use the spare time; publish when it is time."""
        self._note_beat()
        works = self._scans.works
        self._model.take(works, self._improvement.work, self._scans.restart)
        wait_s = min(self._options.batch_timeout_s, self._publishing.wait_s)
        spare = newest_with_work(works)
        is_busy = spare is not None or self._scans.is_settling or self._improvement.work is not None
        items = self._take(self._spare_time.rest_s() if is_busy else wait_s)
        self._metrics.queue_depth.labels("engine").set(len(self._queue))
        self._metrics.queue_bytes.labels("engine").set(self._queue.bytes)
        self._metrics.backlog_frames.set(self._queue.on_disk)
        if items:
            self._scans.take(items)
        elif self._improvement.work is not None:
            self._improvement.step()
        elif spare is not None and spare.to_restitch:
            self._ending.restitch(spare, self._model.correction)
        elif spare is not None:
            self._spare_time.work_on(spare)
        for work in [*works, *([self._improvement.work] if self._improvement.work else [])]:
            self._scans.moves.look(work)
        self._memory.trim(works)
        if self._publishing.publish_due(works, self._faults.attempt):
            self._metrics.device_memory.set(memory_bytes(self._model.active.probe.device))
        self._scans.close_finished()


def _warm_up(model: ActiveModel, options: EngineOptions, stitcher: Stitcher) -> None:
    """Run every operation once on a blank scan, so that the first real frame finds all of it loaded."""
    work, frames = ScanWork("", model, options, looks_again=False), blank_frames(model, options)
    for group in work.group(frames):
        work.lay(group, model.models.quick.predict(group)[:, 0])
    stitcher.sharp_frame_s = sharp_frame_s(model, options)
    work.keep(frames[:1], to_device(np.asarray(frames[0].amplitude)[None], model.probe.device), looks=1)
    if work.refiner is not None:
        work.refiner.step()
    work.settle()
    scan_result(work)
