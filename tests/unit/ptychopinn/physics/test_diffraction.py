"""Each convention against an independent NumPy float64 calculation, written out."""

import numpy as np
import pytest
import torch

from ptychopinn.physics import diffraction


def dft_middle(field: np.ndarray) -> np.ndarray:
    """Orthonormal DFT, zero frequency at N/2, by explicit sums."""
    n = len(field)
    k = np.arange(n) - n // 2
    kernel = np.exp(-2j * np.pi * np.outer(k, np.arange(n)) / n) / np.sqrt(n)
    return kernel @ field @ kernel.T


def test_expected_counts_sum_modes_incoherently():
    rng = np.random.default_rng(0)
    probe = rng.normal(size=(2, 8, 8)) + 1j * rng.normal(size=(2, 8, 8))
    patch = rng.normal(size=(8, 8)) + 1j * rng.normal(size=(8, 8))
    want = sum(abs(dft_middle(mode * patch)) ** 2 for mode in probe)
    got = diffraction.expected_counts(torch.from_numpy(probe), torch.from_numpy(patch))
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-10)


def test_probe_energy_is_the_counts_of_a_vacuum_frame():
    probe = torch.randn(3, 16, 16, dtype=torch.complex128)
    counts = diffraction.expected_counts(probe, torch.ones(16, 16, dtype=torch.complex128))
    assert float(counts.sum()) == pytest.approx(float(probe.abs().square().sum()))


def test_rfactor_counts_valid_pixels_only():
    probe = torch.ones(1, 8, 8, dtype=torch.complex64)
    patch = torch.ones(1, 8, 8, dtype=torch.complex64)
    amplitude = torch.zeros(1, 8, 8)
    amplitude[0, 4, 4] = 6.0
    amplitude[0, 0, 0] = diffraction.NO_DATA
    numerator, denominator = diffraction.rfactor_parts(probe, patch, amplitude)
    assert numerator == pytest.approx(2.0, abs=1e-5)
    assert denominator == pytest.approx(6.0)


def test_subpixel_shift_moves_content_to_larger_indexes():
    field = torch.zeros(16, 16, dtype=torch.complex128)
    field[5, 6] = 1
    moved = diffraction.shift_subpixel(field, (2.0, -1.0))
    assert moved.abs().argmax() == 7 * 16 + 5
    twice = diffraction.shift_subpixel(diffraction.shift_subpixel(field, (0.5, 0.25)), (0.5, 0.75))
    assert twice.abs().argmax() == 6 * 16 + 7
