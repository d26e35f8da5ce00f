"""Each convention against an independent NumPy float64 calculation, written out."""

import numpy as np
import pytest
import torch

from ptychopinn.detector import geometry
from ptychopinn.physics import diffraction as physics


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
    got = physics.expected_counts(torch.from_numpy(probe), torch.from_numpy(patch))
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-10)


def test_probe_energy_is_the_counts_of_a_vacuum_frame():
    probe = torch.randn(3, 16, 16, dtype=torch.complex128)
    counts = physics.expected_counts(probe, torch.ones(16, 16, dtype=torch.complex128))
    assert float(counts.sum()) == pytest.approx(float(probe.abs().square().sum()))


def test_rfactor_counts_valid_pixels_only():
    probe = torch.ones(1, 8, 8, dtype=torch.complex64)
    patch = torch.ones(1, 8, 8, dtype=torch.complex64)
    amplitude = torch.zeros(1, 8, 8)
    amplitude[0, 4, 4] = 6.0
    amplitude[0, 0, 0] = physics.NO_DATA
    numerator, denominator = physics.rfactor_parts(probe, patch, amplitude)
    assert numerator == pytest.approx(2.0, abs=1e-5)
    assert denominator == pytest.approx(6.0)


def test_subpixel_shift_moves_content_to_larger_indexes():
    field = torch.zeros(16, 16, dtype=torch.complex128)
    field[5, 6] = 1
    moved = physics.shift_subpixel(field, (2.0, -1.0))
    assert moved.abs().argmax() == 7 * 16 + 5
    twice = physics.shift_subpixel(physics.shift_subpixel(field, (0.5, 0.25)), (0.5, 0.75))
    assert twice.abs().argmax() == 6 * 16 + 7


CORNERS = {
    "identity": [[1, 2], [3, 4]],
    "fliplr": [[2, 1], [4, 3]],
    "flipud": [[3, 4], [1, 2]],
    "rot180": [[4, 3], [2, 1]],
    "transpose": [[1, 3], [2, 4]],
    "antitranspose": [[4, 2], [3, 1]],
    "rot90_cw": [[3, 1], [4, 2]],
    "rot90_ccw": [[2, 4], [1, 3]],
}


@pytest.mark.parametrize("name", geometry.ORIENTATIONS)
def test_orientations(name):
    assert geometry.orient(np.array([[1, 2], [3, 4]]), name).tolist() == CORNERS[name]


def test_crop_puts_the_beam_at_the_middle_and_refuses_to_leave_the_frame():
    frame = np.arange(100).reshape(10, 10)
    assert geometry.crop(frame, (4, 5), 4)[2, 2] == 45
    with pytest.raises(geometry.GeometryError, match="leaves the frame"):
        geometry.crop(frame, (1, 5), 4)


def test_pixels_without_data_become_minus_one():
    counts = np.array([[0, 9], [65535, 300]], dtype=np.uint16)
    mask = np.array([[True, False], [False, False]])
    assert geometry.to_amplitude(counts, mask, 200).tolist() == [[-1, 3], [-1, -1]]


def test_object_pixel_of_the_contract():
    assert geometry.object_pixel_size_m(8800.0, 1.92, 75e-6, 128) == pytest.approx(2.8178e-8, rel=1e-4)
