"""The canvas of both sums of a mosaic: one plane each, or sectors once the planes are larger than the memory for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.mosaic.canvas import TILE_PX, Box, Canvas
from ptychopinn.mosaic.memory_bound import MemoryBound
from ptychopinn.mosaic.placement import BatchLayer, Corners, PatchLayer, Places, gather, gather_boxes
from ptychopinn.mosaic.sectors import PIXEL_BYTES, Planes, Sectors

SUM_PLANES: dict[str, tuple[tuple[int, ...], torch.dtype, float]] = {
    "values": ((2,), torch.float64, 0.0),
    "weights": ((1,), torch.float64, 0.0),
}
"""The planes of both sums: shape of a pixel, type, and the value without patches."""


class SumCanvas(Canvas):
    """Both sums for patches of ``size_px``; within ``bound``, if there is one."""

    def __init__(self, size_px: int, max_side_px: int, device: torch.device, bound: MemoryBound | None) -> None:
        super().__init__(SUM_PLANES, max_side_px, device, bound)
        self._rim_px = size_px + 1
        self._sum_bound = bound
        self._sectors: Sectors | None = None
        self._laid: NDArray[np.bool_] = np.zeros((0, 0), dtype=bool)

    @property
    def is_split(self) -> bool:
        """Whether the sums lie in sectors."""
        return self._sectors is not None

    def _grow(self, origin: tuple[int, int], shape: tuple[int, int]) -> None:
        both_bytes = PIXEL_BYTES * (shape[0] * shape[1] + self.shape[0] * self.shape[1])
        if self._sum_bound is not None and self._sectors is None and both_bytes > self._sum_bound.most_bytes:
            self._split(self._sum_bound)
        laid, before = np.zeros((shape[0] // TILE_PX, shape[1] // TILE_PX), dtype=bool), self.origin_px
        y, x = ((b - o) // TILE_PX for b, o in zip(before, origin, strict=True))
        if self._laid.size:
            laid[Box(y, x, *self._laid.shape).window] = self._laid
        super()._grow(origin, shape)
        self._laid = laid

    def _split(self, bound: MemoryBound) -> None:
        """Go over to sectors."""
        self._sectors = Sectors(self._device, self._rim_px, bound)
        if self.shape != (0, 0):
            own_bytes = PIXEL_BYTES * self.shape[0] * self.shape[1]
            self._sectors.most_bytes = bound.most_bytes - own_bytes
            self._sectors.add(Box(*self.origin_px, *self.shape), self.planes)
            self._sectors.most_bytes = bound.most_bytes
        self.planes = {}

    def take_dirty(self) -> list[Box]:
        """Return rectangles that cover exactly the changed tiles, and reset the marks."""
        self._laid |= self._dirty
        return super().take_dirty()

    @property
    def laid_share(self) -> float:
        """Share of the tiles under patches, in the rectangle around them."""
        laid = self._laid | self._dirty
        sides = [np.flatnonzero(laid.any(axis=axis)) for axis in (0, 1)]
        if not laid.any():
            return 0.0
        return float(laid.sum()) / float(np.prod([side[-1] - side[0] + 1 for side in sides]))

    def lay(self, layer: PatchLayer | BatchLayer, patches: Sequence[Tensor], places: Places, sign: float) -> None:
        """Lay B patches ``(N, N, 2)`` that the canvas holds."""
        self.touch_all(places.corners, self._rim_px)
        if self._sectors is None:
            layer.lay(self.planes, patches, places, sign)
            return
        corners = places.corners + np.array(self.origin_px)
        keys = [self._sectors.key_of(y, x) for y, x in corners.tolist()]
        for key in dict.fromkeys(keys):
            mine = [number for number, one in enumerate(keys) if one == key]
            within = Places(corners[mine] - np.array(self._sectors.corner(key)), places.fractions[mine])
            layer.lay(self._sectors.planes(key), [patches[number] for number in mine], within, sign)

    def sums(self, box: Box) -> tuple[Tensor, Tensor]:
        """Return both sums of a rectangle of the canvas, ``(h, w, 2)`` and ``(h, w, 1)``; views of it where it is whole."""
        if self._sectors is None:
            return self.planes["values"][box.window], self.planes["weights"][box.window]
        found = self._sectors.read(self._unplaced(box))
        return found["values"], found["weights"]

    def gather(self, corners: Corners, size_px: int) -> tuple[Tensor, Tensor]:
        """Return both sums of squares at corners, ``(B, size, size, ...)``."""
        if self._sectors is None:
            values, weights = (gather(self.planes[name], corners, size_px) for name in ("values", "weights"))
            return values, weights
        parts = [self.sums(Box(y, x, size_px, size_px)) for y, x in corners.tolist()]
        return torch.stack([values for values, _ in parts]), torch.stack([weights for _, weights in parts])

    def gather_boxes(self, boxes: Sequence[Box]) -> tuple[Tensor, Tensor]:
        """Return both sums of rectangles, ``(P, 2)`` and ``(P, 1)``, one after another, row by row."""
        if self._sectors is None:
            values, weights = (gather_boxes(self.planes[name], boxes) for name in ("values", "weights"))
            return values, weights
        parts = [self.sums(box) for box in boxes]
        return torch.cat([part[0].flatten(0, 1) for part in parts]), torch.cat(
            [part[1].flatten(0, 1) for part in parts]
        )

    def parts(self) -> Iterator[tuple[Box, Planes]]:
        """Return rectangles of the object's frame that are not empty, and their sums, which add where they overlap."""
        if self._sectors is not None:
            yield from self._sectors.parts()
        elif self.shape != (0, 0):
            yield Box(*self.origin_px, *self.shape), self.planes

    def add(self, box: Box, sums: Planes) -> None:
        """Add sums on a rectangle of the object's frame, as far as the canvas holds it; there is nothing beyond."""
        here = Box(*self.origin_px, *self.shape)
        shared = here.shared(box)
        mine = {name: plane[shared.within(box).window] for name, plane in sums.items()}
        if self._sectors is not None:
            self._sectors.add(shared, mine)
        else:
            for name, plane in self.planes.items():
                plane[shared.within(here).window] += mine[name].to(self._device)

    def _unplaced(self, box: Box) -> Box:
        """Return the rectangle in the object's frame of one on the canvas."""
        return Box(box.y + self.origin_px[0], box.x + self.origin_px[1], box.h, box.w)
