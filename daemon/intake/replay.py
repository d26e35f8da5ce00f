"""Scans that were not closed when the daemon ended are played again from the journal, and go on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from itertools import islice
from typing import Any, cast

import msgpack
import numpy as np
from numpy.typing import NDArray

from daemon.errors import JournalError
from daemon.intake.admission import Admission
from daemon.intake.preprocess import Prepared, Preprocess
from daemon.intake.registry import ScanRegistry
from daemon.intake.scan import Scan
from daemon.journal import Journal, Keeper, Kind, Record, StoredStart, positions_of, stored_start
from streams.codecs.base import MAX_INDEX
from streams.frame import Frame, Position, ScanPoint
from streams.join.account import EndedBy
from streams.join.source_run import KeptRuns, ResumedRun
from streams.refusal_reasons import RefusalReason

REPLAY_RECORDS = 1024
"""Records are entered in parts of this size, so that others get the lock between two."""
NO_PIXELS = np.empty((0, 0), dtype=np.uint8)
"""Counts of a frame that has to be read back from the journal."""

log = logging.getLogger(__name__)


def close_recorded(journal: Journal, scans: ScanRegistry) -> None:
    """Close the journals of scans whose record is written already; leave alone another scan's of the same name."""
    for scan_id in journal.unfinished():
        scan = scans.get(scan_id)
        if scan is None or scan.is_running:
            continue
        if scan.record.started == journal.begun(scan_id):
            journal.close(scan_id)
        else:
            folder = journal.folder / scan_id
            journal.leave_alone(
                scan_id,
                f"the journal folder {folder} holds another scan than the finished one of that name; "
                f"move it elsewhere; ptycholive refine reads it",
            )


class Replay:
    """Enters the records of the journal as the messages were entered; the intake's thread does this first."""

    def __init__(self, scans: ScanRegistry, keeper: Keeper, preprocess: Preprocess, admission: Admission) -> None:
        self._scans = scans
        self._join = scans.join
        self._keeper = keeper
        self._preprocess = preprocess
        self._admission = admission
        self.resumed_runs: list[ResumedRun] = []
        """Runs of the position source that scans of the journal go on with, as its reader needs them."""

    def play_all(self, on_part: Callable[[], None]) -> None:
        """Play every scan that was not closed; ``on_part`` is called after each part of one."""
        for scan_id in self._keeper.journal.unfinished():
            self._admission.guard(self._play, scan_id, on_part)
        with self._scans.lock:
            points = self._join.add_positions(list(self._keeper.loose()))
        self._admission.hand_on(points)

    def _play(self, scan_id: str, on_part: Callable[[], None]) -> None:
        records = self._keeper.journal.replay(scan_id)
        first = next((record for record in records if record.kind == Kind.START), None)
        if first is None:
            raise JournalError(f"the journal of scan {scan_id} does not say how it began any more")
        stored = stored_start(scan_id, first)
        with self._scans.lock:
            scan = self._scans.open(stored.start, stored, was_heard=stored.was_heard)
        self._preprocess.take([stored.start])  # what its header said holds for the frames to come
        while some := list(islice(records, REPLAY_RECORDS)):
            self._enter(scan, stored, some)
            on_part()
        with self._scans.lock:
            resumed = None if scan.account is None else self._join.resume_runs(scan.account, scan.runs)
        self.resumed_runs += [] if resumed is None else [resumed]
        log.info("scan %s goes on with %d frames of its journal", scan_id, self._scans.verdict(scan_id).received)

    def _enter(self, scan: Scan, stored: StoredStart, records: list[Record]) -> None:
        """Enter some records; one that cannot be read costs itself alone."""
        points: list[ScanPoint] = []
        with self._scans.lock:
            for record in records:
                try:
                    points += self._again(scan, stored, record)
                except (KeyError, TypeError, ValueError, msgpack.UnpackException) as fault:
                    log.error("scan %s: a %s of its journal is passed over: %s", scan.id, record.kind.name, fault)
        self._admission.hand_on(points)

    def _again(self, scan: Scan, stored: StoredStart, record: Record) -> list[ScanPoint]:
        """Enter a record as its message was entered."""
        wire_id = stored.start.scan_id
        if record.kind == Kind.FRAME:
            if not 0 <= record.index <= MAX_INDEX:
                raise ValueError(f"its index is {record.index}")
            self._admission.count(wire_id)
            return self._join.add_frame(Frame(wire_id, record.index, NO_PIXELS, time.monotonic_ns(), record.position_m))
        if record.kind == Kind.POSITIONS:
            return self._join.add_positions(Position(wire_id, i, where) for i, where in positions_of(record.payload))
        content = record.plain()
        if record.kind == Kind.REFUSED:
            self._admission.count(wire_id)
            words, reason = str(content.get("words", "")), RefusalReason.of_record(content.get("reason"))
            self._join.refuse_received(wire_id, content.get("index"), reason, words)
        elif record.kind == Kind.END:
            ended_by: EndedBy = content.get("ended_by", "end")
            scan.was_stopped = scan.was_stopped or ended_by == "operator"
            self._scans.end(scan, ended_by, is_noted=True)
        elif record.kind == Kind.NOTE and "runs" in content:
            scan.runs = cast(KeptRuns, dict(content["runs"]))
        elif record.kind == Kind.NOTE and "prepared" in content:
            self._prepare(scan, stored, content["prepared"])
        return []

    def _prepare(self, scan: Scan, stored: StoredStart, known: dict[str, Any]) -> None:
        """Go on with the beam centre that a scan had."""
        prepared = Prepared(
            known["scan_id"],
            tuple(known["center_px"]),
            known["center_from"],
            tuple(known["notes"]),
            known.get("masked_pixels"),  # older journals have none
        )
        self._preprocess.resume(stored.start, prepared.center_px, prepared.center_from)
        self._scans.notes.describe_patterns(scan, prepared)
        scan.is_prepared_by_journal = True


def counts_of(
    scans: ScanRegistry, journal: Journal, side_px: Callable[[], int], scan_id: str, index: int
) -> NDArray[Any] | None:
    """Return the counts ``(N, N)`` of a frame in the journal; None where they are missing or have another side than the probe."""
    counts, side = journal.read(scan_id, index), side_px()
    if counts is None or counts.shape == (side, side):
        return counts
    found = " x ".join(map(str, counts.shape))
    scan = scans.get(scan_id)
    if scan is not None:
        scan.note(
            f"its journal has frames of {found} px but [detector] size_px is {side}: they are refused; "
            f"ptycholive refine reads the journal"
        )
    return None
