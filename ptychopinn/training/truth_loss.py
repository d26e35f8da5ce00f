"""Losses of a neighbourhood whose object is known, as in simulated scans.

With w = |P|^2, O the predicted patches, T the true ones and S the patches cut from the stitched O:

* ``supervised``: rms of O e^{-i phi} - T under w, with **one** phase phi for the scan, so that patches must agree;
* ``physics``: rms of |F(P S)| - a over the rms of a, over valid pixels;
* ``agreement``: rms of O - S under w.

``supervised`` and ``agreement`` are divided by the rms of the contrast of T and of the lift's first update (contrast and
noise) together. Weak samples then count as much as strong ones, and scans with very noisy patterns do not dominate.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ptychopinn.model.network import TINY_MODULUS
from ptychopinn.training.overlap_loss import Neighbourhood

POWER_FLOOR = 1e-10
"""Lowest mean square of a wave; keeps the gradient of its square root finite at 0."""


def truth_losses(patches: Tensor, seen: Neighbourhood, truth: Tensor, contrast_floor: float) -> dict[str, Tensor]:
    """Return the losses (scalars, means over scans) of patches ``(G, M, N, N)``.

    Parameters
    ----------
    truth : (G, M, s, s) complex64
        The true patches in the lit square.
    contrast_floor
        Contrast below which a scan counts less.
    """
    optics = seen.optics
    weight = optics.lit(optics.weight)
    share = weight / (weight.sum((-2, -1), keepdim=True) * truth.shape[1])
    lit = optics.lit(patches)

    def rms(wave: Tensor) -> Tensor:
        return ((wave.real.square() + wave.imag.square()) * share).sum((1, 2, 3)).clamp_min(POWER_FLOOR).sqrt()

    def mean_of_scan(wave: Tensor) -> Tensor:
        return (wave * share).sum((1, 2, 3), keepdim=True)

    with torch.no_grad():
        contrast = rms(truth - mean_of_scan(truth))
        update = rms(optics.lit(optics.first(seen.amplitude).update))
        unit = (contrast.square() + update.square() + contrast_floor**2).sqrt() / 2**0.5
        phase = mean_of_scan(lit * truth.conj())
        phase = phase / phase.abs().clamp_min(TINY_MODULUS)
    supervised = rms(lit * phase.conj() - truth) / unit
    merged = seen.merged(patches)
    agreement = rms(lit - optics.lit(merged)) / unit
    return {"supervised": supervised.mean(), "physics": seen.misfit(merged), "agreement": agreement.mean()}
