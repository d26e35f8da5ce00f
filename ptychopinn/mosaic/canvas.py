"""A canvas that grows in whole tiles in any direction and records which tiles changed.

``origin_px`` is the position of pixel (0, 0) in the object's frame. Growth keeps the position of every pixel; the canvas grows
by an extra quarter of its side, so that the cost per frame is bounded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.mosaic.memory_bound import MemoryBound, mapped_zeros

TILE_PX = 32
"""Side of a tile, px: canvases grow, and viewers are updated, in whole tiles."""


class Box(NamedTuple):
    """A rectangle of canvas pixels: corner ``y, x`` and size ``h, w``."""

    y: int
    x: int
    h: int
    w: int

    @classmethod
    def around(cls, position_px: Sequence[float], side: int) -> Box:
        """Return the box of a square patch at a position, rounded to whole pixels."""
        top, left = (round(float(p)) - side // 2 for p in position_px)
        return cls(top, left, side, side)

    def shared(self, other: Box) -> Box:
        """Return the rectangle that two have in common; its sides are 0 where they have none."""
        y, x = max(self.y, other.y), max(self.x, other.x)
        h, w = min(self.y + self.h, other.y + other.h) - y, min(self.x + self.w, other.x + other.w) - x
        return Box(y, x, h, w) if h > 0 and w > 0 else Box(self.y, self.x, 0, 0)

    def within(self, other: Box) -> Box:
        """Return the rectangle as seen from the corner of another."""
        return Box(self.y - other.y, self.x - other.x, self.h, self.w)

    @property
    def window(self) -> tuple[slice, slice]:
        """The rectangle as slices."""
        return slice(self.y, self.y + self.h), slice(self.x, self.x + self.w)


class Canvas:
    """Tensors ``planes[name]`` ``(H, W, ...)`` on one device with common size, origin and changed tiles.

    Beyond ``bound``, planes in a CPU's memory lie in a mapped file.
    """

    def __init__(
        self,
        planes: Mapping[str, tuple[tuple[int, ...], torch.dtype, float]],
        max_side_px: int,
        device: torch.device,
        bound: MemoryBound | None = None,
    ) -> None:
        self.folder = None if bound is None else bound.folder
        self._bound = bound if device.type == "cpu" else None
        self._pixel_bytes = sum(math.prod(tail) * dtype.itemsize for tail, dtype, _ in planes.values())
        self._kinds = planes
        self._max_side_px = max_side_px
        self._device = device
        self.origin_px = (0, 0)
        self.shape = (0, 0)
        self.planes: dict[str, Tensor] = {name: self._new(name, (0, 0)) for name in planes}
        self._dirty: NDArray[np.bool_] = np.zeros((0, 0), dtype=bool)

    def _new(self, name: str, shape: tuple[int, int]) -> Tensor:
        tail, dtype, fill = self._kinds[name]
        if self._bound is not None and self._pixel_bytes * math.prod(shape) > self._bound.most_bytes:
            kind = torch.empty((), dtype=dtype).numpy().dtype.type
            return torch.from_numpy(mapped_zeros((*shape, *tail), kind, self._bound.folder)).fill_(fill)
        return torch.full((*shape, *tail), fill, dtype=dtype, device=self._device)

    def reserve(self, first_px: tuple[float, float], last_px: tuple[float, float], size_px: int) -> bool:
        """Grow the canvas for patches at positions from the first to the last corner; False if it would be too large."""
        half = size_px // 2
        top, left = (math.floor(side) - half for side in first_px)
        bottom, right = (math.floor(side) + half + 1 for side in last_px)
        return self.ensure(top, left, bottom, right)

    def ensure(self, top: int, left: int, bottom: int, right: int) -> bool:
        """Grow to cover rows ``top:bottom``, columns ``left:right`` of the object's frame; False if that is too large."""
        empty = self.shape == (0, 0)
        begin = [top, left] if empty else list(self.origin_px)
        end = [bottom, right] if empty else [o + s for o, s in zip(self.origin_px, self.shape, strict=True)]
        asked = ((top, bottom), (left, right))
        if not empty and all(b <= lo and hi <= e for b, e, (lo, hi) in zip(begin, end, asked, strict=True)):
            return True
        for axis, (low, high) in enumerate(asked):
            if max(high, end[axis]) - min(low, begin[axis]) > self._max_side_px:
                return False
            slack = 0 if empty else (end[axis] - begin[axis]) // 4
            if low < begin[axis]:
                begin[axis] = low - slack
            if high > end[axis]:
                end[axis] = high + slack
        begin = [b // TILE_PX * TILE_PX for b in begin]
        end = [-(-e // TILE_PX) * TILE_PX for e in end]
        self._grow((begin[0], begin[1]), (end[0] - begin[0], end[1] - begin[1]))
        return True

    def _grow(self, origin: tuple[int, int], shape: tuple[int, int]) -> None:
        old = Box(self.origin_px[0] - origin[0], self.origin_px[1] - origin[1], *self.shape)
        dirty = np.zeros((shape[0] // TILE_PX, shape[1] // TILE_PX), dtype=bool)
        if old.h:
            tiles = Box(*(v // TILE_PX for v in old))
            dirty[tiles.window] = self._dirty
        for name, plane in self.planes.items():
            grown = self._new(name, shape)
            if old.h:
                grown[old.window] = plane
            self.planes[name] = grown
        self._dirty, self.origin_px, self.shape = dirty, origin, shape

    def place(self, box: Box) -> Box:
        """Return the box on the canvas of a rectangle in the object's frame."""
        y, x = self.origin_px
        return Box(box.y - y, box.x - x, box.h, box.w)

    def touch(self, y: int, x: int, h: int, w: int) -> None:
        """Mark the tiles under a rectangle of the canvas as changed."""
        self._dirty[y // TILE_PX : (y + h - 1) // TILE_PX + 1, x // TILE_PX : (x + w - 1) // TILE_PX + 1] = True

    def touch_all(self, corners: NDArray[np.int64], side_px: int) -> None:
        """Mark the tiles under equal squares at corners ``(B, 2)`` of the canvas as changed."""
        first, last = corners // TILE_PX, (corners + (side_px - 1)) // TILE_PX + 1
        for top, left, bottom, right in set(map(tuple, np.hstack((first, last)).tolist())):
            self._dirty[top:bottom, left:right] = True

    def holds(self, corners: NDArray[np.int64], side_px: int) -> bool:
        """Whether equal squares at corners ``(B, 2)`` of the object's frame lie on the canvas as it is."""
        low, high = corners.min(axis=0) - self.origin_px, corners.max(axis=0) - self.origin_px + side_px
        return bool((low >= 0).all() and (high <= self.shape).all())

    def take_dirty(self) -> list[Box]:
        """Return rectangles that cover exactly the changed tiles, and reset the marks."""
        boxes: list[Box] = []
        open_runs: dict[tuple[int, int], Box] = {}
        for row in range(self._dirty.shape[0]):
            edges = np.flatnonzero(np.diff(np.concatenate(([0], self._dirty[row].astype(np.int8), [0]))))
            runs: dict[tuple[int, int], Box] = {}
            for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
                above = open_runs.pop((begin, end), None)
                runs[begin, end] = (
                    Box(above.y, above.x, above.h + TILE_PX, above.w)
                    if above
                    else Box(row * TILE_PX, begin * TILE_PX, TILE_PX, (end - begin) * TILE_PX)
                )
            boxes += open_runs.values()
            open_runs = runs
        boxes += open_runs.values()
        self._dirty[:] = False
        return boxes
