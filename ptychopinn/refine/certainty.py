r"""Reliability of a refined picture, from the patterns and the picture alone.

Two numbers of a scan:

* ``noise``: the share of photon noise in the phase of the picture. A pixel that W photons have passed has a phase variance of
  1 / (4 W |O|^2), rad^2; ``noise`` is its mean over the picture's variance of phase. A picture of pure noise has 1 or more,
  because smoothness, prior and early stopping hide a part of the noise.
* ``unexplained``: the share of the sample's effect on the patterns that the picture does not explain,

      (M(picture) - 1) / (M(empty) - 1),   M = sum (|F(P O)| - a)^2 / its expectation for Poisson noise.

  It is large where the phase is wrong, and where probe, positions or background are.

Both together give the median phase correlation with the truth of simulated scans with the same two numbers
(``deploy/training/calibrate.py``).
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

MOST_PX = 1 << 17
LIT, CLEAR, FAINT = 0.05, 0.3, 0.05
NOISE_AT_HALF, NOISE_POWER = 16.4, 0.543
UNEXPLAINED_WEIGHT, MOST_UNEXPLAINED = 0.192, 0.5
_TABLE_ROOT = 5.0
_STEPS = 256


class Certainty(NamedTuple):
    """What :func:`certainty` found; ``expected_correlation`` is 0 to 1."""

    noise: float
    unexplained: float
    expected_correlation: float


def certainty(
    value: Tensor, coverage: Tensor, peak: float, magnitude: Tensor, empty: Tensor, amplitude: Tensor
) -> Certainty | None:
    """Return how far a picture can be believed, None where nothing is covered or nothing finite comes out.

    Parameters
    ----------
    value, coverage : (H, W) complex64, (H, W) float32
        Picture, and sum of the frames' |P|^2 at each pixel in units of ``peak`` photons.
    magnitude, empty, amplitude : (B, N, N) float32
        Some frames' amplitudes, sqrt(counts): computed with the picture, with nothing, and measured; -1 = no data.
    """
    stride = max(1, math.isqrt(value.numel() // MOST_PX))
    value, photons = value[::stride, ::stride], peak * coverage[::stride, ::stride]
    total = photons.sum()
    if not float(total) > 0:
        return None
    lit = photons > LIT * photons.square().sum() / total
    lit &= photons > CLEAR * photons[lit].median()
    seen, passed = value[lit], photons[lit]
    mean = seen.sum()
    phase = torch.angle(seen * (mean.conj() / mean.abs().clamp_min(1e-12)))
    variance = float(phase.var(correction=0))
    noise = float((1 / (4 * passed * seen.abs().square().clamp_min(FAINT))).mean()) / max(variance, 1e-12)
    valid = amplitude >= 0
    scale = (empty * amplitude)[valid].sum() / empty[valid].square().sum().clamp_min(1e-12)
    left, whole = (_misfit(m, amplitude, valid) - 1 for m in (magnitude, scale * empty))
    unexplained = max(0.0, left) / max(whole, 1e-3)
    if not (math.isfinite(noise) and math.isfinite(unexplained)):
        return None
    return Certainty(noise, unexplained, expected_correlation(noise, unexplained))


def _misfit(magnitude: Tensor, amplitude: Tensor, valid: Tensor) -> float:
    """Return the square misfit over what Poisson counts leave."""
    left = (magnitude - amplitude).square()[valid].sum()
    return float(left / _variance_of_root(magnitude)[valid].sum().clamp_min(1e-12))


def _variance_of_root(magnitude: Tensor) -> Tensor:
    """Return the mean of (sqrt(n) - m)^2 for Poisson counts n of mean m^2, from a table: 1/4 for all but the smallest m."""
    table = _roots().to(magnitude)
    place = magnitude.nan_to_num(_TABLE_ROOT).clamp(0.0, _TABLE_ROOT) * (_STEPS / _TABLE_ROOT)
    low = place.long().clamp(max=_STEPS - 1)
    return torch.lerp(table[low], table[low + 1], place - low)


@cache
def _roots() -> Tensor:
    counts = torch.arange(96, dtype=torch.float64)
    root = torch.linspace(0, _TABLE_ROOT, _STEPS + 1, dtype=torch.float64)[:, None]
    logs = torch.special.xlogy(counts, root.square()) - root.square() - torch.lgamma(counts + 1)
    table: Tensor = (logs.exp() * (counts.sqrt() - root).square()).sum(1)
    return table


def expected_correlation(noise: float, unexplained: float) -> float:
    """Return the phase correlation with the truth that simulated pictures with these two have in the median."""
    wrong = UNEXPLAINED_WEIGHT * min(unexplained, MOST_UNEXPLAINED)
    noisy: float = (noise / NOISE_AT_HALF) ** NOISE_POWER
    return 1 / (1 + noisy + wrong)
