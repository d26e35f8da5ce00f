"""The frames of a scan for the search: only plausible ones, and one mode of the probe."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.physics.diffraction import intensity, vacuum_counts
from ptychopinn.physics.scan_check import MOST_BRIGHT

TINY = 1e-6
"""Amplitude below which a computed pixel has no phase, sqrt(photons)."""
KNOWN_PROBE = 0.15
"""By how much of itself a probe may change and still tell scale, rotation and shear. The guess for the measured spiral changes by
0.31, and 0.05 is the most in simulated scans through the true probe."""


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """Amplitudes ``(n, N, N)``, zero frequency at the corner, -1 = no data; ``told_px (n, 2)``; ``probe (N, N)``."""

    amplitude: Tensor
    told_px: NDArray[np.float64]
    probe: Tensor

    @property
    def size_px(self) -> int:
        """Side of a pattern."""
        return self.amplitude.shape[-1]

    def __len__(self) -> int:
        return len(self.amplitude)

    def knows(self, probe: Tensor) -> bool:
        """Return whether a probe is still the given one, but for a factor."""
        likeness = float((self.probe.conj() * probe).sum().abs() / (self.probe.norm() * probe.norm()).clamp_min(TINY))
        return likeness**2 > 1 - KNOWN_PROBE**2


def believable(amplitude: Tensor, positions_px: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the rows of frames that have a finite position, light, and no impossible brightness."""
    sums = amplitude.clamp_min(0).sum((1, 2)).double().cpu().numpy()
    usable = np.isfinite(positions_px).all(axis=1) & np.isfinite(sums) & (sums > 0)
    if usable.any():
        usable &= sums < MOST_BRIGHT * np.median(sums[usable])
    return np.flatnonzero(usable)


def main_mode(probe: Tensor, amplitude: Tensor) -> Tensor:
    """Return the strongest of a probe's orthogonal modes ``(N, N)``, with the photons of the brightest frame.

    Further modes make up for wrong positions: with them a blurred picture explains the patterns, and frames stay.
    """
    flat = probe.flatten(1)
    _, vectors = torch.linalg.eigh((flat @ flat.conj().T).cpu())
    mode = (vectors[:, -1].conj().to(flat.device) @ flat).view(probe.shape[1:])
    energy = intensity(mode).sum().clamp_min(TINY)
    found: Tensor = mode * (vacuum_counts(amplitude) / float(energy)) ** 0.5
    return found


def project(exits: Tensor, amplitude: Tensor) -> tuple[Tensor, Tensor]:
    """Return exit waves ``(n, N, N)`` with the measured amplitudes, and the computed amplitudes."""
    far = torch.fft.fft2(exits, norm="ortho")
    magnitude = intensity(far).sqrt()
    ratio = torch.where(amplitude < 0, 1.0, amplitude / magnitude.clamp_min(TINY))
    return torch.fft.ifft2(far * ratio, norm="ortho"), magnitude


def misfits(magnitude: Tensor, amplitude: Tensor) -> Tensor:
    """Return each frame's R-factor ``(n,)``."""
    valid = amplitude >= 0
    left = torch.where(valid, (magnitude - amplitude).abs(), 0.0).sum((1, 2))
    return left / torch.where(valid, amplitude, 0.0).sum((1, 2)).clamp_min(TINY)


def noise_square(amplitude: Tensor) -> float:
    """Return the square misfit that photons leave: 1/4 a pixel, and the mean counts where they are fewer."""
    valid = amplitude >= 0
    frames = valid.sum(0)
    counts = torch.where(valid, amplitude, 0.0).square().sum(0) / frames.clamp_min(1)
    return float((counts.clamp_max(0.25) * frames).sum())
