"""Enters found positions into a scan's record: their distance from the measured ones, and the newest sentence about them."""

from __future__ import annotations

import logging

from daemon.intake.registry import ScanRegistry

log = logging.getLogger(__name__)


def note_positions(scans: ScanRegistry, scan_id: str, error_px: float | None, sentence: str) -> None:
    """Note that a scan's frames lie at found positions, ``error_px`` from the measured ones; None: at the measured ones."""
    log.warning("scan %s: %s", scan_id, sentence)
    scan = scans.get(scan_id)
    if scan is not None:
        scan.change(position_error_px=error_px)
        scan.renote("positions ", sentence)
