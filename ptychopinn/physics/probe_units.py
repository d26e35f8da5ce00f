"""Probes of other programs in arbitrary units: one rule for all entry points by which they become photons."""

from __future__ import annotations

import torch
from torch import Tensor

from ptychopinn.physics.diffraction import vacuum_counts
from ptychopinn.physics.unit_ratio import UNIT_RATIO


def photon_factor(probe: Tensor, amplitude: Tensor) -> float:
    """Return the factor that brings a probe ``(modes, N, N)`` into photons; 1 if it is right within an order of magnitude.

    Parameters
    ----------
    amplitude : (n, N, N)
        sqrt(photons), -1 = no data. The brightest frame gives the photons; without any the factor is 1.
    """
    energy = float(probe.abs().to(torch.float64).square().sum())
    brightest = vacuum_counts(amplitude)
    if not (energy > 0 and brightest > 0) or 1 / UNIT_RATIO < energy / brightest < UNIT_RATIO:
        return 1.0
    return float((brightest / energy) ** 0.5)


def unit_sentence(probe: Tensor, amplitude: Tensor) -> str:
    """Return a sentence on a probe in other units."""
    energy = float(probe.abs().to(torch.float64).square().sum())
    return (
        f"the probe holds {energy:.3g} photons but the brightest frame {vacuum_counts(amplitude):.3g}; "
        "the probe was scaled to the brightest frame"
    )
