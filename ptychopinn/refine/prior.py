"""Strength of the prior: how much the refined layer trusts the network's picture and smoothness, in photons a pixel."""

from __future__ import annotations

from torch import Tensor

from ptychopinn.refine.frame_blocks import steepness

PRIOR, PRIOR_SHARE = 2.0, 0.005
"""Most of the prior, photons a pixel, and its share of the photons there."""
DOUBT = 2.0
"""Most that a weak sample in few counts adds, photons a pixel."""
LEAST_CONTRAST = 0.05
"""Contrast of a picture that is taken for empty: no sample is known to be weaker."""
SMOOTHNESS, LEAST_STEEPNESS = 0.01, 1e-6
"""Squared gradient that the smoothness prior costs in all, photons a pixel, and the gradient of an empty picture."""


def prior_strength(picture: Tensor, coverage: Tensor, peak: float) -> float:
    """Return the prior's strength, photons a pixel.

    A share of the photons W on a pixel, PRIOR at most; and where they tell a contrast c from noise badly (W c^2 small) as
    much as the contrast itself allows the network to be wrong, 1 / (4 c^2), DOUBT at most.
    """
    weight = coverage.sum().clamp_min(1e-12)
    mean = (picture * coverage).sum() / weight
    spread = ((picture - mean).abs().square() * coverage).sum() / weight
    contrast = max(float(spread / mean.abs().square().clamp_min(1e-12)), LEAST_CONTRAST**2)
    photons = _photons(coverage, peak)
    return min(PRIOR, PRIOR_SHARE * photons) + min(DOUBT, 1 / (4 * contrast) / (1 + 2 * photons * contrast))


def smoothness(picture: Tensor, coverage: Tensor, peak: float) -> float:
    """Return the weight of the squared gradient, photons a pixel: at most the photons there, 0 for an empty picture."""
    found = steepness(picture, coverage)
    return 0.0 if found < LEAST_STEEPNESS else min(SMOOTHNESS / found, _photons(coverage, peak))


def _photons(coverage: Tensor, peak: float) -> float:
    """Return the photons a pixel, where most of them fall."""
    return peak * float(coverage.square().sum() / coverage.sum().clamp_min(1e-12))
