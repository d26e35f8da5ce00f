"""One mosaic of several: each part sends its sums tile by tile, and reading the mosaic adds them.

Sums are exact (:mod:`ptychopinn.mosaic.mosaic`), so the merged mosaic is to the bit the one of all frames together. A tile
replaces the one before of the same part; therefore telling it twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.mosaic.canvas import Box, Canvas
from ptychopinn.mosaic.mosaic import VALUE_STEP, Mosaic, means
from ptychopinn.mosaic.sum_canvas import SUM_PLANES

PlaneKinds = dict[str, tuple[tuple[int, ...], torch.dtype, float]]
"""Planes of a canvas: shape of a pixel, type, and the value without patches."""

HOST = torch.device("cpu")
UNBOUNDED_PX = 2**31
"""Side of the canvas of a part, px: the merged canvas bounds it."""


@dataclass(frozen=True, slots=True, eq=False)
class SumTile:
    """Both sums of a rectangle whose corner is (y, x) in the object's frame.

    ``values`` ``(h, w, 2)`` float64 and ``weights`` ``(h, w, 1)`` float64, in whole numbers.
    """

    y: int
    x: int
    values: NDArray[np.float64]
    weights: NDArray[np.float64]

    @property
    def box(self) -> Box:
        """The rectangle in the object's frame."""
        return Box(self.y, self.x, *self.weights.shape[:2])

    @property
    def nbytes(self) -> int:
        """Size of both sums."""
        return self.values.nbytes + self.weights.nbytes


class MergedParts:
    """The planes of all parts of a picture, on the host, and which tiles of the whole have changed."""

    def __init__(self, planes: PlaneKinds, max_side_px: int) -> None:
        self._kinds = planes
        self._canvas = Canvas({}, max_side_px, HOST)
        self._parts: dict[Hashable, Canvas] = {}

    @property
    def shape(self) -> tuple[int, int]:
        """Canvas size ``(H, W)``."""
        return self._canvas.shape

    @property
    def origin_px(self) -> tuple[int, int]:
        """Position of canvas pixel (0, 0) in the object's frame."""
        return self._canvas.origin_px

    def lay(self, part: Hashable, box: Box, fields: Mapping[str, NDArray[Any]]) -> None:
        """Take a part's planes on a rectangle of the object's frame, in place of those before."""
        own = self._parts.setdefault(part, Canvas(self._kinds, UNBOUNDED_PX, HOST))
        own.ensure(box.y, box.x, box.y + box.h, box.x + box.w)
        window = own.place(box).window
        for name, field in fields.items():
            own.planes[name][window] = _tensor(field)
        self._touch(box)

    def rename(self, part: Hashable, into: Hashable) -> None:
        """Let a part stand in place of another."""
        self.forget(into)
        if (own := self._parts.pop(part, None)) is not None:
            self._parts[into] = own
            self._touch(whole(own))

    def forget(self, part: Hashable) -> None:
        """Take a part away."""
        if (own := self._parts.pop(part, None)) is not None:
            self._touch(whole(own))

    def _touch(self, box: Box) -> None:
        if box.h and box.w and self._canvas.ensure(box.y, box.x, box.y + box.h, box.x + box.w):
            self._canvas.touch(*self._canvas.place(box))

    def take_dirty(self) -> list[Box]:
        """Return the rectangles that changed since the last call."""
        return self._canvas.take_dirty()

    def _in_object(self, box: Box | None) -> Box:
        """Return a rectangle of the canvas, or all of it, as one of the object's frame."""
        here = box or Box(0, 0, *self.shape)
        return Box(here.y + self.origin_px[0], here.x + self.origin_px[1], here.h, here.w)


class MergedMosaic(MergedParts):
    """The sums of all parts, on the host.

    Parameters
    ----------
    size_px
        Side of a patch.
    max_side_px
        Greatest side of the canvas, px.
    """

    def __init__(self, size_px: int, max_side_px: int) -> None:
        super().__init__(SUM_PLANES, max_side_px)
        self._size_px = size_px

    def reserve(self, first_px: tuple[float, float], last_px: tuple[float, float]) -> bool:
        """Grow the canvas for patches at positions from the first to the last corner; False if it would be too large."""
        return self._canvas.reserve(first_px, last_px, self._size_px)

    def reach(self, positions_px: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Grow the canvas for patches at positions ``(n, 2)``; return which of them it holds: not those too far away."""
        corners = np.floor(positions_px).astype(np.int64) - self._size_px // 2
        side_px = self._size_px + 1
        if len(corners) and self._canvas.holds(corners, side_px):
            return np.ones(len(corners), dtype=bool)
        reached = [self._canvas.ensure(y, x, y + side_px, x + side_px) for y, x in corners.tolist()]
        return np.array(reached, dtype=bool)

    def replace(self, part: Hashable, tiles: Iterable[SumTile]) -> None:
        """Take the sums of a part on some tiles, in place of those before."""
        for tile in tiles:
            self.lay(part, tile.box, {"values": tile.values, "weights": tile.weights})

    def weight(self, part: Hashable, box: Box) -> Tensor:
        """Return the weight ``(h, w)`` float32 of one part on a rectangle of the object's frame."""
        found = torch.zeros(box.h, box.w)
        own = self._parts.get(part)
        both = Box(0, 0, 0, 0) if own is None else box.shared(whole(own))
        if own is not None and both.h:
            found[both.within(box).window] = own.planes["weights"][own.place(both).window][..., 0].float() * VALUE_STEP
        return found

    def read(self, box: Box | None = None, shown: Iterable[Hashable] | None = None) -> tuple[Tensor, Tensor]:
        """Return object ``(h, w)`` complex64 and weight ``(h, w)`` float32 of a rectangle, of all or of the ``shown`` parts."""
        here = self._in_object(box)
        values = torch.zeros(here.h, here.w, 2, dtype=torch.float64)
        weights = torch.zeros(here.h, here.w, 1, dtype=torch.float64)
        for part in self._parts if shown is None else shown:
            own = self._parts.get(part)
            both = Box(0, 0, 0, 0) if own is None else here.shared(whole(own))
            if own is not None and both.h:
                mine, theirs = both.within(here).window, own.place(both).window
                values[mine] += own.planes["values"][theirs]
                weights[mine] += own.planes["weights"][theirs]
        return means(values, weights)


def whole(canvas: Canvas) -> Box:
    """Return the rectangle of a canvas in the object's frame."""
    return Box(*canvas.origin_px, *canvas.shape)


def _tensor(field: NDArray[Any]) -> Tensor:
    """Return a field as a tensor; arrays from shared memory are read-only, which a tensor cannot be."""
    return torch.from_numpy(field if field.flags.writeable else field.copy())


def picture_of(mosaics: Sequence[Mosaic], box: Box) -> Tensor:
    """Return the object ``(h, w)`` complex64 of several mosaics on one device together, on a rectangle of its frame."""
    device = mosaics[0].device
    values = torch.zeros(box.h, box.w, 2, dtype=torch.float64, device=device)
    weights = torch.zeros(box.h, box.w, 1, dtype=torch.float64, device=device)
    for mosaic in mosaics:
        own = Box(*mosaic.origin_px, *mosaic.shape)
        both = box.shared(own)
        if both.h:
            more = mosaic.read_sums(both.within(own))
            values[both.within(box).window] += more[0]
            weights[both.within(box).window] += more[1]
    return means(values, weights)[0]
