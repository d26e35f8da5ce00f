"""SSIM, MS-SSIM and the FRC curve against other programs, whose numbers for the same pictures are recorded here."""

from __future__ import annotations

import numpy as np
import pytest

from ptychopinn.diagnosis.resolution import ring_correlation
from ptychopinn.diagnosis.similarity import ms_ssim, ssim

BY_SCIKIT_IMAGE = 0.5872711819742916
"""scikit-image 0.26.0, structural_similarity, gaussian_weights, sigma 1.5, use_sample_covariance=False."""
BY_PYTORCH_MSSSIM = 0.9558046178336906
"""pytorch-msssim 1.0.0, ms_ssim, of the first 192 x 192 pixels; its window is float32."""
RINGS = [5, 10, 15, 20, 22, 24, 26, 28, 30]
BY_FRC = [0.9975, 0.9973, 0.9904, 0.976, 0.9547, 0.898, 0.7955, 0.6596, 0.3636]
"""frc 0.1.1 (TU Delft; DIPlib), two_frc of the windowed pictures. Its ring k holds k to k + 1, ours k - 1/2 to k + 1/2."""


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    """Return two real pictures that share their smooth part."""
    rng, side = np.random.default_rng(19), 200
    axis = np.fft.fftfreq(side)
    falling = np.exp(-np.square(np.hypot(axis[:, None], axis[None, :]) / 0.08))
    shared = np.fft.ifft2(np.fft.fft2(rng.normal(size=(side, side))) * falling).real
    shared /= shared.std()
    first, second = (shared + 0.35 * rng.normal(size=(side, side)) for _ in range(2))
    return first, second


def test_ssim_is_that_of_scikit_image(pair: tuple[np.ndarray, np.ndarray]) -> None:
    assert ssim(*pair) == pytest.approx(BY_SCIKIT_IMAGE, abs=1e-12)


def test_ms_ssim_is_that_of_pytorch_msssim(pair: tuple[np.ndarray, np.ndarray]) -> None:
    first, second = (each[:192, :192] for each in pair)
    assert ms_ssim(first, second) == (pytest.approx(BY_PYTORCH_MSSSIM, abs=1e-5), 5)


def test_the_ring_correlation_is_that_of_the_package_frc(pair: tuple[np.ndarray, np.ndarray]) -> None:
    curve = ring_correlation(*(each.astype(complex) for each in pair), np.ones(pair[0].shape)).correlation
    between = (curve[RINGS] + curve[np.add(RINGS, 1)]) / 2
    np.testing.assert_allclose(between, BY_FRC, atol=0.02)


def test_small_or_even_pictures_have_no_similarity(pair: tuple[np.ndarray, np.ndarray]) -> None:
    first, second = (each[:11, :40] for each in pair)
    assert ssim(first, second) is None
    assert ms_ssim(first, second) == (None, 0)
    assert ms_ssim(pair[0][:23], pair[1][:23]) == (None, 1)
    even = np.ones((64, 64))
    assert ssim(even, even) is None
    assert ms_ssim(even, even)[0] is None
    assert ms_ssim(pair[0][:48], pair[0][:48]) == (pytest.approx(1), 3)
