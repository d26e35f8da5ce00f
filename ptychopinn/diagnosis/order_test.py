"""Whether the order of the positions matters: at right positions, frames fit far better than in a random order."""

from __future__ import annotations

from torch import Tensor

SENTENCE = (
    "the frames fit hardly better at their positions than in a random order: check the order, unit and scale of the positions, "
    "the energy, and the probe with its focus"
)
LEAST_EXPLAINED = 0.25
"""Share of the misfit beyond noise in a random order that positions must take away. Of 64 simulated frames: right 0.96, energy
off by a half 0.23, probe out of focus 0.16, positions in a wrong order 0.0; of the measured star 0.75."""
FITS_EXPLAINED = 0.9
"""Share from which a whole file is not examined further: it fits. Energy off by 20 % leaves 0.85."""
LEAST_VARIANCE = 2.0
"""Variance of the amplitudes from frame to frame, in units of that of photon noise, from which the sample shows in the frames."""
NOISE_VARIANCE = 0.25
"""Variance of sqrt(counts) by photon noise, in light."""
LIT_COUNTS = 2.0
"""Mean counts of a pixel in light."""


def sample_shows(amplitude: Tensor) -> bool:
    """Return whether patterns ``(n, N, N)``, -1 = no data, differ by more than photon noise."""
    valid = (amplitude >= 0).all(0)
    lit = valid & (amplitude.clamp_min(0).square().mean(0) > LIT_COUNTS)
    if not bool(lit.any()):
        return False
    return float(amplitude[:, lit].var(0).mean()) > LEAST_VARIANCE * NOISE_VARIANCE


def explained(told: float, mixed: float, noise: float) -> float:
    """Return the share of the misfit beyond noise that positions take away.

    R-factors with positions as told, with the same in a random order, and of noise alone. 1 where there is nothing to take away.
    """
    return (mixed - told) / (mixed - noise) if mixed > noise else 1.0
