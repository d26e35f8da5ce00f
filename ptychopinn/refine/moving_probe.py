"""The probe of the refined layer: its copies between the pixels, its freedoms, and its steps after a pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ptychopinn.device import is_batched
from ptychopinn.physics.diffraction import intensity
from ptychopinn.refine.frame_blocks import Block, Kept
from ptychopinn.refine.probe_fields import FieldDescent, ProbeFields
from ptychopinn.refine.probe_gauge import Gauge
from ptychopinn.refine.scan_time import ScanTime

PROBE_FRAMES, PROBE_PASSES, PROBE_STEP = 100, 3, 0.5
"""The probe follows in blocks of at least this many frames, after this many visits of most, by this share of the whole step."""
SETTLED = 0.003
"""Change of a pass, of the probe, below which it is settled. A right probe is so two or three passes after it began to move."""
LEAST_ENERGY = 1e-12
"""Photons in a probe without light."""


class MovingProbe:
    """A probe ``(modes, N, N)`` that may follow the frames.

    Attributes
    ----------
    known, ahead
        The fields of the probe as it is now, and of the one that the next pass works with: momentum leads it on.
    last_change
        Change of the last pass, of the probe; a tensor without dimensions, that a GPU is not waited for.
    peak, weight
        Greatest intensity of the first probe, photons a pixel, and its intensity ``(N, N)`` as a share of that.
    """

    def __init__(self, probe: Tensor, *, may_follow: bool) -> None:
        self._first = probe
        self.use(probe)
        lit = self.known.shifted.intensity_at((0, 0))
        self.peak = float(lit.max())
        self.weight = lit / self.peak
        self._may_follow = may_follow

    def use(self, fields: Tensor, modes: int | None = None, time: ScanTime | None = None) -> None:
        """Go on with other fields ``(fields * modes, N, N)``, from rest."""
        self.known = self.ahead = ProbeFields(fields, modes or len(fields), time)
        self._gauge = Gauge(self.now)
        self._energy = intensity(self.now).sum()
        self._descent = FieldDescent()
        self.last_change = torch.zeros((), device=fields.device)

    def fork(self, fields: Tensor | None = None, modes: int | None = None, time: ScanTime | None = None) -> MovingProbe:
        """Return another probe of these fields, or of the same; both move apart from each other."""
        known = self.known
        other = MovingProbe(known.mean, may_follow=True)
        if fields is None:
            other.use(known.fields, known.modes, known.time)
        else:
            other.use(fields, modes, time)
        return other

    @property
    def size_px(self) -> int:
        """Side of the probe and of the patterns."""
        return self._first.shape[-1]

    def follows(self, block: Block) -> bool:
        """Whether the passes over a block move the probe."""
        return self._may_follow and len(block.frames) >= PROBE_FRAMES and block.visits >= PROBE_PASSES

    @property
    def now(self) -> Tensor:
        """The probe as it is now, in the mean of the scan."""
        return self.known.mean

    def learn(self, frames: Sequence[Kept], parts: Tensor, lit: Tensor) -> None:
        """Take what frames say about the probe: parts ``(B, modes, N, N)``, patches' intensities ``(B, N, N)``."""
        self._descent.add(self.ahead, frames, parts, lit)

    def move(self, lead: Tensor) -> None:
        """Move by what the frames of a pass have said, if that is finite; ``lead`` is the momentum's share."""
        step = self._descent.step
        if step is None:
            return
        self._descent = FieldDescent()
        modes, time, now = self.ahead.modes, self.ahead.time, self.known.fields
        change = -PROBE_STEP * step
        change = torch.where(is_finite(change), change, 0.0)
        free = self._gauge.without_free(change[:modes])
        change = free if time is None else torch.cat([free, change[modes:]])
        self.last_change = (intensity(change).sum() / intensity(now).sum()).sqrt()
        known = self.ahead.fields + change
        known *= (self._energy / intensity(known[:modes]).sum().clamp_min(LEAST_ENERGY)).sqrt()
        ahead = known + lead * (known - now)
        self.known, self.ahead = ProbeFields(known, modes, time), ProbeFields(ahead, modes, time)

    def take_back(self) -> None:
        """Return to the first probe, and stay there."""
        self.use(self._first)
        self._may_follow = False

    def far(self, frames: list[Kept], patches: Tensor) -> tuple[Tensor, Tensor]:
        """Return frames' far fields ``(..., B, modes, N, N)`` with patches ``(..., B, N, N)``, and patterns ``(B, N, N)``."""
        amplitude = torch.stack([frame.amplitude for frame in frames])
        return torch.fft.fft2(patches.unsqueeze(-3) * self.known.of(frames).probe, norm="ortho"), amplitude


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
