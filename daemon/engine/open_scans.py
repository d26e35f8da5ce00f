"""The scans that the engine works on: each is opened by its first frame, examined, and closed once it is refined.

After a scan's end spare time goes on for ``refine_finish_s``, and longer where a frame has not had its first visits, unless
frames of another scan come. If the device is behind when another scan begins, earlier scans get no more second looks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import cast

from daemon.engine.backlog import BEHIND_S, Backlog, EndOfScan, LostPoint
from daemon.engine.closing import ScanEnding
from daemon.engine.engine_scan import EngineScans
from daemon.engine.faults import EngineFaults
from daemon.engine.frame_moves import FrameMoves
from daemon.engine.improvement import Improvement
from daemon.engine.model_in_use import ModelInUse
from daemon.engine.model_swap import new_work
from daemon.engine.options import EngineOptions
from daemon.engine.ports import ExaminerPort
from daemon.engine.scan import ScanWork
from daemon.engine.spare_time import is_refined
from daemon.engine.stitching import Stitcher
from daemon.metrics import Metrics
from streams.frame import ScanPoint
from streams.refusal_reasons import RefusalReason

MOST_FINISH_S = 180.0
"""An ended scan closes after its last seconds and this time, whatever it still waits for (a retrieval holds it 120 s)."""


class OpenScans:
    """Used by the engine's thread alone; other threads read copies of ``works``.

    Attributes
    ----------
    works
        The engine's side of each open scan, the oldest first; other threads find one by :meth:`work_of`.
    examiner
        The diagnosis, where there is one.
    moves
        The positions found from the frames.
    """

    def __init__(
        self,
        options: EngineOptions,
        metrics: Metrics,
        model: ModelInUse,
        *,
        queue: Backlog,
        faults: EngineFaults,
        stitcher: Stitcher,
        ending: ScanEnding,
        improvement: Improvement,
        moves: FrameMoves,
        scans: EngineScans[ScanWork],
        stop: threading.Event,
    ) -> None:
        self._options = options
        self._metrics = metrics
        self._model = model
        self._queue = queue
        self._faults = faults
        self._stitcher = stitcher
        self._ending = ending
        self._improvement = improvement
        self.moves = moves
        self._scans = scans
        self._stop = stop
        self.works: list[ScanWork] = []
        self.examiner: ExaminerPort | None = None

    @property
    def is_settling(self) -> bool:
        """Whether the last computations of a scan have begun."""
        return any(work.is_settling for work in self.works)

    @property
    def is_scanning(self) -> bool:
        """Whether a scan is open that may get more frames; safe from any thread."""
        return any(work.finish_by is None for work in self.works.copy())

    @property
    def is_finishing(self) -> bool:
        """Whether a scan that has ended has its last seconds; safe from any thread."""
        return any(work.finish_by is not None for work in self.works.copy())

    def take(self, items: list[ScanPoint | EndOfScan | LostPoint]) -> None:
        """Work on items in their order, points of one scan together."""
        self._improvement.stop()  # its product is there; frames are more urgent
        for scan_id, kind, some in _runs(items):
            if kind is EndOfScan:
                self._faults.attempt_for(scan_id, "the beginning of its end", partial(self._end, scan_id))
            elif kind is LostPoint:
                for item in some:
                    if isinstance(item, LostPoint):
                        self._stitcher.refuse(scan_id, item.index, item.reason)
            else:
                self._take_points(scan_id, cast(list[ScanPoint], some))

    def close_finished(self) -> None:
        """Close the scans that have ended and are refined; let each go on with its last computations until then."""
        if self._model.is_asked and not self._stop.is_set():
            return  # another probe may be among it
        due = [w for w in self.works if w.finish_by is not None]
        for work in due:
            is_held = self._is_examined(work) or self.moves.holds(work)
            is_overdue = work.finish_by is not None and time.monotonic() > work.finish_by + MOST_FINISH_S
            is_done = is_overdue or (not is_held and is_refined(work))
            is_to_close = work.is_settling or len(due) < len(self.works) or self._stop.is_set() or is_done
            if is_to_close and self.is_settled(work):
                self.close(work)

    def _is_examined(self, work: ScanWork) -> bool:
        return self.examiner is not None and work.is_examined and self.examiner.holds(work.examination)

    def is_settled(self, work: ScanWork) -> bool:
        """Do a slice of a scan's last computations; return whether it was the last."""
        is_urgent = len(self._queue) > 0 or len(self.works) > 1
        return self._ending.settle(work, self._model.correction, is_urgent=is_urgent)

    def close(self, work: ScanWork) -> None:
        """Hand on a scan's result; go on with the scan in idle time if no other is open."""
        self.works.remove(work)
        self._ending.hand_on(work)
        self._scans.close(work.scan_id)
        if not self.works and not self._stop.is_set():
            self._improvement.begin(work)
        if self._improvement.work is not work:
            work.stop_moving()

    def end_all(self, on_slice: Callable[[], None]) -> None:
        """Close all scans, but leave those of which frames wait to the next start; ``on_slice`` is called now and then."""
        for work in list(self.works):
            waiting = self._queue.forget(work.scan_id)
            if waiting:
                self._ending.leave(work, waiting)
                continue
            while not self.is_settled(work):
                on_slice()
            self.close(work)
            on_slice()

    def _end(self, scan_id: str) -> None:
        work = self._scan(scan_id)
        work.ended_s = time.monotonic()
        work.finish_by = work.ended_s + self._options.refine_finish_s
        self._have_examined(work)

    def _scan(self, scan_id: str) -> ScanWork:
        scan = self._scans.open(scan_id)
        if scan.work is None:
            if self._queue.age_s > BEHIND_S:
                for work in self.works:
                    work.drop_second_looks()
            scan.work = new_work(scan_id, self._model.active, self._model.correction, self._options)
            self.works.append(scan.work)
        return scan.work

    def work_of(self, scan_id: str) -> ScanWork | None:
        """Return the engine's side of an open scan; safe from any thread."""
        scan = self._scans.get(scan_id)
        return None if scan is None else scan.work

    def restart(self, again: Callable[[ScanWork], ScanWork]) -> None:
        """Replace the work of each scan by what is made of it, or of none where that fails."""
        works = [again(work) for work in self.works]
        for work in works:
            self._scans.open(work.scan_id).work = work
        self.works[:] = works

    def _have_examined(self, work: ScanWork) -> None:
        examiner = self.examiner
        if examiner is None or work.to_restitch or self._model.is_asked or not work.is_examined:
            return

        def examine() -> None:
            if examiner.wants(work.examination, work.stitched, has_ended=work.finish_by is not None):
                examiner.examine(work.examination, work.sample)

        self._faults.attempt(work, "the examination", examine, work.stop_examining)

    def _take_points(self, scan_id: str, points: list[ScanPoint]) -> None:
        self._metrics.batch_frames.observe(len(points))
        pixel_size_m = self._model.pixel_size_m(scan_id)
        if pixel_size_m is None:
            for point in points:
                self._stitcher.refuse(scan_id, point.index, RefusalReason.OBJECT_PIXEL_UNKNOWN)
            return
        done = set[int]()
        try:
            work = self._scan(scan_id)
            self._stitcher.stitch(work, points, pixel_size_m, self._model.correction, done=done)
            self._have_examined(work)
        except Exception as fault:  # a fault must not end the scan; it is counted and said
            self._faults.note(scan_id, f"a batch of {len(points)} frames failed", fault)
            for point in points:
                if point.index not in done:
                    self._stitcher.refuse(scan_id, point.index, RefusalReason.ENGINE_ERROR)


_Item = ScanPoint | EndOfScan | LostPoint


def _runs(items: Sequence[_Item]) -> Iterator[tuple[str, type, Sequence[_Item]]]:
    """Yield scan, kind and items of each run of items of one kind of one scan."""
    begin = 0
    while begin < len(items):
        scan_id, kind, stop = items[begin].scan_id, type(items[begin]), begin + 1
        while stop < len(items) and items[stop].scan_id == scan_id and type(items[stop]) is kind:
            stop += 1
        yield scan_id, kind, items[begin:stop]
        begin = stop
