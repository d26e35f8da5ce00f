"""Positions found from the frames, on simulated scans whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ptychopinn.errors import GeometryError, ProbeMismatchError
from ptychopinn.positions.canvas import SearchCanvas
from ptychopinn.positions.drift_guard import steadied
from ptychopinn.positions.find import PASSES, find_positions
from ptychopinn.positions.registration import surface, without_own
from ptychopinn.positions.scan import believable, main_mode, project
from ptychopinn.simulate import Recipe, SimulatedScan
from tests.support.position_errors import apart_px, measured_scan

N, FRAMES = 64, 81


def scan(texture: str = "noise", counts: float = 1e5) -> tuple[SimulatedScan, torch.Tensor]:
    """Return a scan and its amplitudes measured at the recorded places themselves, between pixels."""
    recipe = Recipe(
        size_px=N,
        frames=FRAMES,
        counts=counts,
        phase_rad=1.5,
        overlap_ratio=0.75,
        texture=texture,
        jitter_px=0.7,
        seed=5,
    )
    return measured_scan(recipe)


def scattered(rms_px: float) -> np.ndarray:
    return np.random.default_rng(3).normal(scale=rms_px, size=(FRAMES, 2))


@pytest.mark.parametrize(("error", "most_px"), [(scattered(1.0), 0.3), (scattered(2.5), 1.2)], ids=["1", "2.5"])
def test_errors_of_single_frames_are_found(error: np.ndarray, most_px: float):
    drawn, amplitude = scan()
    told = drawn.positions_px + error
    found = find_positions(amplitude, told, drawn.probe)
    before, after = apart_px(told, drawn.positions_px), apart_px(found.positions_px, drawn.positions_px)
    assert found.is_corrected
    assert np.median(after) < most_px
    assert np.median(after) < 0.4 * np.median(before)
    assert found.found_rfactor < found.told_rfactor
    assert found.error_px(told) == pytest.approx(before.mean(), rel=0.25)


def test_scale_rotation_and_shear_are_found_through_a_known_probe():
    drawn, amplitude = scan()
    true = drawn.positions_px
    told = true + (true - true.mean(axis=0)) @ np.array([[0.06, 0.08], [-0.05, 0.03]])
    found = find_positions(amplitude, told, drawn.probe)
    assert found.is_corrected
    assert np.median(apart_px(told, true)) > 1.3
    assert np.median(apart_px(found.positions_px, true)) < 0.4


def test_the_linear_part_stays_through_an_unknown_probe():
    drawn, amplitude = scan()
    wrong = torch.polar(drawn.probe.abs(), drawn.probe.angle() * 0.6)
    told = drawn.positions_px + scattered(2.0)
    found = find_positions(amplitude, told, wrong).positions_px
    assert np.allclose(steadied(told, found), found - np.median(found - told, axis=0), atol=0.5)


def test_a_search_that_is_stopped_leaves_positions_as_told():
    drawn, amplitude = scan()
    asked: list[int] = []
    told = drawn.positions_px + scattered(1.0)
    found = find_positions(amplitude, told, drawn.probe, stop=lambda: len(asked) == 3, on_pass=lambda: asked.append(1))
    assert len(asked) == 3
    assert not found.is_corrected
    assert (found.positions_px == told).all()


def test_frames_that_came_since_are_found_from_those_found_before_in_fewer_passes():
    drawn, amplitude = scan()
    true, passes = drawn.positions_px, list[int]()
    told = true + scattered(2.0)
    start = np.where(np.arange(len(told))[:, None] < 2 * len(told) // 3, true, told)
    found = find_positions(amplitude, told, drawn.probe, start_px=start, on_pass=lambda: passes.append(1))
    assert found.is_corrected
    assert np.median(apart_px(found.positions_px, true)) < 0.5
    assert len(passes) < PASSES / 2


def test_wild_frames_are_found_and_the_others_stay():
    drawn, amplitude = scan()
    told, wild = drawn.positions_px.copy(), np.array([20, 41, 31, 60])
    told[wild] += np.array([[13.0, 0.0], [-9.0, 9.0], [0.0, -14.0], [10.0, 6.0]])
    found = find_positions(amplitude, told, drawn.probe).positions_px
    left = apart_px(found, drawn.positions_px)
    assert (left[wild] < 1.5).all()
    assert np.median(np.delete(left, wild)) < 0.6


@pytest.mark.parametrize(("texture", "counts"), [("cells", 1e4), ("shapes", 1e6)])
def test_exact_positions_stay_as_they_were_told(texture: str, counts: float):
    drawn, amplitude = scan(texture, counts)
    found = find_positions(amplitude, drawn.positions_px, drawn.probe)
    assert not found.is_corrected
    assert (found.positions_px == drawn.positions_px).all()
    assert found.error_px(drawn.positions_px) == 0.0


def test_exact_positions_stay_with_a_wrong_probe():
    drawn, amplitude = scan("cells")
    wrong = torch.polar(drawn.probe.abs(), drawn.probe.angle() * 0.8)
    assert not find_positions(amplitude, drawn.positions_px, wrong).is_corrected


def test_a_frame_is_registered_on_the_picture_of_the_others_a_shift_away():
    drawn, amplitude = scan()
    reach, row = 8, 40
    probe = drawn.probe[0]
    y, x = (np.rint(drawn.positions_px[row]).astype(int) - N // 2 + np.array([3, -4])).tolist()
    others = drawn.object[None, y - reach : y + N + reach, x - reach : x + N + reach]
    exits = probe * others[:, reach:-reach, reach:-reach]
    waves, _ = project(exits, torch.fft.ifftshift(amplitude[row : row + 1], dim=(-2, -1)))
    found = surface(others, probe, exits + 3 * (waves - exits))
    move = found.best(torch.zeros_like(found.gain))[0].numpy()
    assert np.allclose(move, [-3, 4], atol=1.0)
    assert np.allclose(found.best(1e9 * _distance(reach))[0].numpy(), 0, atol=1e-3)


def _distance(reach: int) -> torch.Tensor:
    grid = torch.arange(-reach, reach + 1).square()
    return (grid[:, None] + grid)[None].float()


def test_the_picture_of_the_others_is_one_where_no_other_lies():
    intensity, own = torch.rand(8, 8) + 0.5, torch.randn(1, 8, 8, dtype=torch.complex64)
    values, weights = torch.zeros(1, 12, 12, dtype=torch.complex64), torch.zeros(1, 12, 12)
    values[:, 2:-2, 2:-2] += own
    weights[:, 2:-2, 2:-2] += intensity
    assert torch.allclose(without_own(values, weights, own, intensity, 2), torch.ones(1, 12, 12) + 0j, atol=1e-4)


def test_windows_that_are_added_are_cut_again():
    canvas = SearchCanvas(np.array([[0.0, 0.0], [30.2, 11.7]]), 8, 4, torch.device("cpu"))
    corners = canvas.corners(np.array([[0.0, 0.0], [30.2, 11.7]]))
    plane, windows = canvas.zeros(torch.complex64), torch.randn(2, 8, 8, dtype=torch.complex64)
    canvas.add(plane, corners, windows)
    assert torch.equal(canvas.cut(plane, corners), windows)
    assert canvas.places(corners).tolist() == [[0, 0], [30, 12]]
    assert canvas.corners(np.array([[1e6, -1e6]]), 2).tolist() == [[canvas.shape[0] - 10, 2]]


def test_what_is_linear_or_common_stays_as_it_was_told():
    told = np.random.default_rng(0).uniform(0, 100, (60, 2))
    single = np.zeros((60, 2))
    single[7] = 9.0
    found = steadied(told, told * 1.03 + np.array([5.0, -2.0]) + single)
    assert np.allclose(found - told, single, atol=0.3)
    line = np.stack([np.arange(20.0), np.zeros(20)], axis=1)
    assert np.allclose(steadied(line, line + 3.0), line)


def test_frames_that_cannot_be_believed_stay_and_harm_nothing():
    drawn, amplitude = scan()
    told = drawn.positions_px + scattered(2.5)
    spoilt = amplitude.clone()
    spoilt[5], spoilt[6] = 0.0, 1e6 * spoilt[6]
    spoilt[:, :3] = -1.0
    assert set(range(FRAMES)) - set(believable(spoilt, told).tolist()) == {5, 6}
    found = find_positions(spoilt, told, drawn.probe)
    assert (found.positions_px[[5, 6]] == told[[5, 6]]).all()
    assert np.median(apart_px(found.positions_px, drawn.positions_px)) < 1.3


def test_too_few_frames_or_no_bound_change_nothing():
    drawn, amplitude = scan()
    few = find_positions(amplitude[:9], drawn.positions_px[:9], drawn.probe)
    none = find_positions(amplitude, drawn.positions_px, drawn.probe, bound_px=0)
    assert (few.positions_px == drawn.positions_px[:9]).all()
    assert not few.is_corrected
    assert not none.is_corrected


def test_what_does_not_fit_is_named():
    drawn, amplitude = scan()
    with pytest.raises(ProbeMismatchError, match="the probe is 32 px but the patterns are 64 px"):
        find_positions(amplitude, drawn.positions_px, drawn.probe[:, :32, :32])
    with pytest.raises(GeometryError, match="no photon"):
        find_positions(torch.zeros_like(amplitude), drawn.positions_px, drawn.probe)


def test_the_main_mode_has_the_photons_of_the_brightest_frame():
    drawn, amplitude = scan()
    three = torch.cat([drawn.probe, 0.3 * drawn.probe.roll(3, -1), 0.1 * drawn.probe.flip(-1)])
    mode = main_mode(three, amplitude)
    assert float(mode.abs().square().sum()) == pytest.approx(float(amplitude.square().sum((1, 2)).max()), rel=1e-4)
    likeness = (mode.conj() * drawn.probe[0]).sum().abs() / (mode.norm() * drawn.probe[0].norm())
    assert float(likeness) > 0.95
