"""Enters found positions into a scan's record: how far off the told ones are, and one sentence, the newest alone."""

from __future__ import annotations

import logging

from daemon.intake.registry import ScanRegistry

log = logging.getLogger(__name__)


def note_positions(scans: ScanRegistry, scan_id: str, error_px: float | None, sentence: str) -> None:
    """Enter that a scan's frames were laid at found positions, ``error_px`` from those told; None: at those told."""
    log.warning("scan %s: %s", scan_id, sentence)
    scan = scans.get(scan_id)
    if scan is not None:
        scan.change(position_error_px=error_px)
        scan.renote("positions ", sentence)
