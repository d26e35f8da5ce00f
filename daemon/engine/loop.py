"""The engine: one thread that owns the device, from scan points to layer updates.

Batches adapt: whatever is ready, in the backlog's order, at most ``batch_frames``; fewer once the device has run out of memory.
A frame whose computation fails is refused alone. Each frame is shown at once: by the sharp model (the lift with
its network, or a cnn) while that keeps up in a share of the time, else by the quick one (the lift alone), and by the sharp
one later.
The time that is left goes to second looks and to the refiner, in slices so short that a waiting frame hardly notices. When
a scan has ended both go on for ``refine_finish_s``, and longer where a frame has not yet had its first few visits, unless
another scan's frames come. A device that is behind when another scan begins gives earlier ones no second looks any more.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict

from daemon.engine.backlog import BEHIND_S, Backlog, EndOfScan, LostPoint, Store
from daemon.engine.cadence import Publishing
from daemon.engine.models import ActiveModel, Swap
from daemon.engine.ports import EngineEvents, ExaminerPort, Pupil
from daemon.engine.scan import Again, EngineOptions, ScanResult, ScanWork, product_rfactor
from daemon.engine.scan_memory import ScanMemory
from daemon.engine.stage_faults import MOST_FAULTS, StageFaults
from daemon.errors import DaemonError
from daemon.metrics import Metrics
from ptychopinn.detector.geometry import to_amplitude
from ptychopinn.device import memory_bytes, release_memory, to_device, to_host
from ptychopinn.diagnosis.correction import Correction
from ptychopinn.errors import ReconstructionError
from ptychopinn.model import Model
from ptychopinn.mosaic.groups import GroupBuilder, GroupFrame
from streams.frame import ScanPoint
from streams.refusal_reasons import RefusalReason

REFINE_SLICE_S = 0.004
REPAINT_FRAMES, REPAINT_LAST_FRAMES = 1, 8
LEAST_VISITS, ENOUGH_VISITS = 2, 16
IMPROVED_VISITS, IMPROVED_PERIOD_S = 40, 2.0
WARM_UP_ROUNDS = 3
SWAP_POLL_S = 0.5
"""Who asks for another model looks so often whether the engine has ended meanwhile."""
SHARP_SHARE = 0.6
AGAIN_FINISH_S = 15.0
MOST_FINISH_S = 180.0
"""A scan that has ended is closed so long after its last seconds, whatever it still waits for (a retrieval holds it 120 s)."""

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
        self._faults = StageFaults(self._count_fault)
        self._active = model
        self._sharp_frame_s = float("inf")
        self._credit_s, self._credited_at = 0.0, time.monotonic()
        self._swaps: deque[Swap] = deque()
        self._store = store
        self._memory = ScanMemory(options.keep_patch_bytes, options.refine_buffer_bytes)
        self._queue = Backlog(options.queue_bytes, store)
        self._batch_frames = options.batch_frames
        self._stop_by = float("inf")
        self._work: dict[str, ScanWork] = {}
        self._improving: ScanWork | None = None
        self._improve_by = self._next_improved = 0.0
        self._improved_from: float | None = None
        self._stop = threading.Event()
        self._has_ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self.warm = threading.Event()
        self.beat = time.monotonic()
        self.failure: str | None = None
        self.last_pattern: tuple[str, int, NDArray[np.float32]] | None = None
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
    def pupil(self) -> Pupil | None:
        """Who learns from the frames."""
        return self._publishing.pupil

    @pupil.setter
    def pupil(self, pupil: Pupil | None) -> None:
        self._publishing.pupil = pupil

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
            self.failure = str(fault)
            return
        self.warm.set()
        while not (self._stop.is_set() and (not len(self._queue) or time.monotonic() > self._stop_by)):
            try:
                self._turn()
            except Exception as fault:  # a stage's own faults are counted where they happen
                if self.failure != (words := f"the engine goes on after a fault: {fault}"):
                    log.exception("the engine goes on after a fault")
                self._improving = None
                self._count_fault(words)
        for work in list(self._work.values()):
            waiting = self._queue.forget(work.scan_id)
            if waiting:
                self._attempt(work, "leaving", partial(self._leave, work, waiting))
            else:
                while not self._settle(work):
                    self.beat = time.monotonic()
                self._close(work)
                self.beat = time.monotonic()

    def _leave(self, work: ScanWork, waiting: int) -> None:
        self._events.on_left(work.result(), waiting)

    def _attempt(
        self, work: ScanWork, stage: str, do: Callable[[], object], switch_off: Callable[[], None] = lambda: None
    ) -> bool:
        return self._faults.attempt(work.scan_id, stage, do, switch_off)

    def _count_fault(self, words: str) -> None:
        self.failure = words
        self._metrics.stage_failures.labels("engine").inc()

    def _turn(self) -> None:
        """Take what is there, or use the spare time; publish when it is time."""
        self.beat = time.monotonic()
        if self._swaps:
            self._take_swap(self._swaps[0])
        wait_s = min(self._options.batch_timeout_s, self._publishing.wait_s)
        has_spare_work = any(work.has_spare_work for work in self._work.values())
        is_closing = any(work.is_settling for work in self._work.values())
        is_busy = has_spare_work or is_closing or self._improving is not None
        items = self._queue.take(self._batch_frames, 0.0 if is_busy else wait_s)
        self._metrics.queue_depth.labels("engine").set(len(self._queue))
        self._metrics.queue_bytes.labels("engine").set(self._queue.bytes)
        self._metrics.backlog_frames.set(self._queue.on_disk)
        if items:
            self._take(items)
        elif self._improving is not None:
            improved = self._improving
            if not self._attempt(improved, "improving", partial(self._improve, improved)):
                self._improving = None
        elif has_spare_work:
            self._use_spare_time()
        self._memory.trim(self._work.values())
        if self._publishing.publish_due(self._work.values(), self._attempt):
            self._metrics.device_memory.set(memory_bytes(self._active.probe.device))
        self._close_finished()

    def _warm_up(self) -> None:
        """Run every operation once on a blank scan, so that the first real frame finds all of it loaded."""
        model = self._active
        work, frames = ScanWork("", model, self._options, looks_again=False), self._blank_frames(model)
        for group in work.group(frames):
            work.lay(group, model.models.quick.predict(group)[:, 0])
        self._sharp_frame_s = self._time_sharp(model)
        work.keep(frames[0], to_device(np.asarray(frames[0].amplitude), model.probe.device), looks=1)
        if work.refiner is not None:
            work.refiner.step()
        work.settle()
        work.result()

    def _blank_frames(self, model: ActiveModel) -> list[GroupFrame]:
        """Return as many blank frames as a batch has, and enough for a group."""
        blank = np.ones(model.probe.shape[-2:], dtype=np.float32)
        frames = max(self._options.batch_frames, self._options.gridsize**2)
        return [GroupFrame(i, blank, (0.0, 0.0)) for i in range(frames)]

    def _time_sharp(self, model: ActiveModel) -> float:
        """Return how long the sharp model takes for a frame, s; infinite where there is none."""
        if model.models.sharp is None:
            return float("inf")
        groups = GroupBuilder(self._options.gridsize, model.probe.shape[-1] / 2, model.probe.device)
        return self._measure(model.models.sharp, groups.add(self._blank_frames(model))[-1][:1])

    def _take_swap(self, swap: Swap) -> None:
        """Take the model that is asked for; where that fails, all stays as it is, and who asked is told."""
        try:
            self._swap(swap)
            swap.active = self._active
        except Exception as fault:
            swap.fault = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
            log.exception("the model %s cannot be used", swap.model.name)
            self._count_fault(f"the model {swap.model.name} cannot be used: {swap.fault}")
        finally:
            self._swaps.popleft()
            swap.done.set()

    def _swap(self, swap: Swap) -> None:
        model, correction = replace(swap.model, generation=self._active.generation + 1), self.correction
        sharp_frame_s, works = self._time_sharp(model), self._work
        has_other_probe = model.probe is not self._active.probe
        if has_other_probe:
            correction = swap.change.after(correction)
            works = {name: self._begin_again(work, model, swap.change, correction) for name, work in works.items()}
        self._active, self.correction, self._sharp_frame_s, self._work = model, correction, sharp_frame_s, works
        self._metrics.model_generation.set(model.generation)
        if has_other_probe:
            return  # a closed scan that gets better goes on with the probe and the model that it began with
        for work in [*works.values(), *([self._improving] if self._improving else [])]:
            if work.model.probe is model.probe:
                work.use(model)

    def _begin_again(self, old: ScanWork, model: ActiveModel, change: Correction, correction: Correction) -> ScanWork:
        """Return the work of a scan for another probe; its frames are to be laid again."""

        def correct(frame: Again) -> Again:
            y, x = change.positions(np.array([frame.position_px]))[0].tolist()
            pattern = frame.amplitude
            if pattern is not None and change.changes_patterns:
                pattern = to_device(change.patterns(np.asarray(to_host(pattern))), pattern.device)
            return Again(frame.index, (y, x), pattern)

        work = self._new_work(old.scan_id, model, correction)
        work.begin_again(old, correct)
        if work.finish_by is not None:
            work.finish_by = time.monotonic() + max(AGAIN_FINISH_S, self._options.refine_finish_s)
        return work

    def _lay_again(self, work: ScanWork) -> None:
        """Lay the newest of the frames that wait to be laid again; they are in the account already."""
        some = [work.again.pop() for _ in range(min(self._batch_frames, len(work.again)))]
        frames = [frame for again in some if (frame := self._read_again(work.scan_id, again)) is not None]
        if len(frames) < len(some):
            self.failure = f"scan {work.scan_id}: frames that were shown before the probe was known cannot be read back"
        if not frames:
            return
        try:
            for group in work.group(frames):
                self._lay(work, work.model.models.quick, group)
            refused, work.refused = work.refused, {}
            tensor = to_device(np.stack([frame.amplitude for frame in frames]), self._active.probe.device)
            for frame, amplitude in zip(frames, tensor, strict=True):
                if frame.index not in refused:
                    work.keep(frame, amplitude, looks=0)
                    self._teach(work.scan_id, frame)
        except Exception as fault:  # the scan goes on without them
            self._note_fault(work.scan_id, f"{len(frames)} frames could not be laid again", fault)

    def _read_again(self, scan_id: str, again: Again) -> GroupFrame | None:
        if again.amplitude is not None:
            return GroupFrame(again.index, np.asarray(to_host(again.amplitude)), again.position_px)
        counts = None if self._store is None else self._store.read(scan_id, again.index)
        if counts is None:
            return None
        return GroupFrame(again.index, self.correction.patterns(to_amplitude(counts)), again.position_px)

    @staticmethod
    def _measure(model: Model, group: TensorDict) -> float:
        """Return the time of one frame, s: the best of a few."""
        best = float("inf")
        for _ in range(WARM_UP_ROUNDS):
            begun = time.perf_counter()
            to_host(model.predict(group))
            best = min(best, time.perf_counter() - begun)
        return best

    def _take(self, items: list[ScanPoint | EndOfScan | LostPoint]) -> None:
        """Work on items in their order, points of one scan together."""
        self._improving = None  # its product is there; frames are more urgent
        for (scan_id, kind), run in groupby(items, lambda item: (item.scan_id, type(item))):
            some = list(run)
            if kind is EndOfScan:
                self._faults.attempt(scan_id, "the beginning of its end", partial(self._end, scan_id), lambda: None)
            elif kind is LostPoint:
                for item in some:
                    if isinstance(item, LostPoint):
                        self._refuse(scan_id, item.index, item.reason)
            else:
                self._take_points(scan_id, [item for item in some if isinstance(item, ScanPoint)])

    def _end(self, scan_id: str) -> None:
        work = self._scan(scan_id)
        work.finish_by = time.monotonic() + self._options.refine_finish_s
        self._have_examined(work)

    def _refuse(self, scan_id: str, index: int, reason: RefusalReason) -> None:
        """Enter a frame as refused; a fault in that costs the others nothing."""
        refuse = partial(self._events.on_refused, scan_id, index, reason)
        self._faults.attempt(scan_id, "the account", refuse, lambda: None)

    def _scan(self, scan_id: str) -> ScanWork:
        if scan_id not in self._work:
            if self._queue.age_s > BEHIND_S:
                for work in self._work.values():
                    work.give_way()
            self._work[scan_id] = self._new_work(scan_id, self._active, self.correction)
        return self._work[scan_id]

    def _new_work(self, scan_id: str, model: ActiveModel, correction: Correction) -> ScanWork:
        work = ScanWork(scan_id, model, self._options, looks_again=model.models.is_learned)
        work.pixel_ratio = 1 / correction.position_scale
        return work

    def _have_examined(self, work: ScanWork) -> None:
        examiner = self.examiner
        if examiner is None or work.again or self._swaps or not work.is_examined:
            return

        def examine() -> None:
            if examiner.wants(work.examination, work.stitched, has_ended=work.finish_by is not None):
                examiner.examine(work.examination, work.sample)

        self._attempt(work, "the examination", examine, work.stop_examining)

    def _take_points(self, scan_id: str, points: list[ScanPoint]) -> None:
        self._metrics.batch_frames.observe(len(points))
        pixel_size_m = self.pixel_size_m(scan_id)
        if pixel_size_m is None:
            for point in points:
                self._refuse(scan_id, point.index, RefusalReason.OBJECT_PIXEL_UNKNOWN)
            return
        done = set[int]()
        try:
            work = self._scan(scan_id)
            with self._metrics.stage_seconds.labels("group").time():
                frames = _frames(points, pixel_size_m, self.correction)
                groups = work.group(frames)
            models = work.model.models
            sharp = models.sharp
            model = sharp if sharp is not None and self._can_afford(len(points)) else models.quick
            for group in groups:
                self._lay(work, model, group)
            self._enter(work, points, frames, looks=int(model is sharp), done=done)
            self._have_examined(work)
        except Exception as fault:  # a fault must not end the scan; it is counted and said
            self._note_fault(scan_id, f"a batch of {len(points)} frames failed", fault)
            for point in points:
                if point.index not in done:
                    self._refuse(scan_id, point.index, RefusalReason.ENGINE_ERROR)

    def _lay(self, work: ScanWork, model: Model, group: TensorDict) -> None:
        """Predict and stitch; where that fails, do it in halves, so that a bad frame fails alone."""
        stage, begun = self._metrics.stage_seconds, time.monotonic()
        try:
            with stage.labels("predict").time():
                patches = model.predict(group)[:, 0]
            self._credit_s -= time.monotonic() - begun if model is work.model.models.sharp else 0.0
            with stage.labels("stitch").time():
                work.lay(group, patches, is_quick=model is work.model.models.quick)
            return
        except torch.OutOfMemoryError as fault:
            self._lower_batches(len(group), fault)
            reason = RefusalReason.DEVICE_MEMORY
        except Exception as fault:
            self._note_fault(work.scan_id, f"{len(group)} frames failed", fault)
            reason = RefusalReason.ENGINE_ERROR
        if len(group) == 1:
            if group["images"].shape[1] == 1:
                work.refused[int(group["center_scan_id"][0])] = reason
            return
        for part in group.split(-(-len(group) // 2)):
            self._lay(work, model, part)

    def _lower_batches(self, frames: int, fault: Exception) -> None:
        """Take half as many frames at once from now on: the device has too little memory for so many."""
        release_memory(self._active.probe.device)
        self._batch_frames = max(1, min(self._batch_frames, frames // 2))
        log.warning("the device has run out of memory with %d frames: %s", frames, str(fault).splitlines()[0])
        self.failure = f"the device ran out of memory; batches have at most {self._batch_frames} frames now"
        self._metrics.stage_failures.labels("engine").inc()

    def _note_fault(self, scan_id: str, words: str, fault: Exception) -> None:
        log.error("scan %s: %s", scan_id, words, exc_info=fault)
        self.failure = f"scan {scan_id}: {words}: {fault}"
        self._metrics.stage_failures.labels("engine").inc()

    def _enter(
        self, work: ScanWork, points: list[ScanPoint], frames: list[GroupFrame], *, looks: int, done: set[int]
    ) -> None:
        """Close the account of frames that were laid, or could not be."""
        refused, work.refused = work.refused, {}
        for index, reason in refused.items():
            done.add(index)
            self._events.on_refused(work.scan_id, index, reason)
        tensor = to_device(np.stack([frame.amplitude for frame in frames]), self._active.probe.device)
        stitched = []
        for number, (point, frame) in enumerate(zip(points, frames, strict=True)):
            if point.index not in refused:
                work.keep(frame, tensor[number], looks)
                work.waiting_ns.append(point.received_ns)
                stitched.append(point.index)
                last = point.index, frame.amplitude
                self._teach(work.scan_id, frame)
        if stitched:
            done.update(stitched)
            self.last_pattern = (work.scan_id, *last)
            self._events.on_stitched(work.scan_id, stitched)

    def _teach(self, scan_id: str, frame: GroupFrame) -> None:
        if self.pupil is not None:
            self.pupil.offer(scan_id, frame.index, np.asarray(frame.amplitude), frame.position_px)

    def _can_afford(self, frames: int) -> bool:
        """Whether the sharp model may show so many frames now: nothing waits, and it has not had its share of the time."""
        now = time.monotonic()
        earned_s = self._credit_s + SHARP_SHARE * (now - self._credited_at)
        self._credit_s, self._credited_at = min(earned_s, self._options.publish_period_s), now
        cost_s = frames * self._sharp_frame_s
        return not len(self._queue) and self._credit_s > 0 and cost_s <= self._options.publish_period_s

    def _use_spare_time(self) -> None:
        """Spend one slice on the newest scan: a second look, then as long again on the refiner.

        Once the scan has ended, the refiner's least visits come first.
        """
        work = [w for w in self._work.values() if w.has_spare_work][-1]
        if work.again:
            self._attempt(work, "laying again", partial(self._lay_again, work), work.again.clear)
            return
        self._work_on(work)

    def _work_on(self, work: ScanWork) -> None:
        begun = time.monotonic()
        has_ended = work.finish_by is not None
        is_owed = has_ended and work.refines and _visits(work) < LEAST_VISITS
        if work.repaint is not None and not is_owed:
            most = REPAINT_LAST_FRAMES if has_ended else REPAINT_FRAMES
            self._attempt(
                work, "the second look", partial(work.look_again, most, has_ended=has_ended), work.stop_looking
            )
        now = time.monotonic()
        if work.refines:
            end = now + max(REFINE_SLICE_S, now - begun)
            self._attempt(work, "the refinement", partial(self._refine, work, end), work.stop_refining)

    def _refine(self, work: ScanWork, end: float) -> None:
        while work.refiner and time.monotonic() < end and not len(self._queue) and (count := work.refiner.step()):
            self._metrics.refine_updates.inc(count)

    def _close_finished(self) -> None:
        if self._swaps and not self._stop.is_set():
            return  # another probe may be among it
        due = [w for w in self._work.values() if w.finish_by is not None]
        for work in due:
            is_held = self.examiner is not None and work.is_examined and self.examiner.holds(work.examination)
            is_overdue = work.finish_by is not None and time.monotonic() > work.finish_by + MOST_FINISH_S
            is_done = is_overdue or (not is_held and _is_refined(work))
            is_to_close = work.is_settling or len(due) < len(self._work) or self._stop.is_set() or is_done
            if is_to_close and self._settle(work):
                self._close(work)

    def _settle(self, work: ScanWork) -> bool:
        """Do a slice of the last computations of a scan, so that others' frames need not wait; whether it was the last."""
        if work.again:
            self._attempt(work, "laying again", partial(self._lay_again, work), work.again.clear)
            return False
        try:
            is_settled = work.settle_some(is_urgent=len(self._queue) > 0 or len(self._work) > 1)
            if is_settled:
                self._metrics.coverage.set(work.coverage)
            return is_settled
        except Exception as fault:
            log.exception("scan %s: closing failed", work.scan_id)
            self.failure = f"scan {work.scan_id}: the last computations failed: {fault}"
            return True

    def _close(self, work: ScanWork) -> None:
        self._work.pop(work.scan_id, None)
        self._attempt(work, "the last picture", partial(self._publish_last, work))
        self._finish(work)
        self._faults.forget(work.scan_id)
        is_free = not self._work and not self._stop.is_set() and self._options.refine_improve_s > 0
        if is_free and _can_improve(work):
            self._improving, self._improved_from = work, product_rfactor(work.rfactors)
            self._next_improved = time.monotonic() + IMPROVED_PERIOD_S
            self._improve_by = time.monotonic() + self._options.refine_improve_s

    def _publish_last(self, work: ScanWork) -> None:
        self._publishing.publish(work, is_complete=True)

    def _finish(self, work: ScanWork) -> None:
        """Hand on what a scan gave: without the refined layer, or without any picture, where the result cannot be made."""
        made: list[ScanResult] = []
        for drop in (work.drop_refined, work.drop_picture, work.drop_picture):
            if self._attempt(work, "the result", lambda: made.append(work.result())):
                break
            drop()
        for _ in range(MOST_FAULTS):
            if made and self._attempt(work, "the end", partial(self._events.on_finished, made[0])):
                return

    def _improve(self, work: ScanWork) -> None:
        """Spend one slice on a scan that is closed already, while nothing else is to be done."""
        if self._stop.is_set():
            self._improving = None
            return
        now = time.monotonic()
        if now < self._improve_by and not work.is_settling and _can_improve(work):
            self._work_on(work)
            if now >= self._next_improved:
                self._publishing.publish(work, is_complete=True)
                self._next_improved = now + IMPROVED_PERIOD_S
        elif work.settle_some():
            self._improving = None
            if _is_lower(product_rfactor(work.rfactors), self._improved_from):
                self._publishing.publish(work, is_complete=True)
                self._events.on_improved(work.result())


def _frames(points: list[ScanPoint], pixel_size_m: float, correction: Correction) -> list[GroupFrame]:
    """Return points as groups take them; ``pixel_size_m`` is corrected already."""
    amplitude = correction.patterns(to_amplitude(np.stack([point.counts for point in points])))
    where = correction.turned_positions(
        np.array([point.position_m for point in points], dtype=np.float64) / pixel_size_m
    )
    return [GroupFrame(p.index, a, (y, x)) for p, a, (y, x) in zip(points, amplitude, where.tolist(), strict=True)]


def _can_improve(work: ScanWork) -> bool:
    """Whether a closed scan's picture can get better still."""
    return work.has_spare_work and not work.again and not _is_worked_out(work, IMPROVED_VISITS)


def _is_refined(work: ScanWork) -> bool:
    """Whether an ended scan has had the second looks and the sweeps that it gets."""
    if not work.has_spare_work:
        return True
    if work.again:
        return False
    is_late = time.monotonic() >= (work.finish_by or 0.0)
    has_least = not work.refines or _visits(work) >= LEAST_VISITS
    has_least = has_least and (work.repaint is None or not work.repaint.is_mixed)
    return _is_worked_out(work, ENOUGH_VISITS) or (is_late and has_least)


def _is_worked_out(work: ScanWork, visits: int) -> bool:
    """Whether the refiner, if there is one, has visited every frame so often, and all second looks are over."""
    is_visited = not work.refines or _visits(work) >= visits
    return is_visited and (work.repaint is None or work.repaint.is_done)


def _visits(work: ScanWork) -> int:
    """Return how often the refiner has visited the frame that it has visited least."""
    return 0 if work.refiner is None else work.refiner.least_visits


def _is_lower(rfactor: float | None, than: float | None) -> bool:
    return rfactor is not None and (than is None or rfactor < than)
