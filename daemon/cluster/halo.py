"""The halos of the workers: frames of others whose probe reaches pixels that a worker's own frames light.

A worker needs the frames within the width of a probe of each square that it gets. Those that came before are read from the
journal; later ones are sent to it too. Places are cells, a quarter of a square wide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from daemon.cluster.parts import SentFrames
from daemon.cluster.regions import Square
from streams.frame import ScanPoint

CELLS = 4
"""Cells along the side of a square."""
LIT_SHARE = 0.9
"""Share of the probe's energy within its width."""


class Halos:
    """Which workers get which frames of a scan beside their own; ``side_px`` of a square, ``width_px`` of the probe."""

    def __init__(self, scan_id: str, side_px: int, width_px: float) -> None:
        self._scan_id = scan_id
        self._cell_px = side_px / CELLS
        self._rim = math.ceil(width_px / self._cell_px)
        self._frames: dict[Square, SentFrames] = {}
        self._readers: dict[Square, frozenset[int]] = {}
        self._reached: set[tuple[int, Square]] = set()
        self._given: dict[int, set[int]] = {}

    def frames_for(
        self,
        points: Sequence[ScanPoint],
        positions_px: NDArray[np.float64],
        owners: Sequence[int],
        squares: Sequence[Square],
    ) -> dict[int, list[ScanPoint]]:
        """Return the frames of halos by worker: of these points, and those before in cells that a worker reaches now."""
        found: dict[int, list[ScanPoint]] = {}
        for owner, square in dict.fromkeys(zip(owners, squares, strict=True)):
            if (owner, square) not in self._reached:
                self._reached.add((owner, square))
                self._reach(owner, square, found)
        cells = np.floor(positions_px / self._cell_px).astype(np.int64).tolist()
        for point, owner, (y, x) in zip(points, owners, cells, strict=True):
            self._given.setdefault(owner, set()).add(point.index)
            for reader in self._readers.get((y, x), ()):
                self._give(reader, point, found)
            self._frames.setdefault((y, x), SentFrames()).add([point])
        return found

    def forget(self, worker: int) -> None:
        """Give a worker no more frames."""
        self._readers = {cell: readers - {worker} for cell, readers in self._readers.items()}

    def _reach(self, worker: int, square: Square, found: dict[int, list[ScanPoint]]) -> None:
        top, left = (side * CELLS for side in square)
        for y in range(top - self._rim, top + CELLS + self._rim):
            for x in range(left - self._rim, left + CELLS + self._rim):
                readers = self._readers.get((y, x), frozenset())
                if worker not in readers:
                    self._readers[y, x] = readers | {worker}
                    for point in self._frames[y, x].points(self._scan_id) if (y, x) in self._frames else ():
                        self._give(worker, point, found)

    def _give(self, worker: int, point: ScanPoint, found: dict[int, list[ScanPoint]]) -> None:
        given = self._given.setdefault(worker, set())
        if point.index not in given:
            given.add(point.index)
            found.setdefault(worker, []).append(point)


def width_of(probe: NDArray[np.complex64]) -> float:
    """Return the width in pixels within which most of a probe's energy ``(modes, N, N)`` lies, centred on the patch."""
    lit = np.square(np.abs(probe)).sum(0)
    along = np.abs(np.arange(lit.shape[-1]) - lit.shape[-1] // 2)
    distance = np.maximum(along[:, None], along[None])
    energy = np.bincount(distance.ravel(), lit.ravel())
    return 2.0 * float(np.searchsorted(np.cumsum(energy), LIT_SHARE * energy.sum()) + 1)
