"""Decoded messages enter the journal first, then the join: a frame counts as received once it is on the disk."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from daemon.intake.preprocess import Prepared
from daemon.intake.refusals import Refusals
from daemon.intake.registry import ScanRegistry
from daemon.intake.scan import Scan
from daemon.journal import Keeper, Packed
from daemon.metrics import Metrics
from streams.errors import CodecError
from streams.frame import Frame, Position, PositionM, PositionNews, ScanEnd, ScanPoint, ScanStart
from streams.refusal_reasons import RefusalReason

log = logging.getLogger(__name__)


@dataclass(slots=True)
class PackedFrame:
    """A frame with its pattern, and how the journal stores that."""

    frame: Frame
    packed: Packed


Entry = ScanStart | ScanEnd | Prepared | Frame | PackedFrame | CodecError | list[Position] | PositionNews


@dataclass(frozen=True, slots=True)
class SentPositions:
    """How the positions of streams are used: ``factors`` (y, x) are their scale and sign."""

    are_in_frames: bool = True
    """Whether positions in frame messages are used."""
    factors: tuple[float, float] = (1.0, 1.0)

    def of_frame(self, frame: Frame) -> Frame:
        """Return a frame with its position in metres, or without."""
        if frame.position_m is None:
            return frame
        if not self.are_in_frames:
            return replace(frame, position_m=None)
        return frame if self.factors == (1.0, 1.0) else replace(frame, position_m=self._scaled(frame.position_m))

    def in_metres(self, position: Position) -> Position:
        """Return a position in metres."""
        if self.factors == (1.0, 1.0):
            return position
        return replace(position, position_m=self._scaled(position.position_m))

    def _scaled(self, position_m: PositionM) -> PositionM:
        return PositionM(position_m.y * self.factors[0], position_m.x * self.factors[1])


class Admission:
    """Used by the intake's thread alone; scans open and end here as their messages come.

    ``on_points`` gets the frames that have found their position; it is called without the registry's lock.
    """

    def __init__(
        self,
        scans: ScanRegistry,
        positions: SentPositions,
        metrics: Metrics,
        on_points: Callable[[list[ScanPoint]], None],
    ) -> None:
        self._scans = scans
        self._join, self._keeper = scans.join, scans.keeper
        self._positions = positions
        self._metrics = metrics
        self._on_points = on_points
        self.refusals = Refusals(metrics)
        self.received = self._counted = 0
        self._last: Scan | None = None

    def guard(self, work: Callable[..., None], *arguments: object) -> None:
        """Do a part of the work; a fault is logged and counted, and the other parts go on."""
        try:
            work(*arguments)
        except Exception as fault:
            log.exception("the intake goes on after a fault")
            self.refusals.say(f"the intake goes on after a fault: {fault}")
            self._metrics.stage_failures.labels("intake").inc()

    def take(self, entries: Sequence[Entry]) -> None:
        """Enter messages in their order: first into the journal, then into the join."""
        for run in _runs(entries):
            self._keep(run)
            points: list[ScanPoint] = []
            with self._metrics.stage_seconds.labels("join").time(), self._scans.lock:
                self._last = None
                for entry in run:
                    self.guard(self._enter, entry, points)
                self.guard(self._scans.note_runs)
            self.flush()
            self.hand_on(points)

    def hand_on(self, points: list[ScanPoint]) -> None:
        """Hand on frames that have found their position."""
        if points:
            self._on_points(points)

    def flush(self) -> None:
        """Have the records that have gathered on the disk. Called without the lock, since a disk may take its time."""
        self._metrics.frames_received.inc(self.received - self._counted)
        self._counted = self.received
        if self._keeper is None:
            return
        with self._scans.lock:
            batches = self._keeper.take()
        if batches:
            with self._metrics.stage_seconds.labels("journal").time():
                self._keeper.flush(batches)

    def count(self, wire_id: str) -> Scan:
        """Count a frame message of the scan that the sender calls ``wire_id``; return that scan."""
        self.received += 1
        scan = self._last
        if scan is None or scan.wire_id != wire_id:  # between two starts, under one lock, a name means one scan
            scan = self._last = self._scans.heard(wire_id)
        return scan

    def _keep(self, run: Sequence[Entry]) -> None:
        """Write a run of messages to the journal."""
        keeper = self._keeper
        if keeper is None:
            return
        with self._scans.lock:
            scan: Scan | None = None
            for entry in run:
                if isinstance(entry, PackedFrame):
                    if scan is None or scan.wire_id != entry.frame.scan_id:
                        scan = self._scans.scan_of(entry.frame.scan_id)
                    if scan.is_open:
                        keeper.frame(scan.id, self._positions.of_frame(entry.frame), entry.packed)
                elif isinstance(entry, list):
                    keeper.positions(map(self._positions.in_metres, entry), self._scan_of_positions())
                elif isinstance(entry, CodecError) and entry.scan_id:
                    self._keep_refused(keeper, entry.scan_id, entry)
        self.flush()

    def _keep_refused(self, keeper: Keeper, wire_id: str, fault: CodecError) -> None:
        scan = self._scans.scan_of(wire_id)
        if scan.is_open:
            keeper.refused(scan.id, fault)

    def _scan_of_positions(self) -> Callable[[str | None], str | None]:
        """Return a function from a sender's name to the open scan that positions are for; without a name, the newest."""
        not_ended = self._join.open_scans

        def scan_of(wire_id: str | None) -> str | None:
            if wire_id is None:
                scan = self._scans.get(not_ended[-1]) if not_ended else None
            else:
                scan = self._scans.known(wire_id)
            return scan.id if scan is not None and scan.is_open else None

        return scan_of

    def _enter(self, entry: Entry, points: list[ScanPoint]) -> None:
        """Enter one message into the join; add the frames that now have a position to ``points``."""
        if isinstance(entry, PackedFrame):
            self._enter_frame(entry.frame, points)
        elif isinstance(entry, Frame):
            self._enter_frame(entry, points)
        elif isinstance(entry, list):
            points += self._join.add_positions(map(self._positions.in_metres, entry))
        elif isinstance(entry, PositionNews):
            points += self._news(entry)
        elif isinstance(entry, ScanStart):
            self._scans.open(entry)
        elif isinstance(entry, ScanEnd):
            self._end(entry)
        elif isinstance(entry, Prepared):
            self._scans.notes.prepared(self._scans.scan_of(entry.scan_id), entry)
        else:
            self._refused(entry)

    def _end(self, end: ScanEnd) -> None:
        scan = self._scans.known(end.scan_id) or self._scans.get(end.scan_id)
        if scan is not None:
            self._scans.end(scan, "end")

    def _enter_frame(self, frame: Frame, points: list[ScanPoint]) -> None:
        scan = self.count(frame.scan_id)
        if scan.wire_id == frame.scan_id:
            points += self._join.add_frame(self._positions.of_frame(frame))
        else:  # the scan that stands for too many
            self._join.refuse_received(scan.wire_id, frame.index, RefusalReason.SCAN_FLOOD)

    def _news(self, news: PositionNews) -> list[ScanPoint]:
        """Take the news of a source that names no scan. The join finds the scan, so the journal is written afterwards."""
        if news.fault is not None:
            self.refusals.say(news.fault)
        points = self._join.add_news(news)
        if self._keeper is not None and news.positions:
            scan = self._scans.get(self._join.source_scan or "")
            name = scan.id if scan is not None and scan.is_open else None
            self._keeper.positions(news.positions, lambda _: name)
        return points

    def _refused(self, fault: CodecError) -> None:
        self.refusals.add("frames", fault.reason, str(fault), fault.scan_id)
        if fault.scan_id is not None:
            wire_id = self.count(fault.scan_id).wire_id
            self._join.refuse_received(wire_id, fault.index, fault.reason, str(fault))


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
