"""Frames between the pixels and corrected positions, on simulated scans whose truth is known."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from ptychopinn.physics.diffraction import expected_counts, shift_subpixel
from ptychopinn.refine import position_offsets as offsets
from ptychopinn.refine import subpixel_shifts as shifts
from ptychopinn.refine.position_offsets import Offset
from ptychopinn.refine.refined_layer import Refiner
from ptychopinn.refine.subpixel_shifts import STEPS, ProbeDescent, ShiftedProbes, split
from ptychopinn.simulate import Recipe, SimulatedScan, simulate_scan
from ptychopinn.training.heldout import phase_correlation
from ptychopinn.workflow.inference import rfactor

N, FRAMES = 64, 100


@cache
def scan(counts: float) -> tuple[SimulatedScan, torch.Tensor]:
    """Return a scan and its amplitudes measured at the recorded places themselves, not at whole pixels near them."""
    drawn = simulate_scan(Recipe(size_px=N, frames=FRAMES, counts=counts, phase_rad=1.5, jitter_px=0.7, seed=5))
    generator = torch.Generator().manual_seed(5)
    amplitudes = []
    for position in drawn.positions_px:
        y, x = np.round(position).astype(int)
        probe = shift_subpixel(drawn.probe, (position[0] - y, position[1] - x))
        patch = drawn.object[y - N // 2 : y + N // 2, x - N // 2 : x + N // 2]
        amplitudes.append(torch.poisson(expected_counts(probe, patch), generator=generator).sqrt())
    return drawn, torch.stack(amplitudes)


def wrong_positions(rms_px: float) -> np.ndarray:
    true = scan(1e5)[0].positions_px
    error = np.random.default_rng(3).normal(scale=rms_px, size=true.shape)
    return true + error - error.mean(axis=0)


def refined(counts: float, positions: np.ndarray, passes: int, **options) -> Refiner:
    drawn, amplitude = scan(counts)
    refiner = Refiner(drawn.probe, **options)
    for i, (y, x) in enumerate(positions.tolist()):
        refiner.add(i, amplitude[i], (y, x))
    while refiner.least_visits < passes:
        assert refiner.step() > 0
    return refiner


@pytest.fixture(scope="module")
def corrected(placement: None) -> Refiner:
    """Positions wrong by a pixel, corrected; only read by the tests."""
    return refined(1e5, wrong_positions(1.0), 60, position_bound_px=4.0)


def correlation(refiner: Refiner) -> float:
    value, coverage = refiner.read()
    y, x = refiner.origin_px
    truth = torch.ones_like(value)
    here = scan(1e5)[0].object[max(y, 0) : y + value.shape[0], max(x, 0) : x + value.shape[1]]
    truth[max(-y, 0) : max(-y, 0) + here.shape[0], max(-x, 0) : max(-x, 0) + here.shape[1]] = here
    return phase_correlation(value, truth, coverage > 0.3 * coverage.max())


def rms(error: np.ndarray) -> float:
    return float(np.sqrt(np.square(error - error.mean(axis=0)).mean()))


def test_frames_between_the_pixels_give_a_better_picture_than_rounded_ones():
    positions = scan(1e5)[0].positions_px
    rounded, between = (refined(1e5, positions, 30, is_subpixel=is_subpixel) for is_subpixel in (False, True))
    assert between.rfactor < 0.93 * rounded.rfactor
    assert 1 - correlation(between) < 0.6 * (1 - correlation(rounded))


def test_positions_wrong_by_a_pixel_are_found_again(corrected: Refiner):
    true, wrong = scan(1e5)[0].positions_px, wrong_positions(1.0)
    plain = refined(1e5, wrong, 30, is_subpixel=True)
    left = wrong + corrected.offsets_px(range(FRAMES)) - true
    left = np.abs(left - np.median(left, axis=0)).max(axis=1)
    from_middle = np.abs(true - true.mean(axis=0))
    is_inside = (from_middle < 0.9 * from_middle.max(axis=0)).all(axis=1)  # a frame at the rim may settle elsewhere
    assert rms(wrong - true) > 0.9
    assert is_inside.sum() > 50
    assert np.quantile(left[is_inside], 0.95) < 0.15
    assert np.median(left) < 0.06
    assert correlation(plain) < 0.92
    assert correlation(corrected) > 0.98
    assert not plain.offsets_px(range(FRAMES)).any()


@pytest.mark.parametrize("counts", [1e3, 1e5])
def test_exact_positions_stay(counts: float):
    positions = scan(counts)[0].positions_px
    plain = refined(counts, positions, 25, is_subpixel=True)
    corrected = refined(counts, positions, 25, position_bound_px=3.0)
    assert rms(corrected.offsets_px(range(FRAMES))) < 0.05
    assert correlation(corrected) > correlation(plain) - 0.01


def test_no_position_is_corrected_beyond_the_bound():
    corrected = refined(1e5, wrong_positions(1.0), 20, position_bound_px=0.3)
    moved = corrected.offsets_px(range(FRAMES))
    assert np.abs(moved).max() == pytest.approx(0.3)
    assert (np.abs(moved) <= 0.3).all()


def test_the_rfactor_is_that_of_the_frames_between_the_pixels_where_they_were_found(corrected: Refiner):
    drawn, amplitude = scan(1e5)
    wrong = wrong_positions(1.0)
    found = rfactor(drawn.probe, corrected, amplitude, wrong + corrected.offsets_px(range(FRAMES)))
    assert found == pytest.approx(corrected.rfactor, rel=0.03)
    assert rfactor(drawn.probe, corrected, amplitude, wrong) > 1.2 * found


def test_coverage_moves_with_the_frames(corrected: Refiner):
    intensity = scan(1e5)[0].probe.abs().square().sum(0)
    coverage = corrected.read()[1]
    assert float(coverage.min()) >= 0
    assert float(coverage.sum()) == pytest.approx(FRAMES * float(intensity.sum() / intensity.max()), rel=1e-3)


def test_corrections_of_frames_that_have_left_the_buffer_are_kept():
    drawn, amplitude = scan(1e5)
    wrong = wrong_positions(1.0)
    refiner = refined(1e5, wrong, 20, position_bound_px=4.0, buffer_bytes=FRAMES * N * N * 4)
    before = refiner.offsets_px([0, 1, 2])
    for i in range(3):
        refiner.add(FRAMES + i, amplitude[i], (float(wrong[i][0]), float(wrong[i][1])))
    assert np.allclose(refiner.offsets_px([0, 1, 2]), before, atol=1e-6)
    assert np.abs(before).max() > 0.1


def test_the_probe_follows_between_the_pixels_too():
    drawn, amplitude = scan(1e5)
    wrong = torch.polar(drawn.probe.abs(), drawn.probe.angle() * 0.9)
    left = []
    for update_probe in (False, True):
        refiner = Refiner(wrong, update_probe=update_probe, is_subpixel=True)
        for i, (y, x) in enumerate(drawn.positions_px.tolist()):
            refiner.add(i, amplitude[i], (y, x))
        while refiner.least_visits < 20:
            refiner.step()
        left.append(refiner.rfactor)
    assert left[1] < 0.9 * left[0]


def test_a_moved_probe_is_the_probe_moved_and_its_descent_is_moved_back():
    probe = scan(1e5)[0].probe
    probes = ShiftedProbes(probe)
    whole, shift = split((10.3, -2.6))
    assert (whole, shift) == ((10, -3), (2, 3))
    moved = probes.probe_at(shift)
    assert torch.allclose(moved, shift_subpixel(probe, (2 / STEPS, 3 / STEPS)), atol=1e-4)
    descent = ProbeDescent()
    descent.add([shift, (0, 0)], torch.stack([moved, probe]))
    assert torch.allclose(descent.total(), 2 * probe, atol=1e-3)


def test_short_memory_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    positions = wrong_positions(1.0)
    plenty = refined(1e5, positions, 8, position_bound_px=2.0)
    monkeypatch.setattr(shifts, "MOST_BYTES", 1)
    short = refined(1e5, positions, 8, position_bound_px=2.0)
    assert short.rfactor == pytest.approx(plenty.rfactor, rel=1e-4)


def test_frames_that_have_not_moved_have_the_bounds_prior():
    new, old = [Offset() for _ in range(5)], [Offset(moves=offsets.TOLD_MOVES) for _ in range(20)]
    widths = offsets._widths_px([*new, *old], np.full((25, 2), 0.2), 3.0)
    assert np.allclose(widths[:5], 1.0)
    assert np.allclose(widths[5:], 0.2)
