"""Propagation of probes against the closed form of a Gaussian beam."""

from __future__ import annotations

import numpy as np
import pytest

from daemon.inspection.probes import difference, propagated

WAVELENGTH_M, PIXEL_M, SIDE = 1.4e-10, 20e-9, 256


def gaussian(waist_m: float) -> np.ndarray:
    y, x = (np.indices((SIDE, SIDE)) - SIDE // 2) * PIXEL_M
    return np.exp(-(y**2 + x**2) / waist_m**2).astype(np.complex64)[None]


@pytest.mark.parametrize("distance_m", [1e-3, -1e-3, 2e-3])
def test_a_gaussian_beam_spreads_as_it_should(distance_m: float) -> None:
    waist_m = 0.4e-6
    far = propagated(gaussian(waist_m), PIXEL_M, WAVELENGTH_M, distance_m)[0]
    rayleigh_m = np.pi * waist_m**2 / WAVELENGTH_M
    width_m = waist_m * np.sqrt(1 + (distance_m / rayleigh_m) ** 2)
    y = (np.arange(SIDE) - SIDE // 2) * PIXEL_M
    wanted = waist_m / width_m * np.exp(-(y**2) / width_m**2)
    np.testing.assert_allclose(np.abs(far[SIDE // 2]), wanted, atol=2e-3)


def test_there_and_back_is_nothing() -> None:
    waves = gaussian(0.5e-6) * np.exp(1j * np.linspace(0, 1, SIDE)).astype(np.complex64)
    back = propagated(propagated(waves, PIXEL_M, WAVELENGTH_M, 3e-4), PIXEL_M, WAVELENGTH_M, -3e-4)
    np.testing.assert_allclose(back, waves, atol=1e-5)


def test_a_global_phase_is_no_difference() -> None:
    waves = gaussian(0.5e-6)
    assert np.abs(difference(waves * np.complex64(np.exp(1.1j)), waves)).max() < 1e-6
    assert np.abs(difference(2 * waves, waves)).max() == pytest.approx(1, abs=1e-5)
