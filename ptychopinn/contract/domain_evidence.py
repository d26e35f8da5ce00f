"""Whether patterns with fractions are photons or amplitudes, judged by their values.

A frame's sum of photons varies only with the sample's absorption, but its sum of amplitudes also with its scattering. So the
steadier of the two sums over the frames shows which the values are. Where both vary alike, the patterns are compared with the
probe's far field: photons grow in proportion to its intensity, amplitudes with its root.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

STEADY_PHOTONS, STEADY_AMPLITUDES = 0.7, 1.8
"""Ratio of the variations of both sums: photons below the first, amplitudes above the second; 24 simulated and 3 measured
scans gave 0.05 to 1.54 for photons and 0.72 to 39 for amplitudes."""
LOW_SLOPE, HIGH_SLOPE = 0.55, 0.75
"""Exponent of the far field: amplitudes below the first (0.5 without noise), photons above the second (1 without noise)."""
BRIGHT = 0.03
"""Share of the far field's maximum from which its pixels are compared; darker ones hold the sample's scattering."""
FEWEST_PIXELS = 12
"""Lowest number of bright pixels for a slope."""
FEWEST_FRAMES = 4
"""Lowest number of frames for a variation."""

Domain = Literal["counts", "amplitudes"]


def domain_by_evidence(values: NDArray[Any], probe: NDArray[Any] | None) -> tuple[Domain, str] | None:
    """Return the domain of patterns ``(n, N, N)`` with a reason; None: the values do not show it."""
    known = np.where(np.isfinite(values), np.maximum(values, 0), 0).astype(np.float64)
    ratio = steadiness_ratio(known)
    if ratio is not None and ratio < STEADY_PHOTONS:
        return "counts", "the sums of its values vary less from frame to frame than those of their squares"
    if ratio is not None and ratio > STEADY_AMPLITUDES:
        return "amplitudes", "the sums of its squares vary less from frame to frame than those of its values"
    slope = None if probe is None else far_field_slope(known, probe)
    if slope is not None and slope < LOW_SLOPE:
        return "amplitudes", "its values follow the root of the probe's far-field intensity"
    if slope is not None and slope > HIGH_SLOPE:
        return "counts", "its values follow the probe's far-field intensity"
    return None


def steadiness_ratio(values: NDArray[np.float64]) -> float | None:
    """Return the relative variation of the frames' sums over that of the roots of their sums of squares."""
    if len(values) < FEWEST_FRAMES:
        return None
    flat = values.reshape(len(values), -1)
    sums, energies = flat.sum(axis=1), np.sqrt(np.einsum("ij,ij->i", flat, flat))
    if not (sums.any() and energies.std() > 0):
        return None
    return float(sums.std() / sums.mean() / (energies.std() / energies.mean()))


def far_field_slope(values: NDArray[np.float64], probe: NDArray[Any]) -> float | None:
    """Return the exponent with which the mean pattern follows the intensity of the probe's far field."""
    side = values.shape[-1]
    if probe.ndim < 2 or probe.shape[-2:] != (side, side) or values.shape[-2] != side:
        return None
    modes = probe.reshape(-1, side, side)
    far = np.square(np.abs(np.fft.fftshift(np.fft.fft2(modes), axes=(1, 2)))).sum(axis=0)
    mean = values.mean(axis=0)
    bright = (far > BRIGHT * far.max()) & (mean > 0)
    if bright.sum() < FEWEST_PIXELS:
        return None
    x, y = np.log(far[bright]), np.log(mean[bright])
    spread = float(np.square(x - x.mean()).sum())
    return float(((x - x.mean()) * (y - y.mean())).sum()) / spread if spread > 0 else None
