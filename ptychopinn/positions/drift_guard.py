"""Keeps the parts of the positions that frames cannot determine: the common shift, and the part linear in the position.

The search leaves both; :mod:`ptychopinn.positions.descent` moves the linear part. Neighbours agree on each other's distance
alone, so scale, rotation and shear are told by none of them but by the sum of all;
and frames that lie closer together fit better after a few passes, whether or not they do lie so. Left free, the linear part
wanders while single frames are found: on the measured spiral to a rotation of 0.6 degrees.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FAR = 4.0
"""Robust standard deviations from which a frame does not count."""


def steadied(told_px: NDArray[np.float64], positions_px: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return positions ``(n, 2)`` without a common shift against those told, and without a linear part."""
    error = positions_px - told_px
    error = error - np.median(error, axis=0)
    distance = np.hypot(*error.T)
    used = distance <= FAR * 1.48 * max(float(np.median(distance)), 1e-9)
    columns = np.column_stack([told_px - told_px.mean(axis=0), np.ones(len(told_px))])
    if np.linalg.matrix_rank(columns[used]) < columns.shape[1]:
        return np.asarray(told_px + error - error.mean(axis=0), dtype=np.float64)
    linear = columns @ np.linalg.lstsq(columns[used], error[used], rcond=None)[0]
    return np.asarray(told_px + error - linear, dtype=np.float64)
