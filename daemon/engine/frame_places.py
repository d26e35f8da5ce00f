"""Where the stitched frames of a scan lie, in the order in which they came."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


class FramePlaces:
    """Indexes and positions (y, x), object pixels; the engine's thread alone adds to them.

    Other threads call :meth:`path_px` and :meth:`copied`, which copy by slices: an array that exports its buffer cannot grow.
    """

    def __init__(self) -> None:
        self._indexes, self._positions_px = array("q"), array("d")

    def __len__(self) -> int:
        return len(self._indexes)

    def __iter__(self) -> Iterator[tuple[int, tuple[float, float]]]:
        """Return pairs of index and position."""
        places = zip(self._positions_px[::2], self._positions_px[1::2], strict=True)
        return zip(self._indexes, places, strict=True)

    def add(self, index: int, position_px: tuple[float, float]) -> None:
        """Take a stitched frame."""
        self._positions_px.extend(position_px)
        self._indexes.append(index)

    @property
    def indexes(self) -> NDArray[np.int64]:
        """Indexes ``(n,)``."""
        return np.array(self._indexes, dtype=np.int64)

    @property
    def positions_px(self) -> NDArray[np.float64]:
        """Positions ``(n, 2)``."""
        return np.array(self._positions_px, dtype=np.float64).reshape(-1, 2)

    def path_px(self, after: int, most: int) -> list[tuple[float, float]]:
        """Return positions (y, x) in the order of stitching, from number `after` on; safe from any thread."""
        values = self._positions_px[2 * after : 2 * (after + most)]
        return list(zip(values[::2], values[1::2], strict=False))

    def copied(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return indexes ``(n,)`` and positions ``(n, 2)``; safe from any thread."""
        indexes = self._indexes[:]
        positions = self._positions_px[: 2 * len(indexes)]
        return np.array(indexes, dtype=np.int64), np.array(positions, dtype=np.float64).reshape(-1, 2)
