"""Notes about a scan in its record and in the journal: its optics, how its patterns are made, its runs."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import asdict

from daemon.intake.preprocess import Prepared
from daemon.intake.scan import Scan
from daemon.journal import NOTED_OPTICS, Keeper
from daemon.optics.scan_optics import ScanOptics
from streams.frame import ScanStart

log = logging.getLogger(__name__)


class ScanNotes:
    """Used under the registry's lock; without a journal (``keeper``) the record alone is changed."""

    def __init__(self, keeper: Keeper | None) -> None:
        self._keeper = keeper

    def describe(self, scan: Scan, start: ScanStart, optics: ScanOptics) -> None:
        """Note the optics of a scan, and the parts of its header that are not used."""
        scan.optics = optics
        notes = (*start.notes, *optics.notes)
        scan.change(pixel_size_m=optics.object_pixel_size_m, notes=notes)
        for note in notes:
            log.warning("scan %s: %s", scan.id, note)
        if self._keeper is not None:
            self._keeper.note(scan.id, optics={name: getattr(optics, name) for name in NOTED_OPTICS})

    def prepared(self, scan: Scan, prepared: Prepared) -> None:
        """Note how the patterns of a scan are made, before its first one; a resumed scan keeps its beam centre."""
        if not scan.is_running or (scan.is_prepared_by_journal and not prepared.notes):
            return  # late frames of a closed scan do not change its record
        if self._keeper is not None and scan.is_open:
            self._keeper.note(scan.id, prepared=asdict(prepared))
        self.describe_patterns(scan, prepared)

    @staticmethod
    def describe_patterns(scan: Scan, prepared: Prepared) -> None:
        """Enter into a scan's record how its patterns are made."""
        notes = tuple(dict.fromkeys((*scan.record.notes, *prepared.notes)))
        masked = {} if prepared.masked_pixels is None else {"masked_pixels": prepared.masked_pixels}
        scan.change(center_px=prepared.center_px, center_from=prepared.center_from, notes=notes, **masked)
        for note in prepared.notes:
            log.warning("scan %s: %s", scan.id, note)
        log.info("scan %s: beam at row %d, column %d (%s)", scan.id, *prepared.center_px, prepared.center_from)

    def runs(self, scans: Iterable[Scan]) -> None:
        """Write to the journal which runs of the control system open scans belong to, where that has changed."""
        if self._keeper is None:
            return
        for scan in scans:
            account = scan.account
            runs = {} if account is None or account.is_put_away else account.positions.named_runs()
            if runs != scan.runs:
                scan.runs = runs
                self._keeper.note(scan.id, runs=runs)
