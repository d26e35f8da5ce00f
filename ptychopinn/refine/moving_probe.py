"""The probe of the refined layer: its copies between the pixels, its freedoms, and its steps after a pass."""

from __future__ import annotations

import torch
from torch import Tensor

from ptychopinn.device import is_batched
from ptychopinn.physics.diffraction import intensity
from ptychopinn.refine.frame_blocks import Block, Kept
from ptychopinn.refine.probe_gauge import Gauge
from ptychopinn.refine.subpixel_shifts import ShiftedProbes

PROBE_FRAMES, PROBE_PASSES, PROBE_STEP = 100, 3, 0.5
"""The probe follows in blocks of at least this many frames, after this many passes, by this share of the whole step."""
FLOOR = 0.01
"""Least curvature, of the greatest: keeps steps short where hardly any light falls."""
SETTLED = 0.003
"""Change of a pass, of the probe, below which it is settled. A right probe is so two or three passes after it began to move."""
LEAST_ENERGY = 1e-12
"""Photons in a probe without light."""


class MovingProbe:
    """A probe ``(modes, N, N)`` that may follow the frames.

    Attributes
    ----------
    shifted, ahead
        Copies between the pixels of the probe as it is now, and of the one that the next pass works with: momentum leads it on.
    last_change
        Change of the last pass, of the probe; a tensor without dimensions, that a GPU is not waited for.
    peak, weight
        Greatest intensity of the first probe, photons a pixel, and its intensity ``(N, N)`` as a share of that.
    """

    def __init__(self, probe: Tensor, *, may_follow: bool) -> None:
        self.shifted = ShiftedProbes(probe)
        lit = self.shifted.intensity_at((0, 0))
        self.peak = float(lit.max())
        self.weight = lit / self.peak
        self.ahead = self.shifted
        self._first = probe
        self._may_follow = may_follow
        self._gauge = Gauge(probe)
        self._energy = intensity(probe).sum()
        self.last_change = torch.zeros((), device=probe.device)

    @property
    def size_px(self) -> int:
        """Side of the probe and of the patterns."""
        return self._first.shape[-1]

    def follows(self, block: Block) -> bool:
        """Whether the passes over a block move the probe."""
        return self._may_follow and len(block.frames) >= PROBE_FRAMES and block.passes >= PROBE_PASSES

    @property
    def now(self) -> Tensor:
        """The probe as it is now."""
        return self.shifted.probe

    def move(self, block: Block, lead: Tensor) -> None:
        """Move by what the frames of a pass have said, if that is finite; ``lead`` is the momentum's share."""
        if block.probe_descent is None or block.probe_curvature is None:
            return
        curvature = block.probe_curvature
        change = -PROBE_STEP * block.probe_descent.total() / (curvature + FLOOR * curvature.max())
        change = self._gauge.without_free(torch.where(is_finite(change), change, 0.0))
        self.last_change = (intensity(change).sum() / intensity(self.now).sum()).sqrt()
        known = self.ahead.probe + change
        known *= (self._energy / intensity(known).sum().clamp_min(LEAST_ENERGY)).sqrt()
        ahead = known + lead * (known - self.now)
        self.shifted, self.ahead = ShiftedProbes(known), ShiftedProbes(ahead)

    def take_back(self) -> None:
        """Return to the first probe, and stay there."""
        self.shifted = self.ahead = ShiftedProbes(self._first)
        self._may_follow = False
        self.last_change.zero_()

    def far(self, frames: list[Kept], patches: Tensor) -> tuple[Tensor, Tensor]:
        """Return frames' far fields ``(..., B, modes, N, N)`` with patches ``(..., B, N, N)``, and patterns ``(B, N, N)``."""
        probes = self.shifted.stack([frame.shift for frame in frames])
        amplitude = torch.stack([frame.amplitude for frame in frames])
        return torch.fft.fft2(patches.unsqueeze(-3) * probes, norm="ortho"), amplitude


def is_finite(field: Tensor) -> Tensor:
    """Return whether all values of a field are finite, as a tensor without dimensions."""
    return torch.isfinite(torch.view_as_real(field).sum())


def excess_of(magnitude: Tensor, amplitude: Tensor) -> Tensor:
    """Return computed minus measured amplitudes, 0 where there is no data."""
    excess = magnitude - amplitude
    if is_batched(excess.device):
        return excess.masked_fill_(amplitude < 0, 0.0)
    return excess.mul_(amplitude.sign().clamp_max_(0.0).add_(1.0))  # masks take a CPU as long as a transform


def magnitude_of(far: Tensor) -> Tensor:
    """Return the amplitudes ``(B, N, N)`` of far fields ``(B, modes, N, N)``."""
    return over_modes(intensity(far)).sqrt()


def over_modes(parts: Tensor) -> Tensor:
    """Return the sum ``(B, N, N)`` over the modes ``(B, modes, N, N)``."""
    return parts[:, 0] if parts.shape[1] == 1 else parts.sum(1)
