"""What frames tell badly of their positions is left as it was told: what is common to all, and a little of what is linear.

Neighbours agree on each other's distance, so a frame's place against those far away is the sum of many small distances, and
scale, rotation and shear wander while single frames are found. They are kept where they make a good part of the error.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEAST_SHARE = 0.15
"""Share of the errors' squares from which the linear part is believed: by chance it has 4 in as many as there are numbers."""
FAR = 4.0
"""Robust standard deviations from which a frame does not count."""


def steadied(told_px: NDArray[np.float64], positions_px: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return positions ``(n, 2)`` without a common shift against those told, and without a linear part that is small."""
    error = positions_px - told_px
    error = error - np.median(error, axis=0)
    distance = np.hypot(*error.T)
    used = distance <= FAR * 1.48 * max(float(np.median(distance)), 1e-9)
    columns = np.column_stack([told_px - told_px.mean(axis=0), np.ones(len(told_px))])
    if np.linalg.matrix_rank(columns[used]) < columns.shape[1]:
        return np.asarray(told_px + error - error.mean(axis=0), dtype=np.float64)
    linear = columns @ np.linalg.lstsq(columns[used], error[used], rcond=None)[0]
    share = float(np.square(linear[used]).sum() / max(np.square(error[used]).sum(), 1e-12))
    error = error - (linear if share < LEAST_SHARE else error[used].mean(axis=0))
    return np.asarray(told_px + error, dtype=np.float64)
