"""The ledger: what has been decoded enters the journal, then the join; scans open, end, and are played again.

It is fed by the intake's thread, in turns; ``lock`` guards the join, so that others may ask and enter what became of
frames. What counts as received is on the disk. Scans end by their end message, when all their frames are there, in
silence, or by an operator's word; one that is finished is handed on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from daemon.errors import JournalError
from daemon.intake.preprocess import Prepared, Preprocess
from daemon.intake.refusals import Refusals
from daemon.journal import Keeper, Kind, Packed, Record, StoredStart, positions_of, stored_start
from daemon.metrics import Metrics
from daemon.results.records import now_text
from streams.codecs.base import MAX_INDEX
from streams.errors import CodecError
from streams.frame import Frame, Position, PositionM, PositionNews, ScanEnd, ScanPoint, ScanStart
from streams.join.account import EndedBy
from streams.join.join import Join, Verdict
from streams.refusal_reasons import RefusalReason

REPLAY_RECORDS = 1024
FINDINGS_SHOWN_S = 60.0
NO_PIXELS = np.empty((0, 0), dtype=np.uint8)
"""Counts of a frame that has to be read back from the journal."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LedgerOptions:
    """Timeouts and positions.

    ``positions_m`` ``(n, 2)`` is for a file or raster source; ``position_factors`` (y, x) are scale and sign of what
    streams send.
    """

    scan_timeout_s: float
    positions_m: NDArray[np.float64] | None = None
    use_frame_positions: bool = True
    position_factors: tuple[float, float] = (1.0, 1.0)


@dataclass(frozen=True, slots=True)
class LedgerEvents:
    """Whom the ledger tells; called with its lock held, but for ``on_points``."""

    on_points: Callable[[list[ScanPoint]], None]
    on_started: Callable[[StoredStart], None]
    on_complete: Callable[[str], None]
    on_prepared: Callable[[str, Prepared], None] = lambda _scan_id, _prepared: None


@dataclass(frozen=True, slots=True)
class Kept:
    """A frame with its pattern, and how the journal stores that."""

    frame: Frame
    packed: Packed


Entry = ScanStart | ScanEnd | Prepared | Frame | Kept | CodecError | list[Position] | PositionNews


class Ledger:
    """Owns join and journal of the scans that run."""

    def __init__(
        self,
        join: Join,
        preprocess: Preprocess,
        options: LedgerOptions,
        metrics: Metrics,
        events: LedgerEvents,
        keeper: Keeper | None = None,
    ) -> None:
        self._join = join
        self._preprocess = preprocess
        self._options = options
        self._metrics = metrics
        self._events = events
        self._keeper = keeper
        self._last_message: dict[str, float] = {}
        self._stopped: set[str] = set()
        self._resumed: set[str] = set()
        self._kept_runs: dict[str, dict[str, Any]] = {}
        self.resumed_runs: list[dict[str, Any]] = []
        """Runs of the position source that scans of the journal go on with, as its reader needs them."""
        self.refusals = Refusals(metrics)
        self.lock = threading.RLock()
        self.received = 0
        self.beat = time.monotonic()

    @property
    def has_journal(self) -> bool:
        """Whether frames are kept on disk."""
        return self._keeper is not None

    @property
    def last_fault(self) -> str | None:
        """What was wrong with the latest message that was refused, while that is news."""
        return self.refusals.last

    def refuse_position_message(self, words: str) -> None:
        """Enter a message of the position stream as refused."""
        self.refusals.add("positions", RefusalReason.POSITION_MESSAGE, words)
        with self.lock:
            self._join.refuse_position_message(words)

    def findings(self, scan_id: str) -> list[str]:
        """Return what was noticed about a scan, one sentence each."""
        with self.lock:
            return self._join.findings(scan_id)

    def recent_findings(self) -> dict[str, list[str]]:
        """Return the findings about scans that run or ended a short while ago, by name, newest first."""
        with self.lock:
            return self._join.recent_findings(FINDINGS_SHOWN_S)

    def about(self, scan_id: str) -> dict[str, Any] | None:
        """Return what the control system says of a scan's run."""
        with self.lock:
            return self._join.about(scan_id)

    def announce(self, news: PositionNews) -> None:
        """Enter what the control system says of its runs."""
        with self.lock:
            self._join.announce(news)

    def stop_scan(self, scan_id: str) -> bool:
        """Close a scan on an operator's word; False if it is not open."""
        with self.lock:
            if scan_id not in self._last_message:
                return False
            self._stopped.add(scan_id)
            self._end(scan_id, "operator")
            return True

    def take_stopped(self, scan_id: str) -> bool:
        """Whether an operator closed the scan; forgets it."""
        with self.lock:
            was_stopped = scan_id in self._stopped
            self._stopped.discard(scan_id)
            return was_stopped

    def verdict(self, scan_id: str) -> Verdict:
        """Return the account of a scan."""
        with self.lock:
            return self._join.account(scan_id)

    def release(self, scan_id: str) -> None:
        """Say that a closed scan's account is in its record."""
        with self.lock:
            self._join.release(scan_id)

    def mark_stitched(self, scan_id: str, indexes: Sequence[int]) -> None:
        """Enter frames as stitched (engine thread)."""
        with self.lock:
            self._join.mark_stitched(scan_id, indexes)
        self._metrics.frames_stitched.inc(len(indexes))

    def refuse(self, scan_id: str, index: int | None, reason: RefusalReason) -> None:
        """Enter a frame as refused."""
        with self.lock:
            self._join.refuse(scan_id, index, reason)
        self.refusals.add("frames", reason)

    def guard(self, work: Callable[..., None], *arguments: object) -> None:
        """Do a part of the work; what fails costs itself alone, is said and counted."""
        try:
            work(*arguments)
        except Exception as fault:
            log.exception("the intake goes on after a fault")
            self.refusals.say(f"the intake goes on after a fault: {fault}")
            self._metrics.stage_failures.labels("intake").inc()

    def take(self, entries: Sequence[Entry]) -> None:
        """Enter what came, in its order: first into the journal, then into the join."""
        for run in _runs(entries):
            self._keep(run)
            points: list[ScanPoint] = []
            with self._metrics.stage_seconds.labels("join").time(), self.lock:
                for entry in run:
                    self.guard(self._enter, entry, points)
                self.guard(self._keep_runs)
            self._flush()
            if points:
                self._events.on_points(points)

    def end_all(self) -> None:
        """End and hand on what is open: the daemon is stopped."""
        with self.lock:
            for scan_id in list(self._last_message):
                self._stopped.add(scan_id)
                self._end(scan_id, "operator")
            points = self._join.poll()
        if points:
            self._events.on_points(points)
        with self.lock:
            for scan_id in list(self._last_message):
                self._hand_on(scan_id)
        self._flush()

    def _keep(self, run: Sequence[Entry]) -> None:
        """Write what a run says to the journal, so that it is there before it counts."""
        if self._keeper is None:
            return
        with self.lock:
            for entry in run:
                if isinstance(entry, Kept):
                    if scan_id := self._running(entry.frame.scan_id):
                        self._keeper.frame(scan_id, self._with_position(entry.frame), entry.packed)
                elif isinstance(entry, list):
                    self._keeper.positions([self._in_metres(p) for p in entry], self._scan_of_positions())
                elif isinstance(entry, CodecError) and entry.scan_id and (scan_id := self._running(entry.scan_id)):
                    self._keeper.refused(scan_id, entry)
        self._flush()

    def _keep_runs(self) -> None:
        """Write to the journal which runs of the control system the scans belong to, where that has changed."""
        if self._keeper is None:
            return
        for scan_id in self._last_message:
            runs = self._join.runs_of(scan_id)
            if runs != self._kept_runs.get(scan_id, {}):
                self._kept_runs[scan_id] = runs
                self._keeper.note(scan_id, runs=runs)

    def _running(self, wire_id: str) -> str | None:
        """Return the running scan that a frame is for, opening it if it has no start; None if it is over."""
        scan_id = self._join.current_id(wire_id) or self._open(ScanStart(wire_id), was_heard=False)
        return scan_id if scan_id in self._last_message else None

    def _scan_of_positions(self) -> Callable[[str | None], str | None]:
        is_open = self._join.open_scans

        def scan_of(wire_id: str | None) -> str | None:
            scan_id = (is_open[-1] if is_open else None) if wire_id is None else self._join.current_id(wire_id)
            return scan_id if scan_id in self._last_message else None

        return scan_of

    def _flush(self) -> None:
        """Have the records that have gathered on the disk. Called without the lock, since a disk may take its time."""
        if self._keeper is None:
            return
        with self.lock:
            batches = self._keeper.take()
        if batches:
            with self._metrics.stage_seconds.labels("journal").time():
                self._keeper.flush(batches)

    def _enter(self, entry: Entry, points: list[ScanPoint]) -> None:
        """Enter one thing into the join; add what is complete with it to ``points``."""
        if isinstance(entry, Kept | Frame):
            frame = entry.frame if isinstance(entry, Kept) else entry
            self._count(frame.scan_id)
            points += self._join.add_frame(self._with_position(frame))
        elif isinstance(entry, list):
            points += self._join.add_positions(self._in_metres(p) for p in entry)
        elif isinstance(entry, PositionNews):
            points += self._news(entry)
        elif isinstance(entry, ScanStart):
            self._open(entry)
        elif isinstance(entry, ScanEnd):
            self._end(self._join.current_id(entry.scan_id) or entry.scan_id, "end")
        elif isinstance(entry, Prepared):
            self._prepared(entry)
        else:
            self._refused(entry)

    def _news(self, news: PositionNews) -> list[ScanPoint]:
        """Take what a source without names says. Only the join knows for which scan, so it is written afterwards."""
        if news.fault is not None:
            self.refusals.say(news.fault)
        points = self._join.add_news(news)
        if self._keeper is not None and news.positions:
            scan_id = self._join.source_scan
            self._keeper.positions(news.positions, lambda _: scan_id if scan_id in self._last_message else None)
        return points

    def _refused(self, fault: CodecError) -> None:
        self.refusals.add("frames", fault.reason, str(fault), fault.scan_id)
        if fault.scan_id is not None:
            self._count(fault.scan_id)
            self._join.refuse(fault.scan_id, fault.index, fault.reason, received=True, words=str(fault))

    def _prepared(self, prepared: Prepared) -> None:
        """Say how the patterns of a scan are made, but for one that goes on as it began."""
        scan_id = self._join.current_id(prepared.scan_id) or self._open(ScanStart(prepared.scan_id), was_heard=False)
        if scan_id in self._resumed and not prepared.notes:
            return
        if self._keeper is not None and scan_id in self._last_message:
            self._keeper.note(scan_id, prepared=asdict(prepared))
        self._events.on_prepared(scan_id, prepared)

    def _end(self, scan_id: str, ended_by: EndedBy) -> None:
        """End a scan by its own name."""
        if self._keeper is not None and scan_id in self._last_message and not self._join.is_closed(scan_id):
            self._keeper.end(scan_id, ended_by)
        self._join.end_scan(scan_id, exactly=True, ended_by=ended_by)

    def _with_position(self, frame: Frame) -> Frame:
        if frame.position_m is None:
            return frame
        if not self._options.use_frame_positions:
            return replace(frame, position_m=None)
        if self._options.position_factors == (1.0, 1.0):
            return frame
        return replace(frame, position_m=self._scaled(frame.position_m))

    def _in_metres(self, position: Position) -> Position:
        if self._options.position_factors == (1.0, 1.0):
            return position
        return replace(position, position_m=self._scaled(position.position_m))

    def _scaled(self, position_m: PositionM) -> PositionM:
        factor_y, factor_x = self._options.position_factors
        return PositionM(position_m.y * factor_y, position_m.x * factor_x)

    def _count(self, wire_id: str) -> None:
        """Count a frame message of the scan that the sender calls ``wire_id``; open the scan if it has no start."""
        self.received += 1
        self._metrics.frames_received.inc()
        scan_id = self._join.current_id(wire_id)
        if scan_id is None:
            scan_id = self._open(ScanStart(wire_id), was_heard=False)
        if scan_id in self._last_message:
            self._last_message[scan_id] = time.monotonic()

    def _open(self, start: ScanStart, again: StoredStart | None = None, *, was_heard: bool = True) -> str:
        """Open a scan, or find that it is open; ``again`` is how the journal says that it began, with its own name."""
        scan_id = self._join.start_scan(start, was_heard=was_heard, scan_id=None if again is None else again.scan_id)
        is_new = scan_id not in self._last_message
        self._last_message[scan_id] = time.monotonic()  # first, so that it ends in silence whatever fails below
        if is_new:
            if self._options.positions_m is not None:
                self._join.set_positions(scan_id, self._options.positions_m)
            stored = again or StoredStart(scan_id, now_text(), start, was_heard)
            if self._keeper is not None and again is None:
                self._keeper.open(stored)
            self._events.on_started(stored)
        return scan_id

    def tick(self) -> None:
        """Give up what waited too long, close silent scans, hand on finished ones."""
        now = time.monotonic()
        with self.lock:
            pending = 0
            for wire_id in self._preprocess.waiting_scans:
                scan_id = self._join.current_id(wire_id) or self._open(ScanStart(wire_id), was_heard=False)
                if scan_id in self._last_message:
                    self._last_message[scan_id] = now
            for scan_id, last in list(self._last_message.items()):
                ended_by = self._join.overdue(scan_id, now - last)
                if ended_by is None and now - last > self._options.scan_timeout_s:
                    ended_by = "silence"
                if ended_by is not None:
                    self._end(scan_id, ended_by)
            points = self._join.poll()
            self._keep_runs()
        if points:
            self._events.on_points(points)
        with self.lock:
            for scan_id in list(self._last_message):
                pending += self._join.account(scan_id).pending
                if self._join.is_finished(scan_id):
                    self._hand_on(scan_id)
            self._metrics.scan_frames_pending.set(pending)
        self._flush()

    def _hand_on(self, scan_id: str) -> None:
        del self._last_message[scan_id]
        self._kept_runs.pop(scan_id, None)
        self._resumed.discard(scan_id)
        self._events.on_complete(scan_id)

    def replay_all(self) -> None:
        """Play again from the journal every scan that was not closed, then go on with it."""
        if self._keeper is None:
            return
        for scan_id in self._keeper.journal.unfinished():
            self.guard(self._replay, scan_id, self._keeper)
        with self.lock:
            points = self._join.add_positions(list(self._keeper.loose()))
        if points:
            self._events.on_points(points)

    def _replay(self, scan_id: str, keeper: Keeper) -> None:
        records = keeper.journal.replay(scan_id)
        first = next((record for record in records if record.kind == Kind.START), None)
        if first is None:
            raise JournalError(f"the journal of scan {scan_id} does not say how it began any more")
        stored = stored_start(scan_id, first)
        with self.lock:
            self._open(stored.start, stored, was_heard=stored.was_heard)
        self._preprocess.take([stored.start])  # what its header said holds for the frames to come
        while some := list(islice(records, REPLAY_RECORDS)):
            points: list[ScanPoint] = []
            with self.lock:
                for record in some:
                    try:
                        points += self._again(stored, record)
                    except (KeyError, TypeError, ValueError, msgpack.UnpackException) as fault:
                        log.error("scan %s: a %s of its journal is passed over: %s", scan_id, record.kind.name, fault)
            if points:
                self._events.on_points(points)
            self.beat = time.monotonic()
        with self.lock:
            resumed = self._join.resume_runs(scan_id, self._kept_runs.get(scan_id, {}))
        self.resumed_runs += [] if resumed is None else [resumed]
        log.info("scan %s goes on with %d frames of its journal", scan_id, self.verdict(scan_id).received)

    def _again(self, stored: StoredStart, record: Record) -> list[ScanPoint]:
        """Enter a record as what it was made of was entered."""
        wire_id = stored.start.scan_id
        if record.kind == Kind.FRAME:
            if not 0 <= record.index <= MAX_INDEX:
                raise ValueError(f"its index is {record.index}")
            self._count(wire_id)
            return self._join.add_frame(Frame(wire_id, record.index, NO_PIXELS, time.monotonic_ns(), record.position_m))
        if record.kind == Kind.POSITIONS:
            return self._join.add_positions(Position(wire_id, i, where) for i, where in positions_of(record.payload))
        content = record.plain()
        if record.kind == Kind.REFUSED:
            self._count(wire_id)
            words = str(content.get("words", ""))
            self._join.refuse(
                wire_id,
                content.get("index"),
                RefusalReason.of_record(content.get("reason")),
                received=True,
                words=words,
            )
        elif record.kind == Kind.END:
            ended_by: EndedBy = content.get("ended_by", "end")
            if ended_by == "operator":
                self._stopped.add(stored.scan_id)
            self._join.end_scan(stored.scan_id, exactly=True, ended_by=ended_by)
        elif record.kind == Kind.NOTE and "runs" in content:
            self._kept_runs[stored.scan_id] = dict(content["runs"])
        elif record.kind == Kind.NOTE and "prepared" in content:
            known = content["prepared"]
            prepared = Prepared(
                known["scan_id"],
                tuple(known["center_px"]),
                known["center_from"],
                tuple(known["notes"]),
                known.get("masked_pixels"),  # older journals have none
            )
            self._preprocess.resume(stored.start, prepared.center_px, prepared.center_from)
            self._events.on_prepared(stored.scan_id, prepared)
            self._resumed.add(stored.scan_id)
        return []


def _runs(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Yield entries in their order, each start and end of a scan by itself."""
    run: list[Entry] = []
    for entry in entries:
        if isinstance(entry, ScanStart | ScanEnd | Prepared):
            if run:
                yield run
            yield [entry]
            run = []
        else:
            run.append(entry)
    if run:
        yield run
