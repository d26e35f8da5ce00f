r"""Quantities of a probe that the lift and its network use, and the projections, for one scan or several at once.

Shapes: G scans (1 in the live chain), M frames of each. With P the probe's modes, a the amplitude,

    project(O) = sum_m P_m^* (F^-1(a Y_m / sqrt(sum |Y|^2 + d^2)) - P_m O) / (sum_m |P_m|^2 + eps max),   Y_m = F(P_m O)

with d = 0.3, half of an amplitude's photon noise. Where the model expects no light its phase is rounding noise; d suppresses
the measured amplitude there, which would otherwise get a random phase.

The network corrects only the square in the middle with nearly all of the probe's energy (``side_px``); outside it, the
lift is unchanged.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

GRAIN_PX = 16
"""The side of the lit square is a multiple of this, px: the network halves it three times after pixel-unshuffling."""
LIT_ENERGY = 0.97
"""Share of the probe's energy inside the lit square."""
EPSILON = 0.02
"""Regularisation of the division by |P|^2, relative to its maximum, so that dark pixels of the probe do not amplify
noise."""
DARK_AMPLITUDE = 0.3
"""Damping d of the measured amplitude: half its photon noise (module docstring)."""


def lit_side_px(weight: Tensor, energy: float = LIT_ENERGY) -> int:
    """Return the smallest side, a multiple of 16 px, of a square around pixel N/2 that holds a share of the energy.

    ``weight`` is ``(N, N)``; patterns smaller than 16 px are taken whole.
    """
    n = weight.shape[-1]
    total = float(weight.sum())
    for side in range(GRAIN_PX, n, GRAIN_PX):
        low = n // 2 - side // 2
        if float(weight[low : low + side, low : low + side].sum()) >= energy * total:
            return side
    return n


class Step(NamedTuple):
    """One projection: the object's ``update (G, M, N, N)``, and what :meth:`ProbeOptics.misfit` needs."""

    update: Tensor
    magnitude: Tensor
    target: Tensor

    @property
    def misfit(self) -> Tensor:
        """Each frame's R-factor before the projection ``(G, M)``."""
        difference = (self.magnitude - self.target).abs().sum((-3, -2, -1))
        return difference / self.target.sum((-3, -2, -1)).clamp_min(1e-6)


class ProbeOptics:
    """Prepared quantities of a probe ``(G, modes, N, N)`` complex64 in photon units."""

    def __init__(self, probe: Tensor, side_px: int | None = None) -> None:
        self.size_px = probe.shape[-1]
        self._probe = probe[:, None]
        intensity = _power(probe).sum(1, keepdim=True)
        self.energy = intensity.sum((-2, -1))
        self.peak = intensity.amax((-2, -1), keepdim=True)
        self.weight = intensity / self.peak
        self.side_px = side_px or max(lit_side_px(w[0]) for w in self.weight)
        self._back = self._probe.conj() / (intensity + EPSILON * self.peak)[:, None]
        self._far = torch.fft.fft2(self._probe, norm="ortho")
        self._vacuum = _power(self._far).sum(2, keepdim=True).sqrt()
        self._vacuum_damped = _damped(self._vacuum)
        self.planes = self._planes(intensity)

    def lit(self, field: Tensor) -> Tensor:
        """Return the lit square in the middle of ``(..., N, N)``."""
        low = self.size_px // 2 - self.side_px // 2
        return field[..., low : low + self.side_px, low : low + self.side_px]

    def with_lit(self, field: Tensor, square: Tensor) -> Tensor:
        """Return ``field (..., N, N)`` with its lit square replaced."""
        out = field.clone()
        self.lit(out).copy_(square)
        return out

    def _planes(self, intensity: Tensor) -> Tensor:
        """Return ``(G, 4, side, side)``: probe amplitude, log photons, and the probe's local phase slope (y, x)."""
        slopes = []
        probe = self._probe[:, 0]
        for axis in (-2, -1):
            turned = (torch.roll(probe, -1, axis) - torch.roll(probe, 1, axis)) / 2
            flow = (probe.conj() * turned).imag.sum(1, keepdim=True)
            mean = flow.sum((-2, -1), keepdim=True) / intensity.sum((-2, -1), keepdim=True)
            slopes.append((flow - mean * intensity) / (intensity + EPSILON * self.peak))
        photons = torch.log1p(intensity) / 10
        return self.lit(torch.cat((self.weight.sqrt(), photons, *slopes), dim=1))

    def first(self, amplitude: Tensor) -> Step:
        """Project the empty object; amplitudes ``(G, M, N, N)`` with the zero frequency at the corner."""
        return self._step(self._far, self._vacuum, self._vacuum_damped, self._probe, amplitude)

    def project(self, patches: Tensor, amplitude: Tensor) -> Step:
        """Project patches ``(G, M, N, N)``."""
        exits = self._probe * patches[:, :, None]
        far = torch.fft.fft2(exits, norm="ortho")
        magnitude = _power(far).sum(2, keepdim=True).sqrt()
        return self._step(far, magnitude, _damped(magnitude), exits, amplitude)

    def _step(self, far: Tensor, magnitude: Tensor, damped: Tensor, exits: Tensor, amplitude: Tensor) -> Step:
        has_no_data = amplitude[:, :, None] < 0
        target = torch.where(has_no_data, magnitude, amplitude[:, :, None])
        ratio = (target / damped).masked_fill_(has_no_data, 1.0)
        change = torch.fft.ifft2(far * ratio, norm="ortho").sub_(exits).mul_(self._back)
        return Step(change[:, :, 0] if change.shape[2] == 1 else change.sum(2), magnitude, target)

    @cached_property
    def _direction(self) -> Tensor:
        direction: Tensor = self._far / self._vacuum_damped
        return direction

    def lifted(self, amplitude: Tensor, projections: int) -> Tensor:
        """Return the patches ``(M, N, N)`` of one scan's frames after projections from the empty object, nothing else.

        The same as :meth:`first` and :meth:`project` in half of the time: no misfit, one mode at a time, and neither masks
        nor moduli of complex numbers, of which each costs as much as a transform.
        """
        light, unknown = amplitude.clamp_min(0.0), amplitude.sign().clamp_max_(0.0)  # -1 where there is no data, else 0
        probe, back = self._probe[0, 0], self._back[0, 0]
        known = torch.addcmul(light, unknown, self._vacuum_damped[0, 0], value=-1)
        patches = torch.ones(amplitude.shape, dtype=torch.complex64, device=amplitude.device)
        for mode, direction, step in zip(probe, self._direction[0, 0], back, strict=True):
            patches += torch.fft.ifft2(direction * known, norm="ortho").sub_(mode).mul_(step)
        for _ in range(projections - 1):
            exits = [mode * patches for mode in probe]
            fars = [torch.fft.fft2(wave, norm="ortho") for wave in exits]
            damped = torch.full_like(light, DARK_AMPLITUDE**2)
            for part in (part for far in fars for part in (far.real, far.imag)):
                damped.addcmul_(part, part)
            ratio = torch.addcmul(light, unknown, damped.sqrt_(), value=-1).div_(damped)
            for far, wave, step in zip(fars, exits, back, strict=True):
                patches += torch.fft.ifft2(far.mul_(ratio), norm="ortho").sub_(wave).mul_(step)
        return patches

    def counts(self, amplitude: Tensor) -> Tensor:
        """Return each frame's counts over the vacuum's ``(G, M)``; pixels without data count as the vacuum's."""
        vacuum = _power(self._far).sum(2)
        return torch.where(amplitude < 0, vacuum, amplitude.square()).sum((-2, -1)) / self.energy

    def magnitude(self, patches: Tensor) -> Tensor:
        """Return the expected amplitudes ``(G, M, N, N)`` of patches, zero frequency at the corner."""
        far = torch.fft.fft2(self._probe * patches[:, :, None], norm="ortho")
        return (_power(far).sum(2) + 1e-6).sqrt()


def _damped(magnitude: Tensor) -> Tensor:
    return (magnitude.square() + DARK_AMPLITUDE**2).sqrt()


def _power(field: Tensor) -> Tensor:
    """Return |field|^2."""
    return torch.view_as_real(field).square().sum(-1)
