"""The regions of the workers: squares of the object, each owned by the worker that gets the frames whose centre lies there.

A square is given away when its first frame comes, since a raster's rows fill one part of the object after another: to the
owner of a square beside it, unless that worker is ahead of another by some frames. So regions hang
together, and all workers are at work from the first rows on. The region of a worker that gets far ahead of another is cut: a
square of it goes to that other one, with the frames that come from then on. Sums are exact, so the picture stays the same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ptychopinn.mosaic.canvas import TILE_PX

SLACK_FRAMES = 16
"""Frames by which a worker may be ahead of another and still get the square beside its region: half of an engine's batch."""
CUT_FRAMES = 48
"""Frames by which a worker is ahead of another when it gives away the square that the next frame lies in."""

Square = tuple[int, int]


class Regions:
    """The owners of the squares of one scan; ``side_px`` of a square is half a patch, in whole tiles."""

    def __init__(self, workers: int, patch_px: int) -> None:
        self.side_px = max(1, patch_px // 2 // TILE_PX) * TILE_PX
        self.frames = [0] * workers
        self._retired: set[int] = set()
        self._owners: dict[Square, int] = {}

    def owners(self, positions_px: NDArray[np.float64]) -> list[int]:
        """Return the worker of each frame at positions ``(n, 2)``."""
        squares = np.floor(positions_px / self.side_px).astype(np.int64).tolist()
        return [self._owner((y, x)) for y, x in squares]

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

    def _owner(self, square: Square) -> int:
        owner = self._owners.get(square)
        if owner is None:
            owner = self._owners[square] = self._new_owner(square)
        elif self.frames[owner] > self.frames[idlest := self._idlest()] + CUT_FRAMES:
            owner = self._owners[square] = idlest
        self.frames[owner] += 1
        return owner

    def _new_owner(self, square: Square) -> int:
        y, x = square
        least = self.frames[self._idlest()]
        around = [(y + dy, x + dx) for dy in (0, -1, 1) for dx in (0, -1, 1)]
        beside = {owner for place in around if (owner := self._owners.get(place)) is not None}
        light = [owner for owner in beside if self.frames[owner] <= least + SLACK_FRAMES]
        return min(light, key=lambda owner: (self.frames[owner], owner)) if light else self._idlest()

    def _idlest(self) -> int:
        """Return the worker with the fewest frames."""
        return min(self._workers, key=lambda owner: (self.frames[owner], owner))
