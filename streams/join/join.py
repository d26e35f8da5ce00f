"""Joins frames with positions, by scan and index, never by order of arrival; the only entrance to this folder.

Frames pass :mod:`streams.join.pairing`, positions :mod:`streams.join.position_router`, scans
:mod:`streams.join.known_scans`. Each scan's account (:mod:`streams.join.account`) adds up at every moment.

Frames, positions and messages refused on receipt use the sender's *wire* name and mean the newest scan of that name.
:meth:`Join.start_scan` returns the account of the scan that it opens; whoever opened the scan keeps it and gives it for
everything else.

A scan is open, then ended, then finished when nothing of it is pending. Only a finished scan takes no more frames.
Not safe to share between threads without a lock.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.frame import Frame, Position, PositionNews, ScanPoint, ScanStart
from streams.join.account import EndedBy, ScanAccount
from streams.join.closing import reason_to_close
from streams.join.known_scans import KnownScans
from streams.join.opening import ScanOpener
from streams.join.pairing import Pairing
from streams.join.position_router import PositionRouter
from streams.join.scan_diagnostics import warnings_about
from streams.join.source_run import KeptRuns, ResumedRun
from streams.refusal_reasons import RefusalReason

__all__ = ["Join"]


class Join:
    """Pairs the frames and positions of all scans and keeps their accounts.

    Parameters
    ----------
    position_timeout_s
        How long after a scan's end a frame waits for its position; also how long positions wait for a scan to open.
    max_wait_s
        The same during the scan.
    max_pending_bytes
        Bound on the pixels of waiting frames; beyond it the oldest is refused, ``pending_overflow``.
    max_open_scans
        Bound on scans open at once; beyond it the oldest is ended.
    max_position_bytes
        Bound on one scan's positions, 16 bytes each where they are dense, and on all that wait for scans to open.
    max_new_scans
        Scans that may open at once before any of them has a frame in the picture; after that one a second.
    is_taken
        Whether a name belongs to a scan of an earlier run and must not be given again.
    reach_m
        How far from the others a frame of a scan may lie and not be held back; ``None``: anywhere (``far_frames.py``).
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        *,
        position_timeout_s: float = 10.0,
        max_wait_s: float = 600.0,
        max_pending_bytes: int = 2**30,
        max_open_scans: int = 8,
        max_position_bytes: int = 256 * 2**20,
        max_new_scans: int = 64,
        is_taken: Callable[[str], bool] = lambda name: False,
        reach_m: Callable[[str], float | None] = lambda scan_id: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._position_timeout_s = position_timeout_s
        self._clock = clock
        self._scans = KnownScans(max_open_scans, is_taken, clock)
        self._router = PositionRouter(self._scans, max_position_bytes, position_timeout_s, clock)
        self._pairing = Pairing(
            self._scans,
            position_timeout_s=position_timeout_s,
            max_wait_s=max_wait_s,
            max_pending_bytes=max_pending_bytes,
            reach_m=reach_m,
            clock=clock,
        )
        self._opener = ScanOpener(self._scans, self._router, max_new_scans, clock)
        self._last_fed: ScanAccount | None = None
        self._newest_opened_at = -math.inf

    @property
    def open_scans(self) -> list[str]:
        """Names of the scans that have not ended, oldest first."""
        return self._scans.open_ids

    @property
    def unfinished(self) -> Sequence[ScanAccount]:
        """The scans of which a frame may still come or is pending, oldest first."""
        return self._scans.live

    @property
    def waiting_frames(self) -> int:
        """Frames that wait for their position."""
        return sum(len(scan.waiting) for scan in self._scans.live)

    @property
    def pending_bytes(self) -> int:
        """Bytes of the pixels of frames that wait for their position."""
        return self._pairing.pending_bytes

    @property
    def positions_ignored(self) -> int:
        """Positions that no frame can use: of finished scans, of scans that never opened, or beyond a bound."""
        return self._router.ignored

    @property
    def source_scan(self) -> str | None:
        """Name of the scan that the run of a source without scan names belongs to, if it has one."""
        return self._router.source_scan

    def newest(self, wire_id: str) -> ScanAccount | None:
        """Return the newest scan that a sender calls ``wire_id``; ``None`` if none is known."""
        return self._scans.newest(wire_id)

    def start_scan(self, start: ScanStart, *, was_heard: bool = True, scan_id: str | None = None) -> ScanAccount:
        """Open a scan and return its account. ``was_heard`` is False where frames came without a start.

        ``scan_id`` is the name of a scan of an earlier run that continues; it must not be open already.

        A start repeated before any frame is the same scan. A start after frames means that the detector was armed again
        under the same name: the scan so far is ended, cut short, and another opened. If scans open too fast, one scan,
        ``too-many-scans``, stands for the rest; it refuses every message.
        """
        scan = self._scans.newest(start.scan_id)
        if scan is not None and scan.ended_at is None:
            if scan.received == 0:
                scan.indexes.expect(start.expected_frames)
                return scan
            self._scans.end(scan, "new_scan", was_cut_short=True)
        opened = self._opener.open(start) if scan_id is None else self._opener.open_again(start, scan_id)
        opened.note_start(was_heard)
        return opened

    def end_scan(self, scan: ScanAccount, ended_by: EndedBy = "end") -> None:
        """End a scan that is open."""
        if scan.ended_at is None:
            self._scans.end(scan, ended_by, was_cut_short=ended_by == "new_scan")

    def overdue(self, scan: ScanAccount, silent_s: float) -> EndedBy | None:
        """Return why a scan without an end message may be closed after ``silent_s`` without a frame, if it may."""
        return reason_to_close(
            scan, silent_s, newest_opened_at=self._newest_opened_at, source_timeout_s=self._position_timeout_s
        )

    def add_frame(self, frame: Frame) -> list[ScanPoint]:
        """Take a frame; return the scan points that are ready with it."""
        scan = self._scans.newest(frame.scan_id) or self._opener.open(ScanStart(frame.scan_id))
        if scan is not self._last_fed:
            self._last_fed = scan
            if not scan.refuses_all:
                self._newest_opened_at = max(self._newest_opened_at, scan.opened_at)
        return self._pairing.add_frame(scan, frame)

    def add_positions(self, positions: Iterable[Position]) -> list[ScanPoint]:
        """Take positions; return the scan points of frames that waited for them."""
        points: list[ScanPoint] = []
        for position in positions:
            scan = self._router.add(position)
            if scan is not None:
                points += self._pairing.pair_waiting(scan, position.index)
        return points

    def add_news(self, news: PositionNews) -> list[ScanPoint]:
        """Take a message of a source without scan names; return the scan points of frames that waited for it.

        A run of the source, from one beginning to the next, belongs to one scan, and a scan has one run: the scan that
        opened nearest to its beginning, or otherwise the next to open. News of a finished scan are ignored.
        """
        scan = None if news.is_silent else self._router.take_news(news)
        points: list[ScanPoint] = []
        if scan is not None:
            for position in news.positions:
                if self._router.put(scan, position):
                    points += self._pairing.pair_waiting(scan, position.index)
        return points

    def announce(self, news: PositionNews) -> None:
        """Take a message of the control system about its runs, apart from positions."""
        if not news.is_silent:
            self._router.announce(news)

    def resume_runs(self, scan: ScanAccount, kept: KeptRuns) -> ResumedRun | None:
        """Give a scan that continues its runs; return the facts that the reader of its positions needs, if any."""
        return self._router.resume(scan, kept)

    def recent_warnings(self, within_s: float) -> dict[str, list[str]]:
        """Return the warnings about scans that are open or ended within this time, by name, newest first."""
        found = {scan.scan_id: warnings_about(scan) for scan in self._scans.recent(self._clock() - within_s)}
        return {scan_id: sentences for scan_id, sentences in found.items() if sentences}

    def set_positions(self, scan: ScanAccount, positions_m: NDArray[np.floating[Any]]) -> list[ScanPoint]:
        """Give an unfinished scan all its positions ``(n, 2)``, metres; return the scan points of frames that waited.

        Raises :class:`PositionError` for another shape.
        """
        return self._pairing.set_positions(scan, positions_m)

    def refuse_position_message(self, sentence: str) -> None:
        """Count a refused message of the position source in every scan that takes positions, or in the next."""
        self._router.refuse_message(sentence)

    def refuse_received(self, wire_id: str, index: int | None, reason: RefusalReason, words: str = "") -> None:
        """Count a message that was never given to :meth:`add_frame`; ``words`` say why."""
        scan = self._scans.newest(wire_id) or self._opener.open(ScanStart(wire_id))
        scan.receive_refused(reason, index, words)

    def refuse(self, scan: ScanAccount, index: int, reason: RefusalReason) -> None:
        """Count the pending frame of an index as refused; if none is pending, nothing changes."""
        self._pairing.refuse(scan, index, reason)

    def mark_stitched(self, scan: ScanAccount, indexes: Iterable[int]) -> None:
        """Count scan points that were handed on as stitched; other indexes change nothing."""
        if scan.is_put_away:
            return
        had_none = scan.stitched == 0
        scan.mark_stitched(indexes)
        if had_none and scan.stitched:
            self._opener.refund()
        self._scans.settle(scan)

    def is_finished(self, scan: ScanAccount) -> bool:
        """Whether the scan has ended, none of its frames is pending, and it was not released."""
        return self._scans.is_finished(scan)

    def release(self, scan: ScanAccount) -> None:
        """Take note that a finished scan's account is written down; it is kept while it is among the last 64 such."""
        self._scans.release(scan)

    def poll(self) -> list[ScanPoint]:
        """Give up frames and early positions that have waited too long; return scan points that are passed on now."""
        now = self._clock()
        points = [point for scan in list(self._scans.live) for point in self._pairing.poll(scan, now)]
        self._router.drop_stale(now)
        return points
