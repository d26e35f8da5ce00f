"""The part of the object that a scan will cover, where its positions are known before it; the page fits it from the start."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BoxM = tuple[float, float, float, float]
"""[top, left, bottom, right], m."""
PROBE_SHARE = 0.25
"""Part of a pattern's side that most probes cover on each side of a position; more is shown once it is there."""


def positions_box(positions_m: NDArray[np.float64] | None, box_m: BoxM | None) -> BoxM | None:
    """Return the box of positions: the configured one, else that of known positions ``(n, 2)``; None without both."""
    if box_m is not None or positions_m is None or not np.isfinite(positions_m).any():
        return box_m
    (top, left), (bottom, right) = np.nanmin(positions_m, axis=0), np.nanmax(positions_m, axis=0)
    return float(top), float(left), float(bottom), float(right)


def planned_box(box_m: BoxM | None, pattern_m: float | None) -> BoxM | None:
    """Return the part of the object that frames at positions in a box cover; ``pattern_m`` is the side of a pattern there, m."""
    if box_m is None or pattern_m is None:
        return None
    rim_m = PROBE_SHARE * pattern_m
    return box_m[0] - rim_m, box_m[1] - rim_m, box_m[2] + rim_m, box_m[3] + rim_m
