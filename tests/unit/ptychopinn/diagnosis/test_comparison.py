"""Comparison: registration, ramp, scale; numbers only where they mean something."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from ptychopinn.api import Picture, compare
from ptychopinn.diagnosis.comparison import PlacedPicture, compare_pictures, position_errors_px
from ptychopinn.errors import GeometryError

SIDE = 160


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    """Return an object with a phase of 1 rad rms."""
    phase = gaussian_filter(np.random.default_rng(0).normal(size=(SIDE, SIDE)), 4)
    phase /= phase.std()
    return np.exp((1j - 0.1) * np.clip(phase, -3, 3))


def moved(field: np.ndarray, shift_px: tuple[float, float], ramp: tuple[float, float]) -> np.ndarray:
    """Return a field moved periodically, with a ramp, another scale and phase."""
    y, x = (np.fft.fftfreq(side) for side in field.shape)
    turned = np.fft.fft2(field) * np.exp(-2j * np.pi * (y[:, None] * shift_px[0] + x[None, :] * shift_px[1]))
    rows, columns = np.indices(field.shape)
    return np.fft.ifft2(turned) * 3 * np.exp(1j * (2 + ramp[0] * rows + ramp[1] * columns))


@pytest.mark.parametrize(
    ("shift_px", "ramp"),
    [((0.0, 0.0), (0.0, 0.0)), ((1.4, -2.3), (0.02, -0.05)), ((9.6, -7.4), (0.1, 0.3)), ((-18.0, 14.5), (-0.4, 0.0))],
)
def test_shift_ramp_scale_and_phase_are_found_and_taken_off(
    truth: np.ndarray, shift_px: tuple[float, float], ramp: tuple[float, float]
) -> None:
    rim = slice(20, SIDE - 20)
    other = moved(truth, shift_px, ramp)[rim, rim]
    placed = PlacedPicture(other, np.ones(other.shape, dtype=bool), (20.0, 20.0))
    found = compare_pictures(placed, PlacedPicture(truth, np.ones(truth.shape, dtype=bool)), 1e-8)
    np.testing.assert_allclose(found.shift_px, np.negative(shift_px), atol=0.02)
    np.testing.assert_allclose(found.ramp_rad_px, np.negative(ramp), atol=1e-4)
    assert min(found.phase_correlation, found.ssim, found.ms_ssim) > 0.995
    assert 10 <= found.frc_nm < 11  # the spline smooths the finest ring
    assert found.difference < 0.1


def test_noise_lowers_every_figure(truth: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(2, SIDE, SIDE))
    found = [compare(truth + level * (noise[0] + 1j * noise[1]), truth) for level in (0.05, 0.5)]
    for key in ("phase_correlation", "amplitude_correlation", "ssim", "ms_ssim", "amplitude_ssim"):
        assert getattr(found[0], key) > getattr(found[1], key) + 0.03, key
    assert found[0].difference == pytest.approx(0.05 * np.sqrt(2), rel=0.1)
    assert 1 < found[0].frc_px < found[1].frc_px
    assert found[0].frc_nm is None


def test_a_picture_is_compared_where_it_is_covered_well(truth: np.ndarray) -> None:
    rng = np.random.default_rng(2)
    weight = np.full((SIDE, SIDE), 1e-3, dtype=np.float32)
    weight[40:120, 30:130] = 1
    wrong = np.where(weight > 0.5, truth, np.exp(6j * rng.normal(size=truth.shape))).astype(np.complex64)
    wrong[50, 50] = np.nan
    found = compare(Picture(wrong, weight, (0, 0), 9), truth)
    assert found.pixels == 80 * 100 - 1
    assert found.phase_correlation > 0.999
    placed = compare(Picture(wrong[30:, 20:], weight[30:, 20:], (30, 20), 9), truth)
    assert placed.phase_correlation == pytest.approx(found.phase_correlation, abs=1e-6)


def test_figures_without_a_meaning_are_absent(truth: np.ndarray) -> None:
    found = compare(np.ones((SIDE, SIDE), dtype=complex), truth)
    assert found.phase_correlation is None
    assert found.amplitude_correlation is None
    assert found.frc_px is None
    flat = compare(np.full((40, 40), 2j), np.full((40, 40), 1j))
    assert flat.difference == pytest.approx(0, abs=1e-9)
    assert flat.ssim is None
    unlike = compare(np.exp(1j * np.random.default_rng(3).normal(size=truth.shape)), truth)
    assert all(np.isfinite(v) for v in asdict(unlike).values() if isinstance(v, float))


def test_pictures_that_cannot_be_compared_are_refused_in_words(truth: np.ndarray) -> None:
    with pytest.raises(GeometryError, match="no square of 16 x 16 px in common"):
        compare(truth[:10], truth)
    with pytest.raises(GeometryError, match="no place in common"):
        compare(Picture(truth, np.ones(truth.shape), (500, 0), 1), truth)
    with pytest.raises(GeometryError, match="the truth is float64 of shape"):
        compare(truth, truth.real)


def test_position_errors_leave_out_a_shift_and_an_affine_map() -> None:
    rng = np.random.default_rng(4)
    true = rng.uniform(0, 200, (80, 2))
    bent = true @ np.array([[1.02, 0.01], [-0.01, 0.99]]) + (5, -3)
    plain, affine = position_errors_px(bent, true)
    assert plain > 0.5
    assert affine == pytest.approx(0, abs=1e-9)
    noisy = bent + rng.normal(size=bent.shape)
    assert position_errors_px(noisy, true)[1] == pytest.approx(np.sqrt(np.pi / 2), rel=0.15)
    assert position_errors_px(true + 7, true)[0] == pytest.approx(0, abs=1e-12)
    assert position_errors_px(true[:1], true[:1]) == (None, None)
    assert position_errors_px(true[:3] + 1, true[:3])[1] is None
    lost = np.where(np.arange(80)[:, None] == 5, np.nan, noisy)
    assert position_errors_px(lost, true)[1] == pytest.approx(np.sqrt(np.pi / 2), rel=0.15)
