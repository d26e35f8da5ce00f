"""Ring correlation: of equal pictures, of pictures with noise above a known frequency, through gauge and shift."""

from __future__ import annotations

import numpy as np
import pytest

from ptychopinn.diagnosis.resolution import aligned, largest_square, ring_correlation
from ptychopinn.errors import GeometryError

SIDE = 128
EVERYWHERE = np.ones((SIDE, SIDE))


def white(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(SIDE, SIDE)) + 1j * rng.normal(size=(SIDE, SIDE))


def low_pass(field: np.ndarray, limit: float) -> np.ndarray:
    axis = np.fft.fftfreq(SIDE)
    return np.fft.ifft2(np.fft.fft2(field) * (np.hypot(axis[:, None], axis[None, :]) < limit))


def pair(limit: float) -> tuple[np.ndarray, np.ndarray]:
    """Return two pictures that share what lies below a frequency, and nothing above."""
    shared = low_pass(white(0), limit)
    return tuple(1 + 0.1 * (shared + (noise - low_pass(noise, limit))) for noise in (white(1), white(2)))


def test_equal_pictures_resolve_a_pixel() -> None:
    field = 1 + 0.1 * white(0)
    curve = ring_correlation(field, field, EVERYWHERE)
    np.testing.assert_allclose(curve.correlation, 1, atol=1e-6)
    assert curve.resolution_px("half-bit") == curve.resolution_px("1/7") == 1.0


@pytest.mark.parametrize(("limit", "criterion"), [(0.1, "half-bit"), (0.3, "half-bit"), (0.3, "1/7")])
def test_the_resolution_is_where_the_pictures_cease_to_agree(limit: float, criterion: str) -> None:
    curve = ring_correlation(*pair(limit), EVERYWHERE)
    assert curve.resolution_px(criterion) == pytest.approx(0.5 / limit, rel=0.12)


def test_noise_alone_has_no_resolution() -> None:
    curve = ring_correlation(1 + white(1), 1 + white(2), EVERYWHERE)
    assert curve.resolution_px("half-bit") > 10


def test_scale_phase_ramp_and_shift_change_nothing() -> None:
    one, other = pair(0.2)
    axis = np.arange(SIDE) / SIDE
    frequency = np.fft.fftfreq(SIDE)
    moved = np.fft.ifft2(np.fft.fft2(other) * np.exp(-2j * np.pi * (1.4 * frequency[:, None] - 0.7 * frequency)))
    changed = 0.7j * moved * np.exp(2j * np.pi * (0.6 * axis[:, None] - 0.3 * axis))
    here = ring_correlation(one, other, EVERYWHERE)
    there = ring_correlation(one, changed, EVERYWHERE)
    assert there.resolution_px("half-bit") == pytest.approx(here.resolution_px("half-bit"), rel=0.03)
    inner = slice(16, -16)
    error = np.abs(aligned(changed, one) - aligned(other, one))[inner, inner]
    assert error.mean() < 0.3 * np.abs(other - other.mean())[inner, inner].mean()


def test_the_largest_square_lies_inside_what_is_covered() -> None:
    covered = np.zeros((40, 50), dtype=bool)
    covered[5:35, 8:30] = True
    covered[10, 12] = False
    top, left, side = largest_square(covered)
    assert side == 22
    assert covered[top : top + side, left : left + side].all()


def test_too_little_in_common_is_refused_in_words() -> None:
    coverage = np.zeros((SIDE, SIDE))
    coverage[:10, :10] = 1
    with pytest.raises(GeometryError, match="a square of 10 px, too small"):
        ring_correlation(white(0), white(1), coverage)
    with pytest.raises(GeometryError, match="one shape"):
        ring_correlation(white(0), white(1)[1:], EVERYWHERE)
