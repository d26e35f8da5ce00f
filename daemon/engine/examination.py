"""The examinations of one scan; this object lives as long as the engine works on the scan."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Examination:
    """Belongs to a scan's work; the examiner alone changes it."""

    scan_id: str
    next_frames: int | None = None
    """Frames after which the scan is examined next; None before it was first asked for."""
    is_pending: bool = False
    is_running: bool = False
    """Whether its diagnosis computes now, so that the engine leaves it a part of its spare time."""
    held_since: float | None = None
    """When the last examination was asked for, monotonic, s."""
    count: int = 0
    spent_s: float = 0.0
    """Processor time of the diagnosis so far, s."""
