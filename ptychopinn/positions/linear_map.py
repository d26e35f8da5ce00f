r"""Scale, rotation and shear of all positions at once, the object going with them.

If positions move by A (r - c), c the middle, and the object is warped likewise, every frame still sees what it saw, but for what
changes within its own patch: pixels at u from the frame's middle change by -(A u) . grad O. So four numbers are found from how
large and how turned each frame sees the object, and no frame has to drag the object along.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.positions.canvas import SearchCanvas

Matrix = NDArray[np.float64]
KINDS: Matrix = np.array([[1, 0, 0, 1], [0, -1, 1, 0], [0, 1, 1, 0], [1, 0, 0, -1]], dtype=np.float64) / 2**0.5
"""Scale, rotation and two shears, as rows of matrices ``(yy, yx, xy, xx)``."""
PRIOR = 0.1
"""Standard deviation of each kind before anything is known."""
LITTLE_PX = 0.1
"""Greatest move for which the object's slopes suffice; beyond it the object is interpolated."""


class Moments:
    """Gradient and curvature of the misfit along the four kinds, from sums over frames of maps over the pixels of a pattern."""

    def __init__(self, size_px: int, device: torch.device) -> None:
        along = torch.arange(size_px, device=device, dtype=torch.float32) - size_px // 2
        self.u = torch.stack([along[:, None].expand(size_px, size_px), along.expand(size_px, size_px)])
        self._pulls = torch.zeros(2, size_px, size_px, device=device)
        self._squares = torch.zeros(3, size_px, size_px, device=device)

    def add(self, pulls: Tensor, squares: Tensor) -> None:
        """Take maps ``(2, n, N, N)`` of Re (d O^* P^* b), and ``(3, n, N, N)`` of |P|^2 |d O|^2: yy, yx, xx."""
        self._pulls += pulls.sum(1)
        self._squares += squares.sum(1)

    def pull(self) -> Matrix:
        """Return the gradient ``(4,)`` along the four kinds."""
        found = -torch.einsum("bij,cij->bc", self._pulls, self.u)
        return np.asarray(KINDS @ found.double().cpu().numpy().flatten())

    def curvature(self) -> Matrix:
        """Return the curvature ``(4, 4)``; half of a change is seen."""
        yy, yx, xx = self._squares
        squares = torch.stack([torch.stack([yy, yx]), torch.stack([yx, xx])])
        found = torch.einsum("abij,cij,dij->acbd", squares, self.u, self.u) / 2
        return np.asarray(KINDS @ found.double().cpu().numpy().reshape(4, 4) @ KINDS.T)


def matrix(parts: Matrix) -> Matrix:
    """Return the matrix ``(2, 2)`` of four kinds."""
    return np.asarray((parts @ KINDS).reshape(2, 2))


def warped(
    picture: Tensor, slopes: tuple[Tensor, Tensor], by: Matrix, canvas: SearchCanvas, middle_px: Matrix
) -> Tensor:
    """Return the object ``(H, W)`` moved by the matrix around the middle; ``slopes`` are along y and x."""
    height, width = canvas.shape
    y = torch.arange(height, device=canvas.device)[:, None] + float(canvas.origin_px[0] - middle_px[0])
    x = torch.arange(width, device=canvas.device)[None] + float(canvas.origin_px[1] - middle_px[1])
    (yy, yx), (xy, xx) = by.tolist()
    along_y, along_x = yy * y + yx * x, xy * y + xx * x
    if max(float(along_y.abs().max()), float(along_x.abs().max())) < LITTLE_PX:
        near: Tensor = picture - along_y * slopes[0] - along_x * slopes[1]
        return near
    from_y = (torch.arange(height, device=canvas.device)[:, None] - along_y) * (2 / (height - 1)) - 1
    from_x = (torch.arange(width, device=canvas.device)[None] - along_x) * (2 / (width - 1)) - 1
    moved = torch.nn.functional.grid_sample(
        torch.view_as_real(picture).permute(2, 0, 1)[None],
        torch.stack([from_x, from_y], dim=-1)[None],
        mode="bicubic",
        padding_mode="border",
        align_corners=True,
    )
    found: Tensor = torch.view_as_complex(moved[0].permute(1, 2, 0).contiguous())
    return found
