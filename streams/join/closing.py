"""The rule by which a scan without an end message is closed."""

from __future__ import annotations

from streams.join.account import EndedBy, ScanAccount

__all__ = ["reason_to_close"]

_CLOSE_AFTER_S = 2.0
"""Silence after which a scan with all its frames is closed; stragglers of a busy network come within a second."""


def reason_to_close(
    scan: ScanAccount, silent_s: float, *, newest_opened_at: float, source_timeout_s: float
) -> EndedBy | None:
    """Return why a scan without an end message may be closed after ``silent_s`` without a frame; ``None`` if not yet.

    ``newest_opened_at`` is when the newest scan that has frames opened. After the end of the position source's run frames
    may still come for ``source_timeout_s``.
    """
    if scan.ended_at is not None or silent_s < _CLOSE_AFTER_S or not scan.received:
        return None
    if scan.indexes.expected and scan.indexes.missing == 0:
        return "all_there"
    if scan.opened_at < newest_opened_at:
        return "new_scan"
    return "source" if _has_source_ended(scan) and silent_s >= source_timeout_s else None


def _has_source_ended(scan: ScanAccount) -> bool:
    source, announced = scan.positions.source, scan.positions.announced
    if announced is not None and announced.has_ended:
        return True
    return source is not None and source.has_ended and source.samples >= scan.indexes.beyond * source.samples_per_frame
