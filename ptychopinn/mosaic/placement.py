"""Patches to and from the planes of a canvas, and bilinear spreading between its pixels.

Each has two forms with the same numbers. Patch by patch, the work on a patch stays in the cache of a CPU. A batch at once, a GPU
gets a few launches for hundreds of patches. :func:`ptychopinn.device.is_batched` says which form a device takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.device import is_batched, to_device

Corners = NDArray[np.int64]
"""Row and column of the first pixel of each patch on the canvas, ``(B, 2)``."""


class Places(NamedTuple):
    """Where patches lie: :data:`Corners` of their whole pixels, and the rest ``(B, 2)`` in [0, 1) along y and x."""

    corners: Corners
    fractions: NDArray[np.float64]


class Windows:
    """Equal squares of a contiguous plane ``(H, W, ...)`` at corners; the indexes of their pixels are made once."""

    def __init__(self, corners: Corners, size_px: int, width: int, device: torch.device) -> None:
        self._corners = corners
        self._size_px = size_px
        self._pixels = _pixels(corners, size_px, width, device) if is_batched(device) else None

    def gather(self, plane: Tensor) -> Tensor:
        """Return the patches ``(B, size, size, ...)`` of a plane, as a copy."""
        if self._pixels is not None:
            return plane.flatten(0, 1)[self._pixels]
        size_px = self._size_px
        return torch.stack([plane[y : y + size_px, x : x + size_px] for y, x in self._corners.tolist()])

    def scatter_add(self, plane: Tensor, patches: Sequence[Tensor] | Tensor, sign: float = 1.0) -> None:
        """Add B patches ``(size, size, ...)`` to a plane, in place."""
        if self._pixels is not None:
            whole = patches if isinstance(patches, Tensor) else torch.stack(tuple(patches))
            plane.flatten(0, 1).index_add_(0, self._pixels.flatten(), whole.flatten(0, 2), alpha=sign)
            return
        size_px = self._size_px
        for (y, x), patch in zip(self._corners.tolist(), patches, strict=True):
            plane[y : y + size_px, x : x + size_px].add_(patch, alpha=sign)


def gather(plane: Tensor, corners: Corners, size_px: int) -> Tensor:
    """Return the patches ``(B, size, size, ...)`` of a plane ``(H, W, ...)`` at corners, as a copy."""
    return Windows(corners, size_px, plane.shape[1], plane.device).gather(plane)


def scatter_add(plane: Tensor, corners: Corners, patches: Tensor, sign: float = 1.0) -> None:
    """Add B patches ``(B, size, size, ...)`` to a contiguous plane ``(H, W, ...)`` at corners, in place."""
    Windows(corners, patches.shape[1], plane.shape[1], plane.device).scatter_add(plane, patches, sign)


def covered(plane: Tensor, corners: Corners, size_px: int) -> Tensor:
    """Return which pixels ``(H, W)`` of a plane lie under patches at corners."""
    mask = torch.zeros(plane.shape[:2], dtype=torch.bool, device=plane.device)
    if is_batched(plane.device):
        mask.view(-1)[_pixels(corners, size_px, plane.shape[1], plane.device).flatten()] = True
    else:
        for y, x in corners.tolist():
            mask[y : y + size_px, x : x + size_px] = True
    return mask


def window(plane: Tensor, y: int, x: int, size_px: int) -> Tensor:
    """Return the view ``(size, size, channels)`` of a contiguous plane ``(H, W, channels)`` at a corner.

    One call instead of the two of indexing, which cost as much as the addition of a small patch.
    """
    width, channels = plane.shape[1:]
    return plane.as_strided((size_px, size_px, channels), (width * channels, channels, 1), (y * width + x) * channels)


def gather_boxes(plane: Tensor, boxes: Sequence[tuple[int, int, int, int]]) -> Tensor:
    """Return the pixels ``(P, ...)`` of rectangles (y, x, h, w) of a plane ``(H, W, ...)``, one after another, row by row."""
    width = plane.shape[1]
    rows = [(np.arange(y, y + h)[:, None] * width + np.arange(x, x + w)).ravel() for y, x, h, w in boxes]
    return plane.flatten(0, 1)[to_device(np.concatenate(rows), plane.device)]


def _pixels(corners: Corners, size_px: int, width: int, device: torch.device) -> Tensor:
    """Return the flat index of each pixel ``(B, size, size)`` of patches on a plane of this width."""
    first = to_device(np.ascontiguousarray(corners[:, 0] * width + corners[:, 1]), device)
    within = torch.arange(size_px * width, device=device).view(size_px, width)[:, :size_px]
    return first[:, None, None] + within


class PatchSpread:
    """Spreads one ``(N, N, channels)`` plane bilinearly on ``(N + 1, N + 1, channels)``, in buffers that are reused.

    Rows are padded to N + 1, so a shift by one row or one column is a shift in flat memory and each blend is one pass.
    """

    def __init__(self, size_px: int, channels: int, device: torch.device) -> None:
        side = size_px + 1
        row, pixel, flat = side * channels, channels, side * side * channels
        source = torch.zeros(flat + row, device=device)
        blended = torch.zeros(flat + pixel, device=device)
        self._source, self._source_above = source[row:], source[:-row]
        self._blended, self._blended_left = blended[pixel:], blended[:-pixel]
        self._out = torch.zeros(flat, device=device)
        self._whole = torch.zeros(flat, dtype=torch.float64, device=device)
        self._result = self._whole.view(side, side, channels)
        self.plane = self._source.view(side, side, channels)[:size_px, :size_px]

    def __call__(self, fy: float, fx: float) -> Tensor:
        """Return ``plane`` shifted by ``(fy, fx)`` in [0, 1), in whole numbers; valid until the next call."""
        torch.lerp(self._source, self._source_above, fy, out=self._blended)
        torch.lerp(self._blended, self._blended_left, fx, out=self._out)
        self._whole.copy_(self._out.round_())
        return self._result


def spread_batch(planes: Tensor, fractions: Tensor) -> Tensor:
    """Return ``(B, N, N, channels)`` spread on ``(B, N + 1, N + 1, channels)``, in whole numbers, float64.

    ``fractions (B, 2)`` float32 are the shifts in [0, 1) along y and x; the numbers are those of :class:`PatchSpread`.
    """
    fy, fx = fractions[:, :, None, None, None].unbind(1)
    padded = torch.nn.functional.pad(planes, (0, 0, 1, 1, 1, 1))
    down = torch.lerp(padded[:, 1:], padded[:, :-1], fy)
    return torch.lerp(down[:, :, 1:], down[:, :, :-1], fx).round_().double()


class PatchLayer:
    """Lays weighted patches on two planes, one after another.

    ``weight (N, N)`` float32 are whole numbers; ``values (H, W, 2)`` and ``weights (H, W, 1)`` float64.
    """

    def __init__(self, weight: Tensor) -> None:
        size_px, device = weight.shape[-1], weight.device
        self._side = size_px + 1
        self._factor = weight[..., None].expand(-1, -1, 2).contiguous()
        self._values = PatchSpread(size_px, 2, device)
        self._weights = PatchSpread(size_px, 1, device)
        self._weights.plane.copy_(weight[..., None])

    def lay(self, planes: dict[str, Tensor], patches: Sequence[Tensor], places: Places, sign: float) -> None:
        """Add B patches ``(N, N, 2)`` float32, or with the sign -1 take them away."""
        values, weights = planes["values"], planes["weights"]
        rows = zip(patches, places.corners.tolist(), places.fractions.tolist(), strict=True)
        for patch, (y, x), (fy, fx) in rows:
            torch.mul(patch, self._factor, out=self._values.plane)
            window(values, y, x, self._side).add_(self._values(fy, fx), alpha=sign)
            window(weights, y, x, self._side).add_(self._weights(fy, fx), alpha=sign)


class BatchLayer:
    """Does the work of :class:`PatchLayer` in a few launches for all patches."""

    def __init__(self, weight: Tensor) -> None:
        self._weight = weight[None, :, :, None]

    def lay(self, planes: dict[str, Tensor], patches: Sequence[Tensor], places: Places, sign: float) -> None:
        """Add B patches ``(N, N, 2)`` float32, or with the sign -1 take them away."""
        whole = torch.stack(tuple(patches))
        size_px, device = whole.shape[1], whole.device
        fractions = to_device(places.fractions.astype(np.float32), device)
        pixels = _pixels(places.corners, size_px + 1, planes["values"].shape[1], device).flatten()
        weight = self._weight.expand(len(whole), -1, -1, -1)
        for name, plane in (("values", whole * self._weight), ("weights", weight)):
            spread = spread_batch(plane, fractions).flatten(0, 2)
            planes[name].flatten(0, 1).index_add_(0, pixels, spread, alpha=sign)
