r"""Passes over all frames of a mosaic, from which second looks start: neighbours are brought into agreement.

A pass descends the amplitude misfit sum (|F(P O)| - a)^2 of the frames, with the mosaic as a weak prior, by the gradient over
its diagonal curvature sum |P|^2 + lambda, with Nesterov momentum that restarts when it points uphill. The refined layer's
longer steps for slow phase are left out: they need fewer passes, but make up to half of the simulated scans worse whose probe
is 12 % wrong.

A wrong probe or few photons can still mislead the passes. Their picture is not used if the misfit has not fallen, if it differs
from the mosaic by many times the mosaic's own contrast, or if most of the sample's effect on the patterns is unexplained
although there are enough photons.

Frames lie on whole pixels, as in the starts of second looks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.mosaic.canvas import Box
from ptychopinn.mosaic.mosaic import Mosaic
from ptychopinn.physics.diffraction import intensity
from ptychopinn.refine.prior import prior_strength

PlacedFrame = tuple[Tensor, tuple[float, float]]
"""A pattern ``(N, N)``, zero frequency in the middle, -1 = no data, and its position [y, x], pixels."""
PASSES = 20
"""Passes before a second look; ten leave half of the error of slow phase under a broad probe, thirty gain little."""
CHUNK_FRAMES = 8
"""Frames in a step: a short pause for the live chain, enough for the FFTs."""
FLOOR = 0.01
"""Least curvature, of the greatest: keeps steps short where hardly any light falls."""
TINY_AMPLITUDE = 1e-3
"""Least amplitude that is divided by."""
MOST_CHANGE = 50.0
"""Greatest square of the change, relative to the mosaic's squared contrast; 112 and more were wrong, up to 40 mostly right."""
MOST_UNEXPLAINED, SURE_MISFIT = 0.75, 5.0
"""Greatest share of the sample's effect that may be unexplained where the squared misfit is so many times the photon noise."""
MOST_PIXELS = 2**23
"""Greatest canvas, px; the passes take some 70 bytes a pixel. Larger mosaics are looked at again as they are."""
NOISE = 0.25
"""Variance of an amplitude by photon noise."""


class NeighbourPasses:
    """The passes over the frames of one mosaic.

    Parameters
    ----------
    probe : (modes, N, N) complex64
        In photon units.
    mosaic
        Is read once; all frames lie on it.
    holds_others
        Whether frames on the mosaic that are not given hold it.
    """

    def __init__(
        self,
        probe: Tensor,
        mosaic: Mosaic,
        frames: Sequence[PlacedFrame],
        *,
        passes: int = PASSES,
        holds_others: bool = False,
    ) -> None:
        self._probe, self._back = probe, probe.conj()
        self._frames = list(frames)
        self._mosaic = mosaic
        self._origin_px = mosaic.origin_px
        self._left, self._place = passes, 0
        picture, total = mosaic.read()
        self._start = torch.where(total > 0, picture, 1.0)
        self._known = self._ahead = self._start
        lit = intensity(probe).sum(0)
        peak = float(lit.max())
        own = torch.zeros_like(total)
        for _, place in self._frames:
            own[self._window(place)] += lit / peak
        others = (total - own).clamp_min(0.0) if holds_others else torch.zeros_like(own)
        self._prior = prior_strength(self._start, own, peak) + peak * others
        self._curvature = peak * own + self._prior + FLOOR * peak
        self._descent = torch.zeros_like(self._start)
        self._own = own
        self._empty = intensity(torch.fft.fft2(probe, norm="ortho")).sum(0).sqrt()
        self._momentum, self._misfit, self._misfits = 1.0, 0.0, list[float]()
        self._empty_misfit = self._noise = 0.0

    @classmethod
    def over(
        cls, probe: Tensor, mosaic: Mosaic, frames: Sequence[PlacedFrame], *, holds_others: bool = True
    ) -> NeighbourPasses | None:
        """Return the passes over frames of a mosaic; None without frames, or if the mosaic is too large."""
        height, width = mosaic.shape
        return (
            cls(probe, mosaic, frames, holds_others=holds_others) if frames and height * width <= MOST_PIXELS else None
        )

    @property
    def is_done(self) -> bool:
        """Whether all passes are complete."""
        return self._left == 0

    def step(self) -> int:
        """Work on the next few frames; return their number, 0 when all passes are complete."""
        if self.is_done:
            return 0
        frames = self._frames[self._place : self._place + CHUNK_FRAMES]
        self._descend(frames)
        self._place += len(frames)
        if self._place == len(self._frames):
            self._finish_pass()
        return len(frames)

    def run(self) -> None:
        """Complete the passes."""
        while self.step():
            pass

    def surroundings(self, positions_px: NDArray[np.float64], weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the starts of second looks, as :meth:`Mosaic.surroundings` does, from the picture after the passes."""
        starts, supports = self._mosaic.surroundings(positions_px, weight)
        for start, (y, x) in zip(starts, positions_px.tolist(), strict=True):
            window = self._window((y, x))
            if all(s.start >= 0 and s.stop <= side for s, side in zip(window, self._known.shape, strict=True)):
                start.copy_(self._known[window])
        return starts, supports

    def _window(self, position_px: tuple[float, float]) -> tuple[slice, slice]:
        box = Box.around(position_px, self._probe.shape[-1])
        return Box(box.y - self._origin_px[0], box.x - self._origin_px[1], box.h, box.w).window

    def _descend(self, frames: list[PlacedFrame]) -> None:
        """Add the descent of some frames to the pass."""
        windows = [self._window(place) for _, place in frames]
        amplitude = torch.fft.ifftshift(torch.stack([pattern for pattern, _ in frames]), dim=(-2, -1))
        exits = self._probe * torch.stack([self._ahead[window] for window in windows])[:, None]
        far = torch.fft.fft2(exits, norm="ortho")
        magnitude = intensity(far).sum(1).sqrt_()
        valid = amplitude >= 0
        excess = (magnitude - amplitude).mul_(valid)
        if not self._misfits:  # the first pass
            self._empty_misfit += float((self._empty - amplitude).mul_(valid).square().sum())
            self._noise += float(amplitude.square().mul_(valid).clamp_max_(NOISE).sum())
        ratio = excess / magnitude.clamp_min_(TINY_AMPLITUDE)
        back = torch.fft.ifft2(far.mul_(ratio[:, None]), norm="ortho").mul_(self._back)
        for window, descent in zip(windows, back.sum(1), strict=True):
            self._descent[window] += descent
        self._misfit += float(excess.square().sum())

    def _finish_pass(self) -> None:
        """Move the picture."""
        step = self._descent.add_(self._prior * (self._ahead - self._start)).div_(self._curvature)
        moved = self._ahead - step
        change = moved - self._known
        if float((step.conj() * change).real.sum()) > 0:
            self._momentum = 1.0
        grown = (1 + (1 + 4 * self._momentum**2) ** 0.5) / 2
        self._ahead = moved + (self._momentum - 1) / grown * change
        self._known, self._momentum = moved, grown
        self._descent = torch.zeros_like(self._start)
        self._misfits.append(self._misfit)
        self._place, self._misfit = 0, 0.0
        self._left -= 1
        if self.is_done and not self._can_be_believed:
            self._known = self._start

    @property
    def _can_be_believed(self) -> bool:
        """Whether the passes' picture may be used (module docstring); values that are not finite may not."""
        change = float(((self._known - self._start).abs().square() * self._own).sum())
        contrast = float(((self._start - 1).abs().square() * self._own).sum())
        unexplained = self._misfits[-1] - self._noise
        is_unexplained = unexplained > MOST_UNEXPLAINED * (self._empty_misfit - self._noise)
        is_sure = self._misfits[-1] > SURE_MISFIT * self._noise
        has_fallen = self._misfits[-1] <= self._misfits[0]
        return has_fallen and change <= MOST_CHANGE * contrast and not (is_unexplained and is_sure)
