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
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.device import is_batched
from ptychopinn.mosaic.canvas import Box
from ptychopinn.mosaic.memory_bound import MemoryBound
from ptychopinn.mosaic.placement import BatchLayer, PatchLayer, Places
from ptychopinn.mosaic.sum_canvas import SumCanvas

VALUE_STEP = 2.0**-24
"""Rounding step of all addends; sums of such numbers are exact in float64 (module docstring)."""


class PatchRefusal(StrEnum):
    """Why a patch is not added to the mosaic."""

    BAD_POSITION = "bad_position"
    NOT_FINITE = "not_finite"
    OUTSIDE_MOSAIC = "outside_mosaic"


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
    copies
        Whether kept patches are copied; else each holds on to the batch that it came in, which nobody may change.
    bound
        Bound on the memory of the sums on the device; None: they may take what they need.
    """

    def __init__(
        self,
        weight: Tensor,
        max_side_px: int = 32768,
        keep_bytes: int = 0,
        *,
        copies: bool = True,
        bound: MemoryBound | None = None,
    ) -> None:
        self.size_px = weight.shape[-1]
        self.device = weight.device
        self._weight = torch.round(weight / weight.max() / VALUE_STEP).float()
        self._layer = (BatchLayer if is_batched(self.device) else PatchLayer)(self._weight)
        self._canvas = SumCanvas(self.size_px, max_side_px, self.device, bound)
        self._kept: OrderedDict[int, _LaidPatch] = OrderedDict()
        self._patch_bytes = self.size_px**2 * 8
        self._keep_patches = keep_bytes // self._patch_bytes
        self._copies = copies

    @property
    def shape(self) -> tuple[int, int]:
        """Canvas size ``(H, W)``."""
        return self._canvas.shape

    @property
    def origin_px(self) -> tuple[int, int]:
        """Position of canvas pixel (0, 0) in the object's frame."""
        return self._canvas.origin_px

    def reserve(self, first_px: tuple[float, float], last_px: tuple[float, float]) -> bool:
        """Grow the canvas for patches at positions from the first to the last corner; False if it would be too large."""
        return self._canvas.reserve(first_px, last_px, self.size_px)

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
        if len(set(keys)) < len(keys):  # a later patch takes the place of an earlier one
            each = ((keys[k : k + 1], patches[k : k + 1], positions_px[k : k + 1]) for k in range(len(keys)))
            return {key: reason for one in each for key, reason in self.add(*one).items()}
        values = torch.view_as_real(patches)
        positions = np.asarray(positions_px, dtype=np.float64)
        refused = self._refusals(keys, values, positions)
        if refused:
            good = [number for number, key in enumerate(keys) if key not in refused]
            keys, values, positions = [keys[number] for number in good], values[good], positions[good]
        if len(keys):
            if self._keep_patches:
                self._take_away(keys)
                self._remember(keys, values, positions)
            self._lay(values.unbind(0), positions, 1.0)
        return refused

    def _refusals(self, keys: Sequence[int], values: Tensor, positions: NDArray[np.float64]) -> dict[int, PatchRefusal]:
        """Return the patches that cannot be laid, and grow the canvas for all others."""
        refused: dict[int, PatchRefusal] = {}
        are_held = self._holds(positions)
        finite = torch.isfinite(torch.linalg.vector_norm(values.flatten(1), dim=1)).tolist()
        if are_held and all(finite):
            return refused
        for key, is_finite, (y, x) in zip(keys, finite, positions.tolist(), strict=True):
            if not (math.isfinite(y) and math.isfinite(x)):
                refused[key] = PatchRefusal.BAD_POSITION
            elif not is_finite:
                refused[key] = PatchRefusal.NOT_FINITE
            elif not self._reach(y, x):
                refused[key] = PatchRefusal.OUTSIDE_MOSAIC
        return refused

    def _holds(self, positions: NDArray[np.float64]) -> bool:
        """Whether patches at positions lie on the canvas as it is."""
        if not (len(positions) and np.isfinite(positions).all()):
            return False
        return self._canvas.holds(np.floor(positions).astype(np.int64) - self.size_px // 2, self.size_px + 1)

    def _reach(self, y: float, x: float) -> bool:
        """Grow the canvas to hold a patch at a position; False if it would be too large."""
        top, left = math.floor(y) - self.size_px // 2, math.floor(x) - self.size_px // 2
        return self._canvas.ensure(top, left, top + self.size_px + 1, left + self.size_px + 1)

    def keeps(self, key: int) -> bool:
        """Return whether a patch is kept, so that it can be replaced."""
        return key in self._kept

    def move(self, key: int, position_px: tuple[float, float]) -> bool:
        """Lay a kept patch at another position, exactly; False if it is not kept, or cannot lie there."""
        kept = self._kept.get(key)
        if kept is None or not (all(map(math.isfinite, position_px)) and self._reach(*position_px)):
            return False
        self._lay([kept.patch], np.array([kept.position_px]), -1.0)
        self._lay([kept.patch], np.array([position_px]), 1.0)
        self._kept[key] = _LaidPatch(position_px, kept.patch)
        return True

    def remove(self, key: int) -> bool:
        """Remove a kept patch exactly; False if it is not kept."""
        return self._take_away([key]) > 0

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

    def _take_away(self, keys: Sequence[int]) -> int:
        """Remove those patches that are kept; return how many."""
        old = [laid for key in keys if (laid := self._kept.pop(key, None)) is not None]
        if old:
            self._lay([laid.patch for laid in old], np.array([laid.position_px for laid in old]), -1.0)
        return len(old)

    def _remember(self, keys: Sequence[int], values: Tensor, positions: NDArray[np.float64]) -> None:
        """Keep patches; where they are one tensor its memory is free when the last of them is released."""
        if self._copies:
            patches = values.clone().unbind(0) if is_batched(self.device) else tuple(map(torch.clone, values.unbind(0)))
        else:
            patches = values.unbind(0)
        for key, patch, (y, x) in zip(keys, patches, positions.tolist(), strict=True):
            self._kept[key] = _LaidPatch((y, x), patch)
        while len(self._kept) > self._keep_patches:
            self._kept.popitem(last=False)

    def _lay(self, values: Sequence[Tensor], positions: NDArray[np.float64], sign: float) -> None:
        """Lay B patches ``(N, N, 2)`` that the canvas holds."""
        whole = np.floor(positions)
        corners = whole.astype(np.int64) - self.size_px // 2 - np.array(self.origin_px)
        self._canvas.lay(self._layer, values, Places(corners, positions - whole), sign)

    def merge(self, other: Mosaic) -> bool:
        """Add another mosaic of the same probe; False if the union is too large."""
        if other.shape == (0, 0):
            return True
        top, left = other.origin_px
        if not self._canvas.ensure(top, left, top + other.shape[0], left + other.shape[1]):
            return False
        for box, sums in other._canvas.parts():
            self._canvas.add(box, sums)
        self._canvas.touch(top - self.origin_px[0], left - self.origin_px[1], *other.shape)
        return True

    def take_dirty(self) -> list[Box]:
        """Return the rectangles that changed since the last call."""
        return self._canvas.take_dirty()

    def read(self, box: Box | None = None) -> tuple[Tensor, Tensor]:
        """Return object ``(h, w)`` complex64 (0 without patches) and weight ``(h, w)`` float32 of a rectangle."""
        return means(*self._canvas.sums(box or Box(0, 0, *self.shape)))

    def read_sums(self, box: Box) -> tuple[Tensor, Tensor]:
        """Return both sums of a rectangle, ``(h, w, 2)`` and ``(h, w, 1)`` float64 in whole numbers; not to be changed."""
        return self._canvas.sums(box)

    def read_boxes(self, boxes: Sequence[Box]) -> list[tuple[Tensor, Tensor]]:
        """Return object and weight of rectangles: ``(h, w)`` of each, on a GPU ``(P,)`` of all, one after another."""
        if not is_batched(self.device):
            return [self.read(box) for box in boxes]
        return [means(*self._canvas.gather_boxes(boxes))]

    def cut(self, position_px: Sequence[float]) -> Tensor:
        """Return the patch ``(N, N)`` complex64 at a position, rounded to whole pixels; it must be on the canvas."""
        return self.picture(Box.around(position_px, self.size_px))

    def picture(self, box: Box) -> Tensor:
        """Return the object ``(h, w)`` complex64 on a rectangle of its frame, which must be on the canvas."""
        return self.read(self._canvas.place(box))[0]

    def surroundings(
        self, positions_px: Sequence[tuple[float, float]] | NDArray[np.float64], weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the start of second looks at positions: patches ``(B, N, N)``, and the weight of the other frames there.

        A patch is 1 without other patches; ``weight (N, N)`` is a frame's own weight, greatest value 1.
        """
        boxes = [self._canvas.place(Box.around(position, self.size_px)) for position in positions_px]
        corners = np.array([(box.y, box.x) for box in boxes], dtype=np.int64)
        value, total = means(*self._canvas.gather(corners, self.size_px))
        return torch.where(total > 0, value, 1.0), (total - weight).clamp_min_(0.0)

    @property
    def total_weight(self) -> float:
        """Sum of all weights on the canvas; one patch adds ``patch_weight``."""
        return sum(float(sums["weights"].sum()) for _, sums in self._canvas.parts()) * VALUE_STEP

    @property
    def is_split(self) -> bool:
        """Whether the sums lie in sectors, since they are larger than the bound; a whole picture is large then."""
        return self._canvas.is_split

    @property
    def folder(self) -> Path | None:
        """Where files of large pictures lie."""
        return self._canvas.folder

    @property
    def laid_share(self) -> float:
        """Share of the tiles under patches, in the rectangle around them."""
        return self._canvas.laid_share

    @property
    def patch_weight(self) -> float:
        """Sum of the weights of one patch."""
        return float(self._weight.double().sum()) * VALUE_STEP


def means(values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return object and weight from the two sums."""
    mean = values / weights.clamp_min(1.0)
    return torch.view_as_complex(mean.float()), weights[..., 0].float() * VALUE_STEP
