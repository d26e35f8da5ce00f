"""Pairing of frames with positions: the one owner, by (scan, index), never by order of arrival.

Every message received for a scan is, at each moment, exactly one of: stitched, duplicate, refused (for a reason),
without position, or pending; so ``received = stitched + duplicate + sum(refused) + without_position + pending``.
Pending frames wait for their position here, or were handed on as scan points and are not yet reported stitched.

Two kinds of name. Senders use a *wire* name, which a restarted detector may use again: its second scan is ``NAME-2``,
then ``NAME-3``. :meth:`Join.start_scan` returns the scan's own name; frames and positions, ends and messages refused on
receipt go by the wire name to the newest scan of that name; everything else goes by the scan's own name.

A scan's life: open, then ended, then finished when nothing of it is pending. Only a finished scan takes no more frames.
Not safe to share between threads without a lock.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.errors import PositionError
from streams.frame import Frame, Position, PositionM, PositionNews, ScanPoint, ScanStart
from streams.join.account import EndedBy, ScanAccount, Verdict, Waiting
from streams.join.early_positions import EarlyPositions
from streams.join.far_frames import FarFrames, Placed
from streams.join.index_tables import PositionTable
from streams.join.open_rate_limit import FloodGate
from streams.join.scan_diagnostics import FAR, findings
from streams.join.source_runs import Announcements, SourceRuns

__all__ = ["Join", "Verdict"]

_KEPT_ACCOUNTS = 64
_MOST_FINISHED = 10_000
_KEPT_NAMES = 10_000
_CLOSE_AFTER_S = 2.0
_FLOOD = "too-many-scans"


class _Name(NamedTuple):
    """What a wire name means now, and how many scans have had that name."""

    scan_id: str
    generation: int


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
        How far from the others a frame of a scan may lie and not be held back; None: anywhere (see ``far.py``).
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
        self._max_wait_s = max(max_wait_s, position_timeout_s)
        self._max_pending_bytes = max_pending_bytes
        self._max_open_scans = max(1, max_open_scans)
        self._is_taken = is_taken
        self._reach_m = reach_m
        self._clock = clock
        self._live: dict[str, ScanAccount] = {}
        self._finished: OrderedDict[str, ScanAccount] = OrderedDict()
        self._released: OrderedDict[str, ScanAccount] = OrderedDict()
        self._names: OrderedDict[str, _Name] = OrderedDict()
        self._early = EarlyPositions(max_position_bytes, position_timeout_s)
        self._runs = SourceRuns(position_timeout_s)
        self._announcements = Announcements(position_timeout_s)
        self._flood = FloodGate(max_new_scans, clock())
        self._newest_opened_at = -math.inf
        self._count_waiting = 0
        self._ignored = 0
        self.pending_bytes = 0

    @property
    def open_scans(self) -> list[str]:
        """Names of the scans that have not ended, oldest first."""
        return [scan.scan_id for scan in self._live.values() if scan.ended_at is None]

    @property
    def waiting_frames(self) -> int:
        """Frames that wait for their position."""
        return sum(len(scan.waiting) for scan in self._live.values())

    @property
    def positions_ignored(self) -> int:
        """Positions that no frame can use: of finished scans, of scans that never opened, or beyond what is kept."""
        return self._ignored + self._early.ignored

    @property
    def source_scan(self) -> str | None:
        """Name of the scan that the run of a source without names belongs to, if it has one."""
        return self._runs.scan_id

    def current_id(self, wire_id: str) -> str | None:
        """Return the name of the newest scan that a sender calls ``wire_id``; ``None`` if none is known."""
        name = self._names.get(wire_id)
        return None if name is None or self._find(name.scan_id) is None else name.scan_id

    def start_scan(self, start: ScanStart, *, was_heard: bool = True, scan_id: str | None = None) -> str:
        """Open a scan and return its name. ``was_heard`` is False where frames came without a start.

        ``scan_id`` is the name that a scan of an earlier run had and goes on with; it must not be open already.

        A start repeated before any frame is the same scan. One that comes after frames means that the detector was
        armed anew under the same name: the scan so far is ended, cut short, and another opened. Where scans open too
        fast, one scan, ``too-many-scans``, stands for the rest; it refuses all that comes.
        """
        scan = self._newest(start.scan_id)
        if scan is not None and scan.ended_at is None:
            if scan.received == 0:
                scan.expect(start.expected_frames)
                return scan.scan_id
            self._cut_short(scan, "new_scan")
        opened = self._open(start) if scan_id is None else self._open_as(start, scan_id)
        opened.has_start = was_heard
        return opened.scan_id

    def end_scan(self, scan_id: str, *, exactly: bool = False, ended_by: EndedBy = "end") -> None:
        """End the newest scan that senders call ``scan_id``, or with ``exactly`` the scan of that very name."""
        scan = self._find(scan_id) if exactly or scan_id not in self._names else self._newest(scan_id)
        if scan is not None and scan.ended_at is None:
            scan.was_cut_short = ended_by == "new_scan"
            self._end(scan, ended_by)

    def overdue(self, scan_id: str, silent_s: float) -> EndedBy | None:
        """Return why a scan without an end message may be closed after ``silent_s`` without a frame, if it may."""
        scan = self._live.get(scan_id)
        if scan is None or scan.ended_at is not None or silent_s < _CLOSE_AFTER_S or not scan.received:
            return None
        if scan.expected and scan.missing == 0:
            return "all_there"
        if scan.opened_at < self._newest_opened_at:
            return "new_scan"
        run = scan.source
        has_all = run is not None and run.has_ended and run.samples >= scan.frames * run.samples_per_frame
        is_over = scan.announced is not None and scan.announced.has_ended
        return "source" if (has_all or is_over) and silent_s >= self._position_timeout_s else None

    def add_frame(self, frame: Frame) -> list[ScanPoint]:
        """Take a frame; return its scan point if its position is known."""
        scan = self._newest(frame.scan_id) or self._open(ScanStart(frame.scan_id))
        scan.received += 1
        if scan.refuses_all:
            scan.refuse("scan_flood")
            return []
        if scan.received == 1:
            self._newest_opened_at = max(self._newest_opened_at, scan.opened_at)
        if scan.is_finished:
            scan.refuse("after_end")
            return []
        scan.note(frame.index)
        if frame.exposed_s is not None:
            scan.timing.add_frame(frame.index, frame.exposed_s)
        scan.dark += frame.is_dark
        position_m = frame.position_m or scan.positions.get(frame.index)
        is_no_better = position_m is not None and not position_m.is_place and frame.index in scan.misplaced
        if is_no_better or not scan.held.add(frame.index):
            scan.duplicate += 1
            return []
        if position_m is None:
            self._wait(scan, frame)
            return []
        return self._pair(scan, frame, position_m)

    def add_positions(self, positions: Iterable[Position]) -> list[ScanPoint]:
        """Take positions; return the scan points of frames that waited for them.

        A position that names no scan is for the newest open one; with none open for the newest ended one that still
        waits, until its indexes begin anew; else it is kept for the next scan. One for a finished scan is ignored.
        """
        points: list[ScanPoint] = []
        for position in positions:
            points += self._add_position(position)
        return points

    def add_news(self, news: PositionNews) -> list[ScanPoint]:
        """Take what a source says that knows no names; return the scan points of frames that waited for it.

        A run of the source, from one beginning to the next, belongs to one scan, and a scan has one run: the scan that
        opened nearest to its beginning, or else the next to open. Of a scan that is finished it is ignored.
        """
        if news.is_silent:
            return []
        waiting = self._runs.waiting
        run = self._runs.take(news, self._live, self._clock())
        if waiting is not None and waiting is not run:
            self._early.forget_nameless()
        if run.scan_id is None:
            for position in news.positions:
                self._keep_early(position)
            return []
        scan = self._find(run.scan_id)
        points: list[ScanPoint] = []
        for position in news.positions:
            points += self._place(scan, position)
        return points

    def announce(self, news: PositionNews) -> None:
        """Take what the control system says of its runs, apart from positions."""
        if news.is_silent:
            return
        self._announcements.take(news, self._live, self._clock())

    def runs_of(self, scan_id: str) -> dict[str, Any]:
        """Return what has to be known of a scan's named runs after a restart, for :meth:`resume_runs`."""
        scan = self._live.get(scan_id)
        runs = {} if scan is None else {"source": scan.source, "announced": scan.announced}
        kept = {kind: run.as_plain() for kind, run in runs.items() if run is not None}
        return {kind: plain for kind, plain in kept.items() if plain is not None}

    def resume_runs(self, scan_id: str, kept: Mapping[str, Any]) -> dict[str, Any] | None:
        """Give a scan that goes on its runs again; return what the reader of its positions needs, where it needs any."""
        scan, now = self._live.get(scan_id), self._clock()
        if (announced := kept.get("announced")) is not None:
            self._announcements.resume(announced, scan, now)
        if (source := kept.get("source")) is None:
            return None
        self._runs.resume(source, scan_id, scan, now)
        return {**source, "frames": 0 if scan is None else scan.positions.beyond}

    def findings(self, scan_id: str) -> list[str]:
        """Return what was noticed about a scan, one sentence each."""
        scan = self._find(scan_id)
        return [] if scan is None else findings(scan)

    def recent_findings(self, within_s: float) -> dict[str, list[str]]:
        """Return the findings of scans that are open or ended within this time, by name, newest first."""
        since = self._clock() - within_s
        scans = list(reversed(self._live.values()))
        ended = [scan for kept in (self._released, self._finished) for scan in kept.values()]
        scans += reversed([scan for scan in ended if scan.ended_at is not None and scan.ended_at >= since])
        found = {scan.scan_id: findings(scan) for scan in scans}
        return {scan_id: sentences for scan_id, sentences in found.items() if sentences}

    def about(self, scan_id: str) -> dict[str, Any] | None:
        """Return what the control system says of the run that a scan belongs to; ``None`` if nothing."""
        scan = self._find(scan_id)
        runs = () if scan is None else (scan.announced, scan.source)
        return next((run.about for run in runs if run is not None and run.about is not None), None)

    def set_positions(self, scan_id: str, positions_m: NDArray[np.floating[Any]]) -> list[ScanPoint]:
        """Give a scan all its positions ``(n, 2)``, metres; return the scan points of frames that waited.

        Raises :class:`PositionError` for another shape and ``KeyError`` for a scan that is not there or is finished.
        """
        values = np.asarray(positions_m, np.float64)
        if values.ndim != 2 or values.shape[1] != 2:
            raise PositionError(f"scan {scan_id}: positions of shape {values.shape} are not (n, 2)")
        scan = self._live[scan_id]
        scan.positions.fill(values)
        points: list[ScanPoint] = []
        for index in list(scan.waiting):
            points += self._pair_waiting(scan, index)
        return points

    def refuse_position_message(self, words: str) -> None:
        """Enter a message of the position source as refused: it may have been for any scan that takes positions.

        Where there is none, it is for the next to open, if that comes while positions would wait for it.
        """
        scans = [scan for scan in self._live.values() if scan.ended_at is None or scan.waiting]
        for scan in scans:
            scan.refuse_position_message(words)
        if not scans:
            self._early.refuse(words, self._clock())

    def refuse(self, scan_id: str, index: int | None, reason: str, received: bool = False, words: str = "") -> None:
        """Enter a message as refused; ``words`` say why.

        With ``received`` it is one that was never given to :meth:`add_frame`, and ``scan_id`` the sender's name. Else
        it is the pending frame of that index, in the scan of that very name; where none is pending, nothing changes.
        """
        if received:
            scan = self._newest(scan_id) or self._open(ScanStart(scan_id))
            scan.received += 1
            scan.refuse("scan_flood" if scan.refuses_all else reason, words=words)
            if index is not None and not scan.is_finished and not scan.refuses_all:
                scan.note(index)
            return
        pending = self._live.get(scan_id)
        if pending is None or index is None:
            return
        if index in pending.waiting:
            self._take_waiting(pending, index)
        elif not pending.in_flight.discard(index):
            return
        pending.refuse(reason, index)
        self._settle(pending)

    def mark_stitched(self, scan_id: str, indexes: Iterable[int]) -> None:
        """Enter scan points that were handed on as stitched; those that are not awaited change nothing."""
        scan = self._live.get(scan_id)
        if scan is None:
            return
        for index in indexes:
            if scan.in_flight.discard(int(index)):
                if scan.stitched == 0:
                    self._flood.give_back()
                scan.stitched += 1
        self._settle(scan)

    def account(self, scan_id: str) -> Verdict:
        """Return a scan's account; ``KeyError`` if it was given up (see :meth:`release`)."""
        scan = self._find(scan_id)
        if scan is None:
            raise KeyError(scan_id)
        return scan.verdict()

    def is_closed(self, scan_id: str) -> bool:
        """Whether the scan of that name has ended, or senders now mean another scan by it."""
        scan = self._find(scan_id)
        return self.current_id(scan_id) is not None if scan is None else scan.ended_at is not None

    def is_finished(self, scan_id: str) -> bool:
        """Whether the scan has ended and each frame received is at its end."""
        return scan_id in self._finished

    def has_all(self, scan_id: str) -> bool:
        """Whether every expected frame came and is at its end, ended or not; False if their number is unknown."""
        scan = self._find(scan_id)
        return scan is not None and scan.expected is not None and scan.verdict().missing == 0 and scan.pending == 0

    def release(self, scan_id: str) -> None:
        """Say that the account of a finished scan is written down; it is kept while it is among the last 64 such."""
        scan = self._finished.pop(scan_id, None)
        if scan is not None:
            self._released[scan_id] = scan
            if len(self._released) > _KEPT_ACCOUNTS:
                self._released.popitem(last=False)

    def was_cut_short(self, scan_id: str) -> bool:
        """Whether a new scan, not an end, closed this one."""
        scan = self._find(scan_id)
        return scan is not None and scan.was_cut_short

    def poll(self) -> list[ScanPoint]:
        """Give up frames, and positions of scans that never opened, that have waited too long.

        Return the scan points of frames that lay far from all others, where that is no error.
        """
        now = self._clock()
        points: list[ScanPoint] = []
        for scan in list(self._live.values()):
            while scan.waiting and self._deadline(scan, next(iter(scan.waiting.values()))) <= now:
                self._take_waiting(scan, next(iter(scan.waiting)))
                scan.without_position += 1
            has_all = scan.ended_at is not None and not scan.waiting
            if scan.far is not None and scan.far.is_due(has_all, now - scan.first_far_at):
                points += self._decide(scan, scan.far)
            self._settle(scan)
        self._drop_stale_positions(now)
        return points

    def _find(self, scan_id: str) -> ScanAccount | None:
        return self._live.get(scan_id) or self._finished.get(scan_id) or self._released.get(scan_id)

    def _newest(self, wire_id: str) -> ScanAccount | None:
        name = self._names.get(wire_id)
        return None if name is None else self._find(name.scan_id)

    def _open(self, start: ScanStart) -> ScanAccount:
        if not self._flood.admit(self._clock()):
            known = next((scan for scan in self._live.values() if scan.refuses_all), None)
            if known is None:
                known = self._open_now(ScanStart(_FLOOD))
                known.refuses_all = True
            return known
        return self._open_now(start)

    def _open_now(self, start: ScanStart) -> ScanAccount:
        wire_id = start.scan_id
        known = self._names.get(wire_id)
        generation = 1 if known is None else known.generation + 1
        scan_id = wire_id if generation == 1 else f"{wire_id}-{generation}"
        while self._find(scan_id) is not None or self._is_taken(scan_id):
            generation += 1
            scan_id = f"{wire_id}-{generation}"
        return self._add(start, scan_id, generation)

    def _open_as(self, start: ScanStart, scan_id: str) -> ScanAccount:
        if self._find(scan_id) is not None:
            raise ValueError(f"scan {scan_id} is open already")
        known = self._names.get(start.scan_id)
        scan = self._add(start, scan_id, 1 if known is None else known.generation + 1)
        scan.refuses_all = scan_id == _FLOOD
        return scan

    def _add(self, start: ScanStart, scan_id: str, generation: int) -> ScanAccount:
        wire_id = start.scan_id
        self._names[wire_id] = _Name(scan_id, generation)
        self._names.move_to_end(wire_id)
        if len(self._names) > _KEPT_NAMES:
            self._names.popitem(last=False)
        scan = self._live[scan_id] = ScanAccount(
            scan_id, start.expected_frames, self._early_positions(wire_id), self._clock()
        )
        for words in self._early.take_refused(scan.opened_at):
            scan.refuse_position_message(words)
        self._runs.scan_opened(scan, self._live)
        self._announcements.scan_opened(scan)
        is_open = [name for name in self.open_scans if not self._live[name].refuses_all]
        if len(is_open) > self._max_open_scans:
            self._cut_short(self._live[is_open[0]], "crowd")
        return scan

    def _cut_short(self, scan: ScanAccount, ended_by: EndedBy) -> None:
        scan.was_cut_short = True
        self._end(scan, ended_by)

    def _end(self, scan: ScanAccount, ended_by: EndedBy) -> None:
        scan.ended_at = self._clock()
        scan.ended_by = ended_by
        self._settle(scan)

    def _settle(self, scan: ScanAccount) -> None:
        """Put a scan away once it is finished."""
        if not scan.is_finished or scan.scan_id not in self._live:
            return
        scan.shed()
        self._finished[scan.scan_id] = self._live.pop(scan.scan_id)
        if len(self._finished) > _MOST_FINISHED:
            self._finished.popitem(last=False)

    def _wait(self, scan: ScanAccount, frame: Frame) -> None:
        scan.waiting[frame.index] = Waiting(frame, self._clock(), self._count_waiting)
        self._count_waiting += 1
        self.pending_bytes += frame.counts.nbytes
        while self.pending_bytes > self._max_pending_bytes:
            oldest = min((s for s in self._live.values() if s.waiting), key=_first_number)
            index = next(iter(oldest.waiting))
            self._take_waiting(oldest, index)
            oldest.refuse("pending_overflow", index)
            self._settle(oldest)

    def _take_waiting(self, scan: ScanAccount, index: int) -> Frame:
        frame = scan.waiting.pop(index).frame
        self.pending_bytes -= frame.counts.nbytes
        return frame

    def _deadline(self, scan: ScanAccount, waiting: Waiting) -> float:
        if scan.ended_at is None:
            return waiting.since + self._max_wait_s
        return max(waiting.since, scan.ended_at) + self._position_timeout_s

    def _pair(self, scan: ScanAccount, frame: Frame, position_m: PositionM) -> list[ScanPoint]:
        if not position_m.is_place:
            scan.refuse("bad_position", frame.index)
            scan.misplaced.add(frame.index)
            return []
        far = self._far_frames(scan) if scan.far is None else scan.far
        if far is None:
            return self._hand_on(scan, [(frame, position_m)])
        points = self._hand_on(scan, far.take(frame, position_m))
        if (dropped := far.drop_oldest()) is not None:
            scan.refuse(FAR, dropped)
        return points

    def _far_frames(self, scan: ScanAccount) -> FarFrames | None:
        reach_m = self._reach_m(scan.scan_id)
        if reach_m is not None:
            scan.far, scan.first_far_at = FarFrames(reach_m), self._clock()
        return scan.far

    def _decide(self, scan: ScanAccount, far: FarFrames) -> list[ScanPoint]:
        passed, refused = far.decide()
        for index in refused:
            scan.refuse(FAR, index)
        return self._hand_on(scan, passed)

    def _hand_on(self, scan: ScanAccount, some: list[Placed]) -> list[ScanPoint]:
        for frame, _ in some:
            scan.in_flight.add(frame.index)
        return [ScanPoint(scan.scan_id, f.index, f.counts, where, f.received_ns) for f, where in some]

    def _pair_waiting(self, scan: ScanAccount, index: int) -> list[ScanPoint]:
        position_m = scan.positions.get(index)
        if position_m is None or index not in scan.waiting:
            return []
        points = self._pair(scan, self._take_waiting(scan, index), position_m)
        self._settle(scan)
        return points

    def _add_position(self, position: Position) -> list[ScanPoint]:
        scan = self._scan_of_position(position)
        if scan is None:
            self._keep_early(position)
            return []
        return self._place(scan, position)

    def _place(self, scan: ScanAccount | None, position: Position) -> list[ScanPoint]:
        """Enter a position of a scan; return the scan point of the frame that waited for it."""
        if scan is None or scan.scan_id not in self._live:
            self._ignored += 1
            return []
        known = scan.positions.get(position.index)
        if known is not None and known.is_place and position.position_m.is_place and known != position.position_m:
            scan.position_conflicts += 1
        if not scan.positions.put(position.index, position.position_m):
            self._ignored += 1
            scan.positions_beyond += 1
            return []
        return self._pair_waiting(scan, position.index)

    def _scan_of_position(self, position: Position) -> ScanAccount | None:
        if position.scan_id is not None:
            return self._newest(position.scan_id)
        for scan in reversed(self._live.values()):
            if scan.ended_at is None:
                return scan
        last = next(reversed(self._live.values()), None)
        if last is None or not last.waiting or last.has_newer_positions:
            return None
        last.has_newer_positions = last.positions.get(position.index) is not None
        return None if last.has_newer_positions else last

    def _keep_early(self, position: Position) -> None:
        self._early.keep(position, self._clock())

    def _drop_stale_positions(self, now: float) -> None:
        if self._early.drop_stale(now):
            self._runs.drop_waiting()

    def _early_positions(self, wire_id: str) -> PositionTable:
        self._drop_stale_positions(self._clock())
        return self._early.take(wire_id)


def _first_number(scan: ScanAccount) -> int:
    return next(iter(scan.waiting.values())).number
