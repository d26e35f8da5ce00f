"""Pairing of frames with their positions: waiting, holding back far frames, handing on scan points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.errors import PositionError
from streams.frame import Frame, PositionM, ScanPoint
from streams.join.account import ScanAccount, WaitingFrame
from streams.join.far_frames import FarFrames, Placed
from streams.join.known_scans import KnownScans
from streams.refusal_reasons import RefusalReason

__all__ = ["Pairing"]


class Pairing:
    """Pairs the frames of all scans, and bounds the memory of frames that wait.

    Parameters
    ----------
    scans
        The scans; a scan whose last pending frame is settled here is put away.
    position_timeout_s, max_wait_s
        How long a frame waits for its position: after the end of its scan, and before.
    max_pending_bytes
        Bound on the pixels of waiting frames; beyond it the oldest is refused.
    reach_m
        How far from the others a frame of a scan may lie and not be held back; ``None``: anywhere.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        scans: KnownScans,
        *,
        position_timeout_s: float,
        max_wait_s: float,
        max_pending_bytes: int,
        reach_m: Callable[[str], float | None],
        clock: Callable[[], float],
    ) -> None:
        self._scans = scans
        self._position_timeout_s = position_timeout_s
        self._max_wait_s = max(max_wait_s, position_timeout_s)
        self._max_pending_bytes = max_pending_bytes
        self._reach_m = reach_m
        self._clock = clock
        self._count_waiting = 0
        self._pending_bytes = 0

    @property
    def pending_bytes(self) -> int:
        """Bytes of the pixels of waiting frames."""
        return self._pending_bytes

    def add_frame(self, scan: ScanAccount, frame: Frame) -> list[ScanPoint]:
        """Take a frame of a scan; return the scan points that are ready with it."""
        position_m = frame.position_m or scan.positions.table.get(frame.index)
        if not scan.receive(frame, position_m):
            return []
        if position_m is None:
            self._wait(scan, frame)
            return []
        return self._pair(scan, frame, position_m)

    def pair_waiting(self, scan: ScanAccount, index: int) -> list[ScanPoint]:
        """Pair a frame that waits, if it does and its position is known; return the scan points that are ready."""
        position_m = scan.positions.table.get(index) if index in scan.waiting else None
        if position_m is None:
            return []
        frame = scan.end_wait(index)
        self._pending_bytes -= frame.counts.nbytes
        points = self._pair(scan, frame, position_m)
        self._scans.settle(scan)
        return points

    def set_positions(self, scan: ScanAccount, positions_m: NDArray[np.floating[Any]]) -> list[ScanPoint]:
        """Give a scan all its positions ``(n, 2)``, metres; return the scan points of frames that waited."""
        values = np.asarray(positions_m, np.float64)
        if values.ndim != 2 or values.shape[1] != 2:
            raise PositionError(f"scan {scan.scan_id}: positions must have shape (n, 2), not {values.shape}")
        scan.positions.table.fill(values)
        points: list[ScanPoint] = []
        for index in list(scan.waiting):
            points += self.pair_waiting(scan, index)
        return points

    def refuse(self, scan: ScanAccount, index: int, reason: RefusalReason) -> None:
        """Refuse a frame that waits or is in flight; any other index changes nothing."""
        if index in scan.waiting or scan.is_in_flight(index):
            self._refuse(scan, index, reason)
            self._scans.settle(scan)

    def poll(self, scan: ScanAccount, now: float) -> list[ScanPoint]:
        """Give up frames that have waited too long; return scan points of held back frames that are let through."""
        while scan.waiting and self._deadline(scan, next(iter(scan.waiting.values()))) <= now:
            self._pending_bytes -= scan.give_up(next(iter(scan.waiting))).counts.nbytes
        points: list[ScanPoint] = []
        has_all = scan.ended_at is not None and not scan.waiting
        if scan.far is not None and scan.far.is_due(has_all, now - scan.far.since):
            passed, refused = scan.far.decide()
            for index in refused:
                scan.refuse(RefusalReason.FAR_FROM_OTHERS, index)
            points = _scan_points(scan, passed)
        self._scans.settle(scan)
        return points

    def _wait(self, scan: ScanAccount, frame: Frame) -> None:
        scan.wait(frame, self._clock(), self._count_waiting)
        self._count_waiting += 1
        self._pending_bytes += frame.counts.nbytes
        while self._pending_bytes > self._max_pending_bytes:
            oldest = min((scan for scan in self._scans.live if scan.waiting), key=_first_number)
            self._refuse(oldest, next(iter(oldest.waiting)), RefusalReason.PENDING_OVERFLOW)
            self._scans.settle(oldest)

    def _refuse(self, scan: ScanAccount, index: int, reason: RefusalReason) -> None:
        waited = scan.refuse(reason, index)
        if waited is not None:
            self._pending_bytes -= waited.counts.nbytes

    def _deadline(self, scan: ScanAccount, waiting: WaitingFrame) -> float:
        if scan.ended_at is None:
            return waiting.since + self._max_wait_s
        return max(waiting.since, scan.ended_at) + self._position_timeout_s

    def _pair(self, scan: ScanAccount, frame: Frame, position_m: PositionM) -> list[ScanPoint]:
        if not position_m.is_place:
            scan.refuse_misplaced(frame.index, position_m)
            return []
        far = scan.far
        if far is None:
            far = self._start_far_frames(scan)
        if far is None or far.lets_through(position_m):
            return [ScanPoint(scan.scan_id, frame.index, frame.counts, position_m, frame.received_ns)]
        points = _scan_points(scan, far.take(frame, position_m))
        if (dropped := far.drop_oldest()) is not None:
            scan.refuse(RefusalReason.FAR_FROM_OTHERS, dropped)
        return points

    def _start_far_frames(self, scan: ScanAccount) -> FarFrames | None:
        """Hold back far frames of a scan from its first frame on, if its reach is known."""
        reach_m = self._reach_m(scan.scan_id)
        if reach_m is None:
            return None
        far = FarFrames(reach_m, self._clock())
        scan.hold_back_far_frames(far)
        return far


def _scan_points(scan: ScanAccount, placed: list[Placed]) -> list[ScanPoint]:
    return [ScanPoint(scan.scan_id, f.index, f.counts, where, f.received_ns) for f, where in placed]


def _first_number(scan: ScanAccount) -> int:
    return next(iter(scan.waiting.values())).number
