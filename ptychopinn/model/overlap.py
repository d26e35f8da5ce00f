"""Overlap inside a batch: stitch patches by |P|^2 at whole-pixel places and cut them out again, differentiably.

Leading axis G: independent scans (or groups); M frames of each. ``corners`` are top-left pixels ``(G, M, 2)`` int64,
never negative.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Overlap:
    """Places of M frames of each of G scans on common canvases, one size for all."""

    def __init__(self, corners: Tensor, size_px: int) -> None:
        device = corners.device
        self.size_px = size_px
        self.scans, self.frames = corners.shape[:2]
        height, width = (int(v) + size_px for v in corners.amax(dim=(0, 1)))
        self.shape = (height, width)
        axis = torch.arange(size_px, device=device)
        patch = axis[:, None] * width + axis[None, :]
        start = corners[..., 0] * width + corners[..., 1]
        start = start + torch.arange(self.scans, device=device)[:, None] * (height * width)
        self._where = (start[..., None, None] + patch).flatten()

    def add(self, values: Tensor) -> Tensor:
        """Return the sum ``(G, H, W)`` of values ``(G, M, n, n)``, real or complex, at their places."""
        canvas = torch.zeros(self.scans * self.shape[0] * self.shape[1], dtype=values.dtype, device=values.device)
        return canvas.index_add(0, self._where, values.flatten()).view(self.scans, *self.shape)

    def cut(self, canvas: Tensor) -> Tensor:
        """Return the patches ``(G, M, n, n)`` of canvases ``(G, H, W)``."""
        return canvas.flatten()[self._where].view(self.scans, self.frames, self.size_px, self.size_px)

    def stitch(self, patches: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weighted mean ``(G, H, W)`` complex (1 where nothing lies) and the weight ``(G, H, W)``.

        ``weight`` is ``(G, 1, n, n)`` or ``(G, M, n, n)``.
        """
        total = self.add(weight.expand(patches.shape))
        value = self.add(patches * weight)
        return (value + 1e-6) / (total + 1e-6), total
