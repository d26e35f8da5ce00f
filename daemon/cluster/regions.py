"""The regions of the workers: squares of the object, each owned by the worker that gets the frames whose centre lies there.

A square is given away when its first frame comes, since a raster fills one part of the object after another: to an owner of a
square around it, the more of them are its own the rather, unless that worker is ahead of the one with the fewest frames. So
regions hang together, and all workers are at work from the first rows on. The cut follows the load: where many more frames wait
for a worker than for another, the square that the next frame lies in goes to that other one, with the frames that come from
then on. Sums are exact, so the picture stays the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ptychopinn.mosaic.canvas import TILE_PX

SLACK_FRAMES, SLACK_SHARE = 8, 0.5
"""A worker may be ahead of the one with the fewest frames by so many and by this share of them, and still get squares around
its own: with less, regions of a raster are cut into stripes so narrow that most frames lie in a halo."""
CUT_FRAMES, CUT_SHARE = 128, 1.0
"""The same for squares that a worker has: beyond, it gives away the one that the next frame lies in."""
BESIDE_FRAMES, BESIDE_SHARE = 4.0, 0.02
"""Frames, and share of the fewest, that a square around weighs when owners around a square are compared."""
WAITING_FRAMES = 512
"""Frames that wait for a worker when it gives squares away, if less than half of that wait for another: two full batches."""

Square = tuple[int, int]


class Regions:
    """The owners of the squares of one scan; ``side_px`` of a square is half a patch, in whole tiles."""

    def __init__(self, workers: int, patch_px: int) -> None:
        self.side_px = max(1, patch_px // 2 // TILE_PX) * TILE_PX
        self.frames = [0] * workers
        self._retired: set[int] = set()
        self._owners: dict[Square, int] = {}

    def owners(self, positions_px: NDArray[np.float64], waiting: Sequence[int] = ()) -> list[int]:
        """Return the worker of each frame at positions ``(n, 2)``; ``waiting`` are the frames that wait for each worker."""
        squares = self.squares_of(positions_px)
        return [self._owner(square, waiting) for square in squares]

    def squares_of(self, positions_px: NDArray[np.float64]) -> list[Square]:
        """Return the square of each position ``(n, 2)``."""
        return [(y, x) for y, x in np.floor(positions_px / self.side_px).astype(np.int64).tolist()]

    def retire(self, worker: int) -> None:
        """Give a worker no more frames, unless none is left."""
        if len(self._retired | {worker}) < len(self.frames):
            self._retired.add(worker)
            self._owners = {square: owner for square, owner in self._owners.items() if owner != worker}

    @property
    def _workers(self) -> list[int]:
        return [number for number in range(len(self.frames)) if number not in self._retired]

    @property
    def squares(self) -> dict[Square, int]:
        """The owner of each square that has one."""
        return dict(self._owners)

    def _owner(self, square: Square, waiting: Sequence[int]) -> int:
        owner = self._owners.get(square)
        if owner is None:
            owner = self._owners[square] = self._new_owner(square)
        elif (other := self._idler(owner, waiting)) is not None:
            owner = self._owners[square] = other
        self.frames[owner] += 1
        return owner

    def _idler(self, owner: int, waiting: Sequence[int]) -> int | None:
        """Return the worker that gets a square of one with too much to do; None where it has not."""
        idlest = self._idlest()
        if self.frames[owner] > CUT_FRAMES + (1 + CUT_SHARE) * self.frames[idlest]:
            return idlest
        if not waiting or waiting[owner] <= WAITING_FRAMES:
            return None
        least = min(self._workers, key=lambda worker: (waiting[worker], worker))
        return least if 2 * waiting[least] < waiting[owner] else None

    def _new_owner(self, square: Square) -> int:
        y, x = square
        least = self.frames[self._idlest()]
        around = Counter(
            owner for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (owner := self._owners.get((y + dy, x + dx))) is not None
        )
        most = least * (1 + SLACK_SHARE) + SLACK_FRAMES
        light = [owner for owner in around if self.frames[owner] <= most]
        weight = BESIDE_FRAMES + BESIDE_SHARE * least
        return min(light, key=lambda o: (self.frames[o] - weight * around[o], o)) if light else self._idlest()

    def _idlest(self) -> int:
        """Return the worker with the fewest frames."""
        return min(self._workers, key=lambda owner: (self.frames[owner], owner))
