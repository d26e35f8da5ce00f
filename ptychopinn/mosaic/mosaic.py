r"""The network layer's mosaic: barycentric accumulation weighted by |P|^2, exact.

Two sums per canvas pixel, :math:`\sum w O` and :math:`\sum w`, with w = |P|^2 (modes summed, greatest value 1) and each
patch spread bilinearly on four pixels. **Adding is exact**: every addend is rounded to a multiple of 2^-24 and counted in
float64, whose sums of whole numbers are exact up to 2^29 times the full weight. Therefore the result does not depend on order
or batches, partial mosaics can be added, and a patch can be removed or replaced exactly.

Patch pixel N/2 is at the position (pixels, ``(y, x)``, of the object's own frame).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.mosaic.canvas import Box, Canvas

VALUE_STEP = 2.0**-24
"""Rounding step of all addends; sums of such numbers are exact in float64 (module docstring)."""


class PatchRefusal(StrEnum):
    """Why a patch is not added to the mosaic."""

    BAD_POSITION = "bad_position"
    NOT_FINITE = "not_finite"
    OUTSIDE_MOSAIC = "outside_mosaic"


class _BilinearSpread:
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


@dataclass(frozen=True, slots=True)
class _LaidPatch:
    position_px: tuple[float, float]
    patch: Tensor


class Mosaic:
    """A growing mosaic for one probe.

    Parameters
    ----------
    weight : (N, N) float32
        Probe intensity, modes summed; any scale.
    max_side_px
        Greatest side of the canvas, px; patches outside it are refused (see :meth:`add`).
    keep_bytes
        Memory for stitched patches, so that they can be replaced; the oldest are released first. 0: none are kept.
    """

    def __init__(self, weight: Tensor, max_side_px: int = 32768, keep_bytes: int = 0) -> None:
        self.size_px = weight.shape[-1]
        self.device = weight.device
        self._weight = torch.round(weight / weight.max() / VALUE_STEP).float()
        self._factor = self._weight[..., None].expand(-1, -1, 2).contiguous()
        self._spread_values = _BilinearSpread(self.size_px, 2, self.device)
        self._spread_weights = _BilinearSpread(self.size_px, 1, self.device)
        self._spread_weights.plane.copy_(self._weight[..., None])
        self._canvas = Canvas(
            {"values": ((2,), torch.float64, 0.0), "weights": ((1,), torch.float64, 0.0)}, max_side_px, self.device
        )
        self._kept: OrderedDict[int, _LaidPatch] = OrderedDict()
        self._patch_bytes = self.size_px**2 * 8
        self._keep_patches = keep_bytes // self._patch_bytes

    @property
    def shape(self) -> tuple[int, int]:
        """Canvas size ``(H, W)``."""
        return self._canvas.shape

    @property
    def origin_px(self) -> tuple[int, int]:
        """Position of canvas pixel (0, 0) in the object's frame."""
        return self._canvas.origin_px

    def add(self, keys: Sequence[int], patches: Tensor, positions_px: NDArray[np.float64]) -> dict[int, PatchRefusal]:
        """Stitch patches; a patch whose key is kept replaces the old one exactly.

        Parameters
        ----------
        keys
            Frame indexes.
        patches : (B, N, N) complex64
        positions_px : (B, 2) float64

        Returns
        -------
        dict
            Reason by key for each patch that was not added.
        """
        refused: dict[int, PatchRefusal] = {}
        values = torch.view_as_real(patches)
        finite = torch.isfinite(torch.linalg.vector_norm(values.flatten(1), dim=1)).tolist()
        places = np.asarray(positions_px, dtype=np.float64).tolist()
        for key, patch, is_finite, (y, x) in zip(keys, values.unbind(0), finite, places, strict=True):
            if not (math.isfinite(y) and math.isfinite(x)):
                refused[key] = PatchRefusal.BAD_POSITION
            elif not is_finite:
                refused[key] = PatchRefusal.NOT_FINITE
            elif not self._lay(patch, y, x, 1.0):
                refused[key] = PatchRefusal.OUTSIDE_MOSAIC
            elif self._keep_patches:
                self._remember(key, patch, (y, x))
        return refused

    def keeps(self, key: int) -> bool:
        """Return whether a patch is kept, so that it can be replaced."""
        return key in self._kept

    def remove(self, key: int) -> bool:
        """Remove a kept patch exactly; False if it is not kept."""
        old = self._kept.pop(key, None)
        return old is not None and self._lay(old.patch, *old.position_px, -1.0)

    @property
    def kept_bytes(self) -> int:
        """Memory of the kept patches, bytes."""
        return len(self._kept) * self._patch_bytes

    def release_patches(self, size_bytes: int) -> None:
        """Release the oldest kept patches until ``size_bytes`` are free; they stay in the mosaic."""
        for _ in range(min(len(self._kept), -(-size_bytes // self._patch_bytes))):
            self._kept.popitem(last=False)

    def stop_keeping(self) -> None:
        """Release all kept patches and keep no further ones; they stay in the mosaic."""
        self._kept.clear()
        self._keep_patches = 0

    def _remember(self, key: int, patch: Tensor, position_px: tuple[float, float]) -> None:
        self.remove(key)
        self._kept[key] = _LaidPatch(position_px, patch.clone())
        if len(self._kept) > self._keep_patches:
            self._kept.popitem(last=False)

    def _lay(self, patch: Tensor, y: float, x: float, sign: float) -> bool:
        side = self.size_px + 1
        whole_y, whole_x = math.floor(y), math.floor(x)
        top, left = whole_y - self.size_px // 2, whole_x - self.size_px // 2
        if not self._canvas.ensure(top, left, top + side, left + side):
            return False
        torch.mul(patch, self._factor, out=self._spread_values.plane)
        row, column = top - self.origin_px[0], left - self.origin_px[1]
        for name, channels, spread in (("values", 2, self._spread_values), ("weights", 1, self._spread_weights)):
            plane, width = self._canvas.planes[name], self._canvas.shape[1]
            strides, begin = (width * channels, channels, 1), (row * width + column) * channels
            window = plane.as_strided((side, side, channels), strides, begin)
            window.add_(spread(y - whole_y, x - whole_x), alpha=sign)
        self._canvas.touch(row, column, side, side)
        return True

    def merge(self, other: Mosaic) -> bool:
        """Add another mosaic of the same probe; False if the union is too large."""
        if other.shape == (0, 0):
            return True
        top, left = other.origin_px
        if not self._canvas.ensure(top, left, top + other.shape[0], left + other.shape[1]):
            return False
        box = Box(top - self.origin_px[0], left - self.origin_px[1], *other.shape)
        for name, plane in self._canvas.planes.items():
            plane[box.window] += other._canvas.planes[name].to(self.device)
        self._canvas.touch(*box)
        return True

    def take_dirty(self) -> list[Box]:
        """Return the rectangles that changed since the last call."""
        return self._canvas.take_dirty()

    def read(self, box: Box | None = None) -> tuple[Tensor, Tensor]:
        """Return object ``(h, w)`` complex64 (0 without patches) and weight ``(h, w)`` float32 of a rectangle."""
        window = (box or Box(0, 0, *self.shape)).window
        weight = self._canvas.planes["weights"][window]
        value = self._canvas.planes["values"][window] / weight.clamp_min(1.0)
        return torch.view_as_complex(value.float()), weight[..., 0].float() * VALUE_STEP

    def cut(self, position_px: Sequence[float]) -> Tensor:
        """Return the patch ``(N, N)`` complex64 at a position, rounded to whole pixels; it must be on the canvas."""
        return self.picture(Box.around(position_px, self.size_px))

    def picture(self, box: Box) -> Tensor:
        """Return the object ``(h, w)`` complex64 on a rectangle of its frame, which must be on the canvas."""
        return self.read(self._canvas.place(box))[0]

    def surroundings(self, position_px: Sequence[float], weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the start of a second look at a position: the patch ``(N, N)`` and the weight of the other frames there.

        The patch is 1 without other patches; ``weight (N, N)`` is the frame's own weight, greatest value 1.
        """
        value, total = self.read(self._canvas.place(Box.around(position_px, self.size_px)))
        return torch.where(total > 0, value, 1.0), (total - weight).clamp_min_(0.0)

    @property
    def total_weight(self) -> float:
        """Sum of all weights on the canvas; one patch adds ``patch_weight``."""
        return float(self._canvas.planes["weights"].sum()) * VALUE_STEP

    @property
    def patch_weight(self) -> float:
        """Sum of the weights of one patch."""
        return float(self._weight.double().sum()) * VALUE_STEP
