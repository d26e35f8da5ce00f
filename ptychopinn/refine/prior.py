"""Strength of the prior: how much the refined layer trusts the network's picture and smoothness, in photons a pixel."""

from __future__ import annotations

import torch
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


def prior_strength(picture: Tensor, coverage: Tensor, peak: float) -> Tensor:
    """Return the prior's strength, photons a pixel, as a tensor without dimensions.

    A share of the photons W on a pixel, PRIOR at most; and where they tell a contrast c from noise badly (W c^2 small) as
    much as the contrast itself allows the network to be wrong, 1 / (4 c^2), DOUBT at most.
    """
    weight = coverage.sum().clamp_min(1e-12)
    mean = (picture * coverage).sum() / weight
    spread = ((picture - mean).abs().square() * coverage).sum() / weight
    contrast = (spread / mean.abs().square().clamp_min(1e-12)).clamp_min(LEAST_CONTRAST**2)
    photons = _photons(coverage, peak)
    doubt = 1 / (4 * contrast) / (1 + 2 * photons * contrast)
    return (PRIOR_SHARE * photons).clamp_max(PRIOR) + doubt.clamp_max(DOUBT)


def smoothness(picture: Tensor, coverage: Tensor, peak: float) -> Tensor:
    """Return the weight of the squared gradient, photons a pixel, as a tensor without dimensions.

    It is at most the photons there, and 0 for an empty picture.
    """
    found = steepness(picture, coverage)
    return torch.where(found < LEAST_STEEPNESS, 0.0, torch.minimum(SMOOTHNESS / found, _photons(coverage, peak)))


def _photons(coverage: Tensor, peak: float) -> Tensor:
    """Return the photons a pixel, where most of them fall."""
    return peak * (coverage.square().sum() / coverage.sum().clamp_min(1e-12))
