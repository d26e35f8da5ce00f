"""Time in a scan: smooth functions of the frames' numbers, which describe a drifting beam.

The probe of a frame is a sum of fields times Legendre polynomials of its number, -1 to 1 over the frames so far. The first field
is the probe's mean. Where frames come beyond, the fields are found again so that the probes of the frames before stay the same,
and later frames begin with the probe of the last one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray

ORDERS = 3
"""Fields: the mean of the probe, its linear and its quadratic change. A fourth found no more in scans of 200 frames."""
POINTS = 64
"""Places at which fields are found again: many times the fields."""
RESERVE = 1.25
"""Numbers of frames over those so far: the fields are found again after a quarter more, not with each frame."""


class ScanTime:
    """The polynomials over frames number ``first`` to ``last``."""

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last = first, max(last, first + 1)

    def weights(self, indexes: Sequence[int]) -> NDArray[np.float32]:
        """Return the fields' weights ``(B, ORDERS)`` in some frames."""
        return self._weights(np.array(indexes, dtype=np.float64)).astype(np.float32)

    def covers(self, first: int, last: int) -> bool:
        """Whether frames lie in the range."""
        return self.first <= first and last <= self.last

    def wider(self, first: int, last: int) -> ScanTime:
        """Return the time of more frames."""
        low, high = min(first, self.first), max(last, self.last)
        return ScanTime(low, round(low + RESERVE * (high - low)) if high > self.last else high)

    def change_to(self, other: ScanTime) -> NDArray[np.float32]:
        """Return the matrix ``(ORDERS, ORDERS)`` from the fields of this time to those of a wider one."""
        at = np.linspace(other.first, other.last, POINTS)
        mine = self._weights(at.clip(self.first, self.last))
        found: NDArray[np.float32] = (np.linalg.pinv(other._weights(at)) @ mine).astype(np.float32)
        return found

    def _weights(self, at: NDArray[np.float64]) -> NDArray[np.float64]:
        along = 2 * (at - self.first) / (self.last - self.first) - 1
        values: NDArray[np.float64] = legendre.legvander(along, ORDERS - 1).astype(np.float64)
        return values
