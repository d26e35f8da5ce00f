"""Measures the figures of a reconstruction; :mod:`ptychopinn.diagnosis.plausibility` judges them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.diagnosis.plausibility import Figures
from ptychopinn.physics.diffraction import expected_counts

LOOKED_AT = 128
"""Frames that the figures are taken from, evenly over the scan."""
LEAST_GIVEN = 0.01
"""Share of the probe's counts that must fall on pixels with data to compare it with a frame."""
BRIGHT = 0.9
"""Quantile of the frames by counts that stands for the brighter ones."""


def figures_of(
    amplitude: Tensor,
    positions_px: NDArray[np.float64],
    probe: Tensor,
    rfactor: float | None,
    picture: Tensor | None = None,
    weight: Tensor | None = None,
    *,
    is_refined: bool = True,
    passes: int | None = None,
) -> Figures:
    """Return the figures of a reconstruction.

    Parameters
    ----------
    amplitude : (n, N, N) float32
        sqrt(counts) of all frames, or of a fair sample, zero frequency in the middle, -1 = no data.
    positions_px : (m, 2) float64
        Of all frames in the picture.
    probe : (modes, N, N) complex64
    picture, weight : (H, W) complex64, float32, optional
        The object and how well each pixel is covered.
    """
    some = amplitude[np.linspace(0, len(amplitude) - 1, min(len(amplitude), LOOKED_AT)).astype(int).tolist()]
    valid = some >= 0
    counts = torch.where(valid, some, 0.0).double().square()
    is_empty = counts.sum((1, 2)) == 0
    return Figures(
        frames=len(positions_px),
        rfactor=rfactor,
        noise_rfactor=noise_rfactor(some) if len(some) else None,
        extent_px=_extent_px(positions_px),
        masked_share=float((~valid).double().mean()) if len(some) else None,
        empty_share=float(is_empty.double().mean()) if len(some) else None,
        counts_ratio=_counts_ratio(counts, valid, probe),
        ramp_rad_px=None if picture is None or weight is None else phase_ramp(picture, weight),
        is_refined=is_refined,
        passes=passes,
    )


def _extent_px(positions_px: NDArray[np.float64]) -> float | None:
    """Return the longer side of the scan; None if no position is known."""
    known_px = positions_px[np.isfinite(positions_px).all(axis=1)]
    return float(np.ptp(known_px, axis=0).max()) if len(known_px) else None


def noise_rfactor(amplitude: Tensor) -> float:
    """Return the R-factor that Poisson noise alone gives patterns ``(n, N, N)``, about, 0 where there is no light.

    ``|sqrt(n) - sqrt(mu)|`` is 0.4 in light and sqrt(mu) in the dark.
    """
    valid = amplitude >= 0
    counts = torch.where(valid, amplitude.square(), 0.0).sum(0) / valid.sum(0).clamp_min(1)
    noise = counts.sqrt().clamp_max(0.4) * valid.sum(0)
    return float(noise.sum() / torch.where(valid, amplitude, 0.0).sum().clamp_min(1e-12))


def phase_ramp(picture: Tensor, weight: Tensor) -> float | None:
    """Return the mean phase step of a picture ``(H, W)`` per pixel, rad, the greater of both axes; None where none is covered."""
    if min(picture.shape, default=0) < 2:
        return None
    steps = []
    value = torch.where(torch.isfinite(picture.abs()), picture, 0) * (weight > BRIGHT / 3 * weight.max())
    for axis in (0, 1):
        length = picture.shape[axis] - 1
        pairs = (value.narrow(axis, 1, length) * value.narrow(axis, 0, length).conj()).sum()
        if float(pairs.abs()) == 0:
            return None
        steps.append(abs(float(torch.angle(pairs))))
    return max(steps)


def _counts_ratio(counts: Tensor, valid: Tensor, probe: Tensor) -> float | None:
    """Return the counts of the brighter frames over those of the probe on the same pixels; None where none has any."""
    empty = expected_counts(probe, torch.ones(probe.shape[-2:], dtype=torch.complex64, device=probe.device)).double()
    given = torch.where(valid, empty.to(counts.device), 0.0).sum((1, 2))
    lit = (counts.sum((1, 2)) > 0) & (given > LEAST_GIVEN * empty.sum())
    if not bool(lit.any()):
        return None
    return float(torch.quantile(counts.sum((1, 2))[lit] / given[lit], BRIGHT))
