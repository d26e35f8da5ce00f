"""The canvas of the search: fixed in size, with a rim for frames that move, cut and summed for many frames at once."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Places = NDArray[np.float64]
Corners = NDArray[np.int64]


class SearchCanvas:
    """Windows of ``size_px`` around positions, on a canvas that reaches ``rim_px`` beyond the outermost.

    Corners are those of the windows on the canvas, (y, x). A frame that leaves the canvas stays at its edge.
    """

    def __init__(self, positions_px: Places, size_px: int, rim_px: int, device: torch.device) -> None:
        half = size_px // 2
        low = np.floor(positions_px.min(axis=0)).astype(np.int64) - half - rim_px
        high = np.ceil(positions_px.max(axis=0)).astype(np.int64) + half + rim_px + 1
        self.origin_px = low
        self.size_px = size_px
        self.shape = (int(high[0] - low[0]), int(high[1] - low[1]))
        self.device = device

    def corners(self, positions_px: Places, rim_px: int = 0) -> Corners:
        """Return the corners ``(n, 2)`` of the windows at rounded positions, at least ``rim_px`` from the edge."""
        corners = np.rint(positions_px).astype(np.int64) - self.size_px // 2 - self.origin_px
        last = np.array(self.shape) - self.size_px - rim_px
        return np.asarray(np.clip(corners, rim_px, last), dtype=np.int64)

    def places(self, corners: Corners) -> Places:
        """Return the positions of windows with these corners."""
        return np.asarray(corners + self.size_px // 2 + self.origin_px, dtype=np.float64)

    def cut(self, plane: Tensor, corners: Corners, rim_px: int = 0) -> Tensor:
        """Return the windows ``(n, side, side)`` of a plane ``(H, W)``, each with a rim around it."""
        side = self.size_px + 2 * rim_px
        return plane.flatten()[self._indexes(corners - rim_px, side)].view(-1, side, side)

    def add(self, plane: Tensor, corners: Corners, windows: Tensor) -> None:
        """Add windows ``(n, N, N)`` to a plane where they lie."""
        plane.view(-1).index_add_(0, self._indexes(corners, self.size_px).flatten(), windows.flatten())

    def zeros(self, dtype: torch.dtype) -> Tensor:
        """Return an empty plane."""
        return torch.zeros(self.shape, dtype=dtype, device=self.device)

    def ones(self) -> Tensor:
        """Return an object that is not there."""
        return torch.ones(self.shape, dtype=torch.complex64, device=self.device)

    def _indexes(self, corners: Corners, side: int) -> Tensor:
        along = torch.arange(side, device=self.device)
        window = (along[:, None] * self.shape[1] + along).flatten()
        begin = torch.from_numpy(corners[:, 0] * self.shape[1] + corners[:, 1]).to(self.device)
        return begin[:, None] + window
