r"""Corrections of the frames' positions by Gauss-Newton steps.

Moving the probe of a frame by ``s`` changes its exit wave by ``-O dP/ds``. The residual ``b`` of the misfit in the sample plane
therefore gives the gradient ``Re sum conj(b) O dP``, and ``sum |O|^2 |dP|^2 / 2`` is its stiffness. Because the object adapts as
well, steps are 1.8 times as long and use the object's momentum; a correction of 1 px still takes about thirty passes.

The prior of an offset is a normal distribution, at first a third of the bound wide. Later its width is the root mean square of
the offsets of frames that were visited often. If the offsets are only noise, width and offsets shrink each other to zero, so
exact positions stay. A common translation belongs to the object and is removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.refine.subpixel_shifts import Shift, ShiftedProbes

LEAST_VISITS = 3
STEP = 1.8
TOLD_MOVES, TOLD_FRAMES = 12, 10
LEAST_WIDTH_PX = 1e-3


@dataclass(slots=True, eq=False)
class Offset:
    """A frame's correction (y, x) in pixels, and where it is while momentum leads it."""

    known_px: tuple[float, float] = (0.0, 0.0)
    ahead_px: tuple[float, float] = (0.0, 0.0)
    moves: int = 0


class OffsetPulls:
    """What a pass over some frames says of their positions."""

    def __init__(self) -> None:
        self._offsets: list[Offset] = []
        self._found: list[Tensor] = []
        self._misfit: Tensor | None = None
        self._pixels: Tensor | None = None

    def add(self, offset: Offset, probes: ShiftedProbes, shift: Shift, part: Tensor, lit: Tensor) -> None:
        """Take a frame.

        Parameters
        ----------
        part : (modes, N, N) complex64
            The residual times the conjugate patch.
        lit : (N, N) float32
            The patch's intensity.
        """
        slopes, squares = probes.slopes_at(shift)
        pull, stiffness = slopes @ torch.view_as_real(part).flatten(), squares @ lit.flatten() / 2
        self._offsets.append(offset)
        self._found.append(torch.stack([pull, stiffness]))

    def note(self, excess: Tensor, amplitude: Tensor) -> None:
        """Take how far computed amplitudes are from measured ones: the noise, where it is more than the photons'."""
        misfit, pixels = excess.square().sum(), (amplitude >= 0).sum()
        self._misfit = misfit if self._misfit is None else self._misfit + misfit
        self._pixels = pixels if self._pixels is None else self._pixels + pixels

    def move(self, bound_px: float, lead: float) -> None:
        """Move the frames' offsets, each at most ``bound_px`` along y and x; ``lead`` is the momentum's share."""
        if not self._found or self._misfit is None or self._pixels is None:
            return
        pull, stiffness = torch.stack(self._found).double().cpu().numpy().transpose(1, 0, 2)
        noise = max(1.0, 4 * float(self._misfit) / max(1.0, float(self._pixels)))  # an amplitude's variance is 1/4
        old, ahead = (np.array([getattr(o, name) for o in self._offsets]) for name in ("known_px", "ahead_px"))
        prior = noise / (4 * np.square(_widths_px(self._offsets, ahead, bound_px)))[:, None]
        known = ahead + STEP * (pull - prior * ahead) / (stiffness + prior)
        known = np.clip(known - known.mean(axis=0), -bound_px, bound_px)
        ahead = np.clip(known + lead * (known - old), -bound_px, bound_px)
        for offset, at, then in zip(self._offsets, known.tolist(), ahead.tolist(), strict=True):
            offset.known_px, offset.ahead_px = (at[0], at[1]), (then[0], then[1])
            offset.moves += 1


def _widths_px(offsets: Sequence[Offset], now_px: NDArray[np.float64], bound_px: float) -> NDArray[np.float64]:
    """Return the prior's standard deviation ``(n,)`` for each frame."""
    widest = bound_px / 3
    widths = np.full(len(offsets), widest)
    told = np.array([o.moves >= TOLD_MOVES for o in offsets])
    if told.sum() >= TOLD_FRAMES:
        widths[told] = min(widest, float(np.square(now_px[told]).mean()) ** 0.5)
    return widths.clip(LEAST_WIDTH_PX)
