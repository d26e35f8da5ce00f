r"""Distance of two frames, from their patches alone: masked, normalised cross-correlation at every shift.

With the lit part w of both patches A, each without its mean where they overlap, the correlation coefficient c of a shift says
by how much one patch explains the other: the gain is -sum(w w) log(1 - \|c\|^2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.positions.scan import TINY

Places = NDArray[np.float64]

LIT = 0.05
"""Share of the probe's greatest intensity from which a pixel counts in full."""
LEAST_OVERLAP = 0.25
"""Share of the lit area in which two patches must overlap."""
MOST_ALIKE = 0.998
"""Greatest square of a correlation coefficient; it keeps the gain finite."""
TOLD = 0.1
"""What a distance costs that is ``spread_px`` from the one told, over the lit area; right ones gain about 0.5 of it."""
CHUNK_PAIRS = 128
MOST_SIDE = 32
"""Greatest side of a patch, pixels; larger ones are binned."""


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Frames ``one (m,)`` and ``other (m,)``, their distance ``apart_px (m, 2)``, one less other, and how sure it is ``(m,)``."""

    one: NDArray[np.int64]
    other: NDArray[np.int64]
    apart_px: NDArray[np.float64]
    gain: NDArray[np.float64]


def lit_side(probe: Tensor) -> int:
    """Return the side of a box around the middle that holds the light, pixels, even."""
    intensity = probe.abs().square()
    n = intensity.shape[-1]
    lit = torch.nonzero(intensity > LIT * intensity.max() / 2) - n // 2
    return min(n, 2 * (int(lit.abs().max()) + 1))


def near_pairs(told_px: Places, within_px: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of frames that were told to lie within a distance of each other."""
    one, other = np.triu_indices(len(told_px), 1)
    near = np.hypot(*(told_px[one] - told_px[other]).T) < within_px
    return one[near], other[near]


def registered(patches: Tensor, probe: Tensor, told_px: Places, spread_px: float, within_px: float) -> Pairs:
    """Register all pairs of patches ``(n, N, N)`` that were told to lie within a distance, to about ``spread_px``."""
    n, half = probe.shape[-1], lit_side(probe) // 2
    box = slice(n // 2 - half, n // 2 + half)
    bin_px = -(-2 * half // MOST_SIDE)
    light = _binned(probe.abs().square()[None, box, box], bin_px)[0]
    weight = (light / (LIT * light.max())).clamp_max(1.0)
    lit = torch.complex(*(_binned(part, bin_px) for part in (patches.real[:, box, box], patches.imag[:, box, box])))
    spectra = _Spectra(_contrast(lit, weight), weight, 2 * weight.shape[-1], spread_px / bin_px)
    one, other = near_pairs(told_px, within_px)
    told = torch.from_numpy((told_px[one] - told_px[other]) / bin_px).float().to(probe.device)
    parts = [slice(begin, begin + CHUNK_PAIRS) for begin in range(0, len(one), CHUNK_PAIRS)]
    found = [spectra.best(one[part], other[part], told[part]) for part in parts]
    values = torch.cat(found).double().cpu().numpy() if found else np.zeros((0, 3))
    return Pairs(one, other, bin_px * values[:, :2], values[:, 2])


def _binned(planes: Tensor, bin_px: int) -> Tensor:
    return torch.nn.functional.avg_pool2d(planes[:, None], bin_px, ceil_mode=True)[:, 0]


def _contrast(patches: Tensor, weight: Tensor) -> Tensor:
    """Return patches without their mean, and without what all of them have in common."""
    means = (weight * patches).sum((1, 2), keepdim=True) / weight.sum()
    contrast = patches - means
    return contrast - contrast.mean(0)


class _Spectra:
    """Spectra of weights, weighted patches and their squares, padded to ``side``."""

    def __init__(self, patches: Tensor, weight: Tensor, side: int, spread_px: float) -> None:
        size = (side, side)
        self._side = side
        self._weight = torch.fft.fft2(weight, s=size)
        self._values = torch.fft.fft2(weight * patches, s=size)
        self._squares = torch.fft.fft2(weight * patches.abs().square(), s=size)
        self._overlap = torch.fft.ifft2(self._weight.conj() * self._weight).real.clamp_min(TINY)
        self._cost = TOLD * float(self._overlap.max()) / spread_px**2
        self._along = torch.fft.fftfreq(side, 1 / side, device=weight.device)
        self._is_enough = self._overlap > LEAST_OVERLAP * self._overlap.max()

    def best(self, one: NDArray[np.int64], other: NDArray[np.int64], told: Tensor) -> Tensor:
        """Return shifts (y, x) and gains ``(m, 3)``, with the shifts told ``(m, 2)``."""
        y, x = ((self._along - told[:, axis, None]).square() for axis in (0, 1))
        gain = self._gain(one.tolist(), other.tolist()) - self._cost * (y[:, :, None] + x[:, None, :])
        highest, place = torch.where(self._is_enough, gain, -torch.inf).flatten(1).max(1)
        return torch.stack([self._along[place // self._side], self._along[place % self._side], highest], dim=1)

    def _gain(self, one: list[int], other: list[int]) -> Tensor:
        values, others, overlap = self._values[one].conj(), self._values[other], self._overlap
        seen = torch.fft.ifft2(values * self._weight)
        seen_others = torch.fft.ifft2(self._weight.conj() * others)
        both = torch.fft.ifft2(
            self._squares[one].conj() * self._weight + 1j * (self._weight.conj() * self._squares[other])
        )
        alike = torch.fft.ifft2(values * others) - seen * seen_others / overlap
        power = (both.real - seen.abs().square() / overlap).clamp_min(TINY)
        power_others = (both.imag - seen_others.abs().square() / overlap).clamp_min(TINY)
        likeness = alike.abs().square() / (power * power_others)
        gain: Tensor = -overlap * torch.log1p(-likeness.clamp_max(MOST_ALIKE))
        return gain
