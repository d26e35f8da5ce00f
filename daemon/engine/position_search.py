"""The search for the true positions of one scan's frames; this object lives as long as the engine works on the scan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class PlacedFrame:
    """A frame as the search takes it: amplitudes ``(N, N)``, its measured and its present position, (y, x) pixels."""

    index: int
    amplitude: torch.Tensor
    told_px: tuple[float, float]
    now_px: tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class FoundPlaces:
    """Positions ``(n, 2)`` of the frames ``indexes (n,)``, pixels, and a sentence on the error of the measured ones."""

    indexes: NDArray[np.int64]
    positions_px: NDArray[np.float64]
    sentence: str


@dataclass(frozen=True, slots=True)
class LastMove:
    """What a move is judged by: R of the refined layer before it, and the visits of each frame until then."""

    rfactor: float
    visits: int


@dataclass(slots=True, eq=False)
class PositionSearch:
    """Belongs to a scan's work; the finder's thread changes it, the engine takes what is ``found``."""

    scan_id: str
    next_frames: int | None = None
    """Frames after which positions are looked for next; None before the first time."""
    searched_frames: int = 0
    """Frames of the last search."""
    scan_frames: int = 0
    """Frames of the scan at the last search."""
    is_pending: bool = False
    are_wrong: bool = False
    """Whether a search has found that the positions are wrong."""
    told_rfactor: float = float("nan")
    """R of a quick picture of those frames at the measured positions."""
    is_last: bool = False
    """Whether the last search, of a scan that has ended, has been asked for."""
    is_over: bool = False
    """Whether no position is looked for any more."""
    found: FoundPlaces | None = None
    to_judge: LastMove | None = None
    """The last move, until it is known whether the refined layer fits better with it."""
