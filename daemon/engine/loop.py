"""The engine: one thread that owns the device, from scan points to layer updates.

Batches adapt: all that is ready, in the backlog's order, at most ``batch_frames``; fewer once the device has run out of memory.
A frame whose computation fails is refused alone. Each frame is shown at once: by the sharp model (the lift with its network, or
a cnn) while that keeps up in its share of the time, else by the quick one (the lift alone), and by the sharp one later.
Idle time goes to second looks and to the refiner. After a scan's end both go on for ``refine_finish_s``, and longer where a frame
has not had its first visits, unless frames of another scan come. If the device is behind when another scan begins, earlier scans
get no more second looks.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from daemon.engine.backlog import BEHIND_S, Backlog, EndOfScan, LostPoint, Store
from daemon.engine.cadence import Publishing
from daemon.engine.closing import ScanEnding
from daemon.engine.faults import EngineFaults
from daemon.engine.improvement import Improvement
from daemon.engine.model_swap import Swap, new_work, restarted
from daemon.engine.model_timing import blank_frames, sharp_frame_s
from daemon.engine.models import ActiveModel
from daemon.engine.options import EngineOptions
from daemon.engine.ports import EngineEvents, ExaminerPort, FrameLearner
from daemon.engine.scan import ScanWork
from daemon.engine.scan_memory import ScanMemory
from daemon.engine.spare_time import SpareTime, is_refined, newest_with_work
from daemon.engine.stitching import Stitcher
from daemon.errors import DaemonError
from daemon.metrics import Metrics
from ptychopinn.device import memory_bytes, to_device
from ptychopinn.diagnosis.correction import Correction
from ptychopinn.errors import ReconstructionError
from streams.frame import ScanPoint
from streams.refusal_reasons import RefusalReason

SWAP_POLL_S = 0.5
"""A caller that asks for another model looks at this interval whether the engine has ended."""
MOST_FINISH_S = 180.0
"""An ended scan closes after its last seconds and this time, whatever it still waits for (a retrieval holds it 120 s)."""

log = logging.getLogger(__name__)


class Engine:
    """Runs the chain from joined points to published layers. It owns the model in use."""

    def __init__(
        self,
        model: ActiveModel,
        options: EngineOptions,
        metrics: Metrics,
        events: EngineEvents,
        store: Store | None = None,
    ) -> None:
        self._options = options
        self._metrics = metrics
        self._events = events
        self._publishing = Publishing(options, metrics, events)
        self._faults = EngineFaults(metrics)
        self._active = model
        self._swaps: deque[Swap] = deque()
        self._memory = ScanMemory(options.keep_patch_bytes, options.refine_buffer_bytes)
        self._queue = Backlog(options.queue_bytes, store)
        self._stitcher = Stitcher(
            options,
            metrics,
            events,
            faults=self._faults,
            publishing=self._publishing,
            queue=self._queue,
            store=store,
        )
        self._closer = ScanEnding(metrics, events, self._publishing, faults=self._faults, stitcher=self._stitcher)
        self._spare_time = SpareTime(metrics, self._faults, self._queue)
        self._improvement = Improvement(
            options.refine_improve_s, events, self._publishing, faults=self._faults, spare_time=self._spare_time
        )
        self._stop_by = float("inf")
        self._work: dict[str, ScanWork] = {}
        self._stop = threading.Event()
        self._has_ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self.warm = threading.Event()
        self.beat = time.monotonic()
        self.examiner: ExaminerPort | None = None
        self.correction = Correction()  # of patterns and positions, in this scan and in later ones

    @property
    def active(self) -> ActiveModel:
        """The model in use."""
        return self._active

    def begin_with(self, model: ActiveModel) -> None:
        """Take another model before :meth:`start`."""
        self._active = replace(model, generation=self._active.generation + 1)
        self._metrics.model_generation.set(self._active.generation)

    def use(self, model: ActiveModel, change: Correction = Correction()) -> ActiveModel:
        """Take another model between two batches; return it as it is in use. Waits for the engine.

        Frames keep the patches that they were shown with. Where the probe is another, frames are corrected by ``change``
        too, and those of open scans are stitched again in spare time, the newest first.

        Raises
        ------
        ReconstructionError
            If the model cannot be run, or the engine has ended: the one before it stays in use.
        """
        swap = Swap(model, change)
        self._swaps.append(swap)
        self._queue.wake()
        while not swap.done.wait(SWAP_POLL_S) and not self._has_ended.is_set():
            pass
        if swap.active is None:
            raise ReconstructionError(f"the model {model.name} is not used: {swap.fault or 'the daemon stops'}")
        return swap.active

    def pixel_size_m(self, scan_id: str) -> float | None:
        """Return the object pixel of a scan as it is corrected."""
        pixel_size_m = self._options.pixel_size_m(scan_id)
        return None if pixel_size_m is None else pixel_size_m / self.correction.position_scale

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
        return any(work.finish_by is not None for work in self._work.copy().values())

    def submit(self, points: Iterable[ScanPoint]) -> None:
        """Queue points; waits only where there is no journal to read them back from."""
        self._queue.put(points)

    def finish(self, scan_id: str) -> None:
        """Say that a scan has all the frames it will get."""
        self._queue.finish(scan_id)

    def path_px(self, scan_id: str, after: int, most: int) -> list[tuple[float, float]] | None:
        """Return positions of stitched frames as they came, from number `after` on; None once the scan is closed."""
        work = self._work.get(scan_id)
        return None if work is None else work.path_px(after, most)

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
            self._run_until_stopped()
        finally:
            self._has_ended.set()

    def _run_until_stopped(self) -> None:
        try:
            self._warm_up()
        except Exception as fault:
            log.exception("the engine cannot start")
            self._faults.failure = str(fault)
            return
        self.warm.set()
        while not (self._stop.is_set() and (not len(self._queue) or time.monotonic() > self._stop_by)):
            try:
                self._turn()
            except Exception as fault:  # a stage's own faults are counted where they happen
                if self._faults.failure != (words := f"the engine goes on after a fault: {fault}"):
                    log.exception("the engine goes on after a fault")
                self._improvement.stop()
                self._faults.count(words)
        for work in list(self._work.values()):
            waiting = self._queue.forget(work.scan_id)
            if waiting:
                self._closer.leave(work, waiting)
            else:
                while not self._is_settled(work):
                    self.beat = time.monotonic()
                self._close(work)
                self.beat = time.monotonic()

    def _turn(self) -> None:
        """Take what is there, or use the spare time; publish when it is time."""
        self.beat = time.monotonic()
        if self._swaps:
            self._take_swap(self._swaps[0])
        wait_s = min(self._options.batch_timeout_s, self._publishing.wait_s)
        spare = newest_with_work(self._work.values())
        is_closing = any(work.is_settling for work in self._work.values())
        is_busy = spare is not None or is_closing or self._improvement.work is not None
        items = self._queue.take(self._stitcher.batch_frames, 0.0 if is_busy else wait_s)
        self._metrics.queue_depth.labels("engine").set(len(self._queue))
        self._metrics.queue_bytes.labels("engine").set(self._queue.bytes)
        self._metrics.backlog_frames.set(self._queue.on_disk)
        if items:
            self._take(items)
        elif self._improvement.work is not None:
            self._improvement.step()
        elif spare is not None and spare.to_restitch:
            self._closer.restitch(spare, self.correction)
        elif spare is not None:
            self._spare_time.work_on(spare)
        self._memory.trim(self._work.values())
        if self._publishing.publish_due(self._work.values(), self._faults.attempt):
            self._metrics.device_memory.set(memory_bytes(self._active.probe.device))
        self._close_finished()

    def _warm_up(self) -> None:
        """Run every operation once on a blank scan, so that the first real frame finds all of it loaded."""
        model = self._active
        work, frames = ScanWork("", model, self._options, looks_again=False), blank_frames(model, self._options)
        for group in work.group(frames):
            work.lay(group, model.models.quick.predict(group)[:, 0])
        self._stitcher.sharp_frame_s = sharp_frame_s(model, self._options)
        work.keep(frames[0], to_device(np.asarray(frames[0].amplitude), model.probe.device), looks=1)
        if work.refiner is not None:
            work.refiner.step()
        work.settle()
        work.result()

    def _take_swap(self, swap: Swap) -> None:
        """Take the model that is asked for; where that fails, all stays as it is, and who asked is told."""
        try:
            self._swap(swap)
            swap.active = self._active
        except Exception as fault:
            swap.fault = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
            log.exception("the model %s cannot be used", swap.model.name)
            self._faults.count(f"the model {swap.model.name} cannot be used: {swap.fault}")
        finally:
            self._swaps.popleft()
            swap.done.set()

    def _swap(self, swap: Swap) -> None:
        model, correction = replace(swap.model, generation=self._active.generation + 1), self.correction
        frame_s, works = sharp_frame_s(model, self._options), self._work
        has_other_probe = model.probe is not self._active.probe
        if has_other_probe:
            correction = swap.change.after(correction)
            works = {
                name: restarted(work, model, swap.change, correction=correction, options=self._options)
                for name, work in works.items()
            }
        self._active, self.correction, self._work = model, correction, works
        self._stitcher.sharp_frame_s = frame_s
        self._metrics.model_generation.set(model.generation)
        if has_other_probe:
            return  # a closed scan that gets better goes on with the probe and the model that it began with
        improving = self._improvement.work
        for work in [*works.values(), *([improving] if improving else [])]:
            if work.model.probe is model.probe:
                work.use(model)

    def _take(self, items: list[ScanPoint | EndOfScan | LostPoint]) -> None:
        """Work on items in their order, points of one scan together."""
        self._improvement.stop()  # its product is there; frames are more urgent
        for (scan_id, kind), run in groupby(items, lambda item: (item.scan_id, type(item))):
            some = list(run)
            if kind is EndOfScan:
                self._faults.attempt_for(scan_id, "the beginning of its end", partial(self._end, scan_id))
            elif kind is LostPoint:
                for item in some:
                    if isinstance(item, LostPoint):
                        self._stitcher.refuse(scan_id, item.index, item.reason)
            else:
                self._take_points(scan_id, [item for item in some if isinstance(item, ScanPoint)])

    def _end(self, scan_id: str) -> None:
        work = self._scan(scan_id)
        work.finish_by = time.monotonic() + self._options.refine_finish_s
        self._have_examined(work)

    def _scan(self, scan_id: str) -> ScanWork:
        if scan_id not in self._work:
            if self._queue.age_s > BEHIND_S:
                for work in self._work.values():
                    work.drop_second_looks()
            self._work[scan_id] = new_work(scan_id, self._active, self.correction, self._options)
        return self._work[scan_id]

    def _have_examined(self, work: ScanWork) -> None:
        examiner = self.examiner
        if examiner is None or work.to_restitch or self._swaps or not work.is_examined:
            return

        def examine() -> None:
            if examiner.wants(work.examination, work.stitched, has_ended=work.finish_by is not None):
                examiner.examine(work.examination, work.sample)

        self._faults.attempt(work, "the examination", examine, work.stop_examining)

    def _take_points(self, scan_id: str, points: list[ScanPoint]) -> None:
        self._metrics.batch_frames.observe(len(points))
        pixel_size_m = self.pixel_size_m(scan_id)
        if pixel_size_m is None:
            for point in points:
                self._stitcher.refuse(scan_id, point.index, RefusalReason.OBJECT_PIXEL_UNKNOWN)
            return
        done = set[int]()
        try:
            work = self._scan(scan_id)
            self._stitcher.stitch(work, points, pixel_size_m, self.correction, done=done)
            self._have_examined(work)
        except Exception as fault:  # a fault must not end the scan; it is counted and said
            self._faults.note(scan_id, f"a batch of {len(points)} frames failed", fault)
            for point in points:
                if point.index not in done:
                    self._stitcher.refuse(scan_id, point.index, RefusalReason.ENGINE_ERROR)

    def _close_finished(self) -> None:
        if self._swaps and not self._stop.is_set():
            return  # another probe may be among it
        due = [w for w in self._work.values() if w.finish_by is not None]
        for work in due:
            is_held = self.examiner is not None and work.is_examined and self.examiner.holds(work.examination)
            is_overdue = work.finish_by is not None and time.monotonic() > work.finish_by + MOST_FINISH_S
            is_done = is_overdue or (not is_held and is_refined(work))
            is_to_close = work.is_settling or len(due) < len(self._work) or self._stop.is_set() or is_done
            if is_to_close and self._is_settled(work):
                self._close(work)

    def _is_settled(self, work: ScanWork) -> bool:
        return self._closer.settle(work, self.correction, is_urgent=len(self._queue) > 0 or len(self._work) > 1)

    def _close(self, work: ScanWork) -> None:
        self._work.pop(work.scan_id, None)
        self._closer.hand_on(work)
        if not self._work and not self._stop.is_set():
            self._improvement.begin(work)
