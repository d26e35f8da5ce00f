"""The probe of the refined layer: its copies between the pixels, its freedoms, and its steps after a pass."""

from __future__ import annotations

import torch
from torch import Tensor

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
        self._last_change = 0.0

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

    @property
    def is_settled(self) -> bool:
        """Whether the last pass hardly moved it."""
        return self._last_change < SETTLED

    def move(self, block: Block, lead: float) -> None:
        """Move by what the frames of a pass have said, if they have; ``lead`` is the momentum's share."""
        if block.probe_descent is None or block.probe_curvature is None:
            return
        curvature = block.probe_curvature
        change = -PROBE_STEP * block.probe_descent.total() / (curvature + FLOOR * curvature.max())
        if bool(torch.isfinite(change.sum())):
            change = self._gauge.without_free(change)
            self._last_change = float((intensity(change).sum() / intensity(self.now).sum()).sqrt())
            known = self.ahead.probe + change
            known *= (self._energy / intensity(known).sum().clamp_min(LEAST_ENERGY)).sqrt()
            ahead = known + lead * (known - self.now)
            self.shifted, self.ahead = ShiftedProbes(known), ShiftedProbes(ahead)

    def take_back(self) -> None:
        """Return to the first probe, and stay there."""
        self.shifted = self.ahead = ShiftedProbes(self._first)
        self._may_follow, self._last_change = False, 0.0

    def far(self, frames: list[Kept], patches: Tensor) -> tuple[Tensor, Tensor]:
        """Return frames' far fields ``(B, modes, N, N)`` with these patches ``(B, N, N)``, and patterns ``(B, N, N)``."""
        probes = self.shifted.stack([frame.shift for frame in frames])
        amplitude = torch.stack([frame.amplitude for frame in frames])
        return torch.fft.fft2(patches[:, None] * probes, norm="ortho"), amplitude


def magnitude_of(far: Tensor) -> Tensor:
    """Return the amplitudes ``(B, N, N)`` of far fields ``(B, modes, N, N)``."""
    return over_modes(intensity(far)).sqrt()


def over_modes(parts: Tensor) -> Tensor:
    """Return the sum ``(B, N, N)`` over the modes ``(B, modes, N, N)``."""
    return parts[:, 0] if parts.shape[1] == 1 else parts.sum(1)
