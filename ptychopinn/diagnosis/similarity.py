"""SSIM and MS-SSIM of two real pictures.

SSIM (Wang et al., IEEE Trans. Image Process. 13, 600, 2004): Gaussian window of 11 pixels, standard deviation 1.5 pixels,
K1 = 0.01, K2 = 0.03. MS-SSIM (Wang, Simoncelli and Bovik, Asilomar Conf. 2003): five scales, each half the one before.
Windows that leave the picture are not used. Test: against scikit-image and torchmetrics.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

Picture = NDArray[np.floating[Any]]

RADIUS_PX, SIGMA_PX = 5, 1.5
K1, K2 = 0.01, 0.03
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the scales, the finest first."""
LEAST_SIDE_PX = 2 * RADIUS_PX + 2
"""A scale is used from this side on."""
LEAST_SCALES = 2


def ssim(one: Picture, reference: Picture, data_range: float | None = None) -> float | None:
    """Return the structural similarity of two pictures ``(H, W)``; None if they are too small or even.

    ``data_range`` is the range of values; by default that of the reference.
    """
    limits = _range(reference, data_range)
    if min(one.shape) < LEAST_SIDE_PX or limits is None:
        return None
    return _parts(one, reference, limits)[0]


def ms_ssim(one: Picture, reference: Picture, data_range: float | None = None) -> tuple[float | None, int]:
    """Return the multi-scale similarity and the number of scales.

    Five scales need a side of 192 pixels. With fewer, the exponents of those that fit are scaled to the sum 1.
    """
    limits, scales = _range(reference, data_range), _scales(min(one.shape))
    if limits is None or scales < LEAST_SCALES:
        return None, scales
    exponents = np.array(SCALE_WEIGHTS[:scales]) / sum(SCALE_WEIGHTS[:scales])
    found = 1.0
    for scale, exponent in enumerate(exponents):
        whole, structure = _parts(one, reference, limits)
        found *= max(whole if scale == scales - 1 else structure, 0.0) ** float(exponent)
        one, reference = _halved(one), _halved(reference)
    return float(found), scales


def _scales(side_px: int) -> int:
    scales = 0
    while side_px >= LEAST_SIDE_PX and scales < len(SCALE_WEIGHTS):
        scales, side_px = scales + 1, side_px // 2
    return scales


def _range(reference: Picture, data_range: float | None) -> float | None:
    found = float(np.ptp(reference)) if data_range is None and reference.size else data_range
    return found if found is not None and np.isfinite(found) and found > 0 else None


def _parts(one: Picture, other: Picture, data_range: float) -> tuple[float, float]:
    """Return the mean similarity, and its part without the means (contrast and structure)."""
    first, second = one.astype(np.float64), other.astype(np.float64)
    mean_1, mean_2 = _blurred(first), _blurred(second)
    var_1, var_2 = _blurred(first * first) - mean_1**2, _blurred(second * second) - mean_2**2
    common = _blurred(first * second) - mean_1 * mean_2
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    structure = (2 * common + c2) / (var_1 + var_2 + c2)
    whole = structure * (2 * mean_1 * mean_2 + c1) / (mean_1**2 + mean_2**2 + c1)
    return float(whole.mean()), float(structure.mean())


def _blurred(picture: Picture) -> NDArray[np.float64]:
    axis = np.arange(-RADIUS_PX, RADIUS_PX + 1)
    kernel = np.exp(-0.5 * (axis / SIGMA_PX) ** 2)
    kernel /= kernel.sum()
    inside = slice(RADIUS_PX, -RADIUS_PX)
    blurred = correlate1d(correlate1d(picture, kernel, axis=0), kernel, axis=1)
    return np.asarray(blurred[inside, inside], dtype=np.float64)


def _halved(picture: Picture) -> NDArray[np.float64]:
    """Return the means of blocks of 2 x 2 pixels; an odd last row or column is left out."""
    height, width = (side // 2 * 2 for side in picture.shape)
    blocks = picture[:height, :width].reshape(height // 2, 2, width // 2, 2)
    return np.asarray(blocks.mean(axis=(1, 3)), dtype=np.float64)
