"""One scan: its record, its state while frames are awaited, its final account."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import Any

from daemon.engine.engine_scan import EngineScan
from daemon.messages import IncidentFields
from daemon.optics.scan_optics import ScanOptics
from daemon.results.records import RecordFiles, ScanRecord
from streams.join.account import AccountSnapshot, ScanAccount
from streams.join.source_run import KeptRuns


@dataclass(slots=True, eq=False)
class Scan:
    """A scan from its opening until its record is dropped; the registry alone opens, ends and drops it.

    A scan of an earlier run has only its record. ``record`` may be read from any thread and is changed by :meth:`change`
    and :meth:`note`; the other fields are changed under the registry's lock.
    """

    files: RecordFiles
    record: ScanRecord
    wire_id: str = ""
    """The name that its sender uses; several scans may have it, one after another. That of ``too-many-scans`` is its own."""
    optics: ScanOptics | None = None
    is_open: bool = False
    """Whether frames are awaited: it has not been handed on to be finished."""
    last_message_s: float = 0.0
    """When its last frame message came, on the registry's clock."""
    was_stopped: bool = False
    """Whether an operator ended it."""
    is_prepared_by_journal: bool = False
    """Whether it goes on after a restart with the beam centre that it had."""
    runs: KeptRuns = field(default_factory=KeptRuns)
    """The runs of the control system that it belongs to, as the journal has them."""
    engine: EngineScan[Any] | None = None
    """The engine's part of it until its result is handed on; the engine alone uses it."""
    account: ScanAccount | None = None
    """Its account in the join until its record is written; None for a scan of an earlier run."""
    verdict: AccountSnapshot | None = None
    """Its final account; None while frames are awaited or stitched."""
    overtaken: int = 0
    """Frame indexes that later ones had overtaken when its account was fixed."""
    is_written: bool = True
    """Whether the disk took its newest record; nothing is written while it runs."""
    _changing: threading.Lock = field(default_factory=threading.Lock)

    @property
    def id(self) -> str:
        """Its own name, which no other scan has."""
        return self.record.id

    @property
    def is_running(self) -> bool:
        """Whether it is not at its end."""
        return self.record.is_running

    def snapshot(self) -> AccountSnapshot:
        """Return its account as it stands, or its final one. Raises ``KeyError`` for a scan of an earlier run."""
        verdict = self.verdict if self.account is None else self.account.snapshot()
        if verdict is None:
            raise KeyError(self.id)
        return verdict

    def fix_account(self) -> bool:
        """Take the account as final; return whether the scan is complete."""
        self.verdict = self.snapshot()
        if self.account is None:
            return self.verdict.is_complete
        self.overtaken = self.account.indexes.overtaken
        return self.verdict.is_complete and not self.account.was_cut_short

    def change(self, **changes: Any) -> ScanRecord:
        """Change the record; that of an ended scan is written to its folder."""
        with self._changing:
            return self._change(**changes)

    def note(self, sentence: str) -> None:
        """Add a sentence to the record's notes, once."""
        with self._changing:
            if sentence not in self.record.notes:
                self._change(notes=(*self.record.notes, sentence))

    def renote(self, beginning: str, sentence: str) -> None:
        """Add a sentence to the record's notes in place of those with this beginning."""
        with self._changing:
            others = [note for note in self.record.notes if not note.startswith(beginning)]
            self._change(notes=(*others, sentence))

    def enter_incident(self, incident: IncidentFields) -> None:
        """Add something that has spoilt a part of the scan, once for each kind."""
        with self._changing:
            if all(known["code"] != incident["code"] for known in self.record.incidents):
                self._change(incidents=(*self.record.incidents, incident))

    def write_again(self) -> bool:
        """Write the record if the disk did not take it; return whether it has it now."""
        with self._changing:
            if not self.is_written:
                self.is_written = self.files.write(self.record, was_written=False)
            return self.is_written

    def _change(self, **changes: Any) -> ScanRecord:
        self.record = replace(self.record, **changes)
        if not self.is_running:
            self.record = self.record.assessed()
            self.is_written = self.files.write(self.record, was_written=self.is_written)
        return self.record
