"""The registry of scans: the one place where a scan opens, ends, is closed and is forgotten.

A scan is *open* while frames are awaited, *finishing* until its pictures are final, then *closed*: its record is written and
it is not played again. It ends by its end message, when all its frames are there, in silence, by a newer scan, or on an
operator's word. Its account is kept by the join; ``lock`` guards that, and the lives of the scans.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daemon.engine.engine_scan import EngineScan
from daemon.intake.scan import Scan
from daemon.intake.scan_notes import ScanNotes
from daemon.journal import Keeper, StoredStart
from daemon.messages import FitCheck, ScanFields, ScanState, verdict_fields
from daemon.optics.scan_optics import ScanOptics
from daemon.results.records import KEPT_RECORDS, RecordFiles, ScanRecord, as_public, now_text
from streams.frame import NO_GEOMETRY, ScanStart, StreamGeometry
from streams.join.account import AccountSnapshot, EndedBy, ScanAccount
from streams.join.join import Join
from streams.join.scan_diagnostics import warnings_about
from streams.refusal_reasons import RefusalReason

FINDINGS_SHOWN_S = 60.0
"""The status shows the warnings about an ended scan for this time, so that a person can read them."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RegistryOptions:
    """``optics_of`` gives the optics of a scan with this header; ``positions_m`` ``(n, 2)`` are those of a file or raster.

    ``fit_check`` is what is known of a new scan's fit.
    """

    scan_timeout_s: float
    optics_of: Callable[[StreamGeometry], ScanOptics]
    positions_m: NDArray[np.float64] | None = None
    clock: Callable[[], float] = time.monotonic
    fit_check: FitCheck = FitCheck.OFF


@dataclass(frozen=True, slots=True)
class ScanEvents:
    """Callbacks of the registry, called with its lock held: a scan has opened; it has all the frames that it will get."""

    on_started: Callable[[Scan, ScanStart], None]
    on_complete: Callable[[Scan], None]


class ScanRegistry:
    """All scans of this daemon, and the records of earlier ones; safe from any thread.

    ``join`` and ``keeper`` (of the journal, if there is one) are used under ``lock`` alone. :meth:`known`, :meth:`open` and
    all that follows up to :meth:`hand_on` are called with the lock held, but for :meth:`stop`.
    """

    def __init__(
        self,
        records: RecordFiles,
        join: Join,
        options: RegistryOptions,
        events: ScanEvents,
        keeper: Keeper | None = None,
    ) -> None:
        self.records = records
        self.lock = threading.RLock()
        self.newest: Scan | None = None  # the one that started last since the daemon started
        self.join = join
        self._options = options
        self._events = events
        self.keeper = keeper
        self.notes = ScanNotes(keeper)
        self._scans = {record.id: Scan(records, record) for record in records.read()}
        self._open: list[Scan] = []

    def get(self, scan_id: str) -> Scan | None:
        """Return a scan by its own name."""
        return self._scans.get(scan_id)

    def running(self) -> list[str]:
        """Return the names of the scans that are not at their end, oldest first."""
        return [scan.id for scan in self._all() if scan.is_running]

    def listing(self) -> list[ScanFields]:
        """Return all records, newest first; those of running scans with their account as it stands."""
        return [self.public(scan) for scan in reversed(self._all())]

    def public(self, scan: Scan) -> ScanFields:
        """Return a record as the REST interface shows it."""
        record = scan.record  # once: it may be replaced meanwhile
        return as_public(record, verdict_fields(self.verdict(scan.id)) if record.is_running else record.verdict)

    def verdict(self, scan_id: str) -> AccountSnapshot:
        """Return the account of a scan that has opened since the daemon started."""
        scan = self._scans[scan_id]
        if (verdict := scan.verdict) is not None:
            return verdict
        with self.lock:
            return scan.snapshot()

    def overtaken(self, scan_id: str) -> int:
        """Return how many frame indexes of an open scan later ones have overtaken."""
        scan = self._scans.get(scan_id)
        if scan is None:
            return 0
        with self.lock:
            return scan.overtaken if scan.account is None else scan.account.indexes.overtaken

    def light(self, scan_id: str, index: int) -> float | None:
        """Return the beam monitor's value of a frame of an open scan; None where it is not known."""
        account = self._account(scan_id)
        return None if account is None else account.positions.table.light(index)

    def optics_of(self, scan_id: str) -> ScanOptics:
        """Return the optics of a scan; before it has opened, those without a stream's header."""
        scan = self._scans.get(scan_id)
        return self._options.optics_of(NO_GEOMETRY) if scan is None or scan.optics is None else scan.optics

    def recent_findings(self) -> dict[str, list[str]]:
        """Return the findings about scans that run or ended a short while ago, by name, newest first."""
        with self.lock:
            return self.join.recent_warnings(FINDINGS_SHOWN_S)

    def mark_stitched(self, scan_id: str, indexes: Sequence[int]) -> None:
        """Enter frames as stitched (engine's thread)."""
        with self.lock:
            if (account := self._account(scan_id)) is not None:
                self.join.mark_stitched(account, indexes)

    def refuse(self, scan_id: str, index: int, reason: RefusalReason) -> None:
        """Enter a frame as refused."""
        with self.lock:
            if (account := self._account(scan_id)) is not None:
                self.join.refuse(account, index, reason)

    def _account(self, scan_id: str) -> ScanAccount | None:
        scan = self._scans.get(scan_id)
        return None if scan is None else scan.account

    # the opening of a scan

    def known(self, wire_id: str) -> Scan | None:
        """Return the newest scan that senders call ``wire_id``; None where none is known, or any more."""
        account = self.join.newest(wire_id)
        return None if account is None else self._scans.get(account.scan_id)

    def scan_of(self, wire_id: str) -> Scan:
        """Return the newest scan that senders call ``wire_id``; one is opened where none is known: its start was not heard."""
        return self.known(wire_id) or self.open(ScanStart(wire_id), was_heard=False)

    def heard(self, wire_id: str) -> Scan:
        """Return the scan of a frame message, which is now its last one."""
        scan = self.scan_of(wire_id)
        scan.last_message_s = self._options.clock()
        return scan

    def open(self, start: ScanStart, stored: StoredStart | None = None, *, was_heard: bool = True) -> Scan:
        """Return the scan that a start opens, or has opened; ``stored`` is how the journal says that it began."""
        account = self.join.start_scan(start, was_heard=was_heard, scan_id=None if stored is None else stored.scan_id)
        scan_id = account.scan_id
        scan = self._scans.get(scan_id)
        if scan is not None and scan.is_open:
            scan.last_message_s = self._options.clock()
            return scan
        opened = stored or StoredStart(scan_id, now_text(), start, was_heard)
        is_own = self.join.newest(start.scan_id) is account  # else it stands for scans that open too fast
        scan = self._enter(opened, account, start.scan_id if is_own else scan_id)
        if self._options.positions_m is not None:
            self.join.set_positions(account, self._options.positions_m)
        if self.keeper is not None and stored is None:
            self.keeper.open(opened)
        self.notes.describe(scan, start, self._options.optics_of(start.geometry))
        self._events.on_started(scan, start)
        log.info("scan %s started, %s frames expected", scan_id, start.expected_frames or "an unknown number of")
        return scan

    def _enter(self, stored: StoredStart, account: ScanAccount, wire_id: str) -> Scan:
        """Enter a new scan. From here on a fault cannot keep it open: silence ends it."""
        record = ScanRecord(stored.scan_id, started=stored.started, fit_check=self._options.fit_check)
        scan = Scan(
            self.records,
            record,
            wire_id,
            is_open=True,
            last_message_s=self._options.clock(),
            engine=EngineScan(stored.scan_id),
            account=account,
        )
        self._scans[scan.id] = self.newest = scan
        self._open.append(scan)
        for old in self._all()[: max(0, len(self._scans) - KEPT_RECORDS)]:
            if not old.is_running and old.is_written:
                del self._scans[old.id]
        return scan

    def note_runs(self) -> None:
        """Note the runs of the control system that the open scans belong to, where they have changed."""
        self.notes.runs(self._open)

    # the end of a scan

    def end(self, scan: Scan, ended_by: EndedBy, *, is_noted: bool = False) -> None:
        """End a scan: it takes the frames that are under way, and no later ones; ``is_noted``: the journal has its end."""
        account = scan.account
        if account is None:
            return
        if self.keeper is not None and scan.is_open and account.ended_at is None and not is_noted:
            self.keeper.end(scan.id, ended_by)
        self.join.end_scan(account, ended_by)

    def stop(self, scan_id: str) -> bool:
        """End a scan on an operator's word; False if it is not open."""
        with self.lock:
            scan = self._scans.get(scan_id)
            if scan is None or not scan.is_open:
                return False
            scan.was_stopped = True
            self.end(scan, "operator")
            return True

    def end_silent(self) -> None:
        """End the scans that need no end message: all their frames are there, or they have been silent for too long."""
        now = self._options.clock()
        for scan in list(self._open):
            silent_s = now - scan.last_message_s
            ended_by = None if scan.account is None else self.join.overdue(scan.account, silent_s)
            if ended_by is None and silent_s > self._options.scan_timeout_s:
                ended_by = "silence"
            if ended_by is not None:
                self.end(scan, ended_by)

    def hand_on_finished(self) -> tuple[int, list[str]]:
        """Hand on the scans that have all their frames.

        Return how many frames are pending in all, and the sender's names that mean no scan any more that awaits frames.
        """
        pending, ended = 0, []
        for scan in list(self._open):
            pending += scan.snapshot().pending
            if scan.account is not None and self.join.is_finished(scan.account):
                self.hand_on(scan)
                if self.known(scan.wire_id) is scan:
                    ended.append(scan.wire_id)
        return pending, ended

    def stop_all(self) -> None:
        """End all open scans: the daemon is stopped."""
        for scan in list(self._open):
            scan.was_stopped = True
            self.end(scan, "operator")

    def hand_on_all(self) -> None:
        """Hand on all open scans, finished or not."""
        for scan in list(self._open):
            self.hand_on(scan)

    def hand_on(self, scan: Scan) -> None:
        """Take a scan for complete: it waits for its pictures alone."""
        self._open.remove(scan)
        scan.is_open, scan.runs = False, {}
        scan.change(state=ScanState.FINISHING)
        self._events.on_complete(scan)

    def findings(self, scan: Scan) -> tuple[list[str], dict[str, object] | None]:
        """Return the warnings about a scan, one sentence each, and the data that the control system gives about its run."""
        with self.lock:
            account = scan.account
            return ([], None) if account is None else (warnings_about(account), account.positions.about)

    def finish(self, scan: Scan, *, is_stopping: bool) -> ScanState:
        """Fix the account of a scan whose pictures are final; return how it went."""
        with self.lock:
            if scan.fix_account():
                return ScanState.COMPLETE
        return ScanState.STOPPED if scan.was_stopped or is_stopping else ScanState.INCOMPLETE

    def close(self, scan: Scan, **changes: Any) -> None:
        """Enter the end of a scan into its record; the join need not keep its account any more."""
        scan.change(**changes)
        with self.lock:
            account, scan.account = scan.account, None
            if account is not None:
                self.join.release(account)

    def write_records(self) -> None:
        """Write the records that the disk did not take, until it refuses one."""
        all(scan.write_again() for scan in self._all() if not scan.is_written)

    def put_away(self, scan: Scan) -> bool:
        """Close the journal of a scan that is safe on the disk; another is played again at the next start."""
        if not scan.is_written:
            return False
        if self.keeper is not None:
            self.keeper.journal.close(scan.id)
        return True

    def _all(self) -> list[Scan]:
        return list(self._scans.copy().values())
