"""How much of slow phase the patterns feel, and steps that are longer for it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ptychopinn.refine import slow_phase
from ptychopinn.refine.refined_layer import Refiner
from ptychopinn.refine.slow_phase import REACH, SlowPhase
from ptychopinn.simulate import Recipe, SimulatedScan, simulate_scan
from tests.support.refine_tools import correlation, refined

N = 64


def found_share(exits: torch.Tensor, wave: tuple[int, int]) -> float:
    """Return 2 <(change of amplitude)^2> / (e^2 E) for a phase e cos(q r + t), over t, by differences."""
    size = 1e-3
    axis = torch.arange(N, dtype=torch.float64)
    turns = 2 * math.pi / N * (wave[0] * axis[:, None] + wave[1] * axis[None])
    plain = torch.fft.fft2(exits, norm="ortho").abs()
    change = 0.0
    for start in (0.0, math.pi / 2):
        phase = size * torch.cos(turns + start)
        change += float((torch.fft.fft2(exits * torch.exp(1j * phase), norm="ortho").abs() - plain).square().sum()) / 2
    return 2 * change / (size**2 * float(exits.abs().square().sum()))


@pytest.mark.parametrize("wave", [(0, 1), (1, 0), (2, 3), (-3, 2), (0, 7)])
def test_the_share_is_what_amplitudes_change_by(wave: tuple[int, int]):
    scan = simulate_scan(Recipe(size_px=N, frames=9, counts=1e8, phase_rad=0.7, probe_kind="aberrated", seed=3))
    y, x = scan.corners_px[4]
    exits = scan.probe[0] * scan.object[y : y + N, x : x + N]
    slow = SlowPhase()
    slow.look(torch.fft.fft2(exits, norm="ortho")[None, None], torch.ones(1, N, N))
    slow.settle()
    assert slow._stiffness is not None
    share = float(slow._stiffness[REACH + wave[0], REACH + wave[1]]) * (wave[0] ** 2 + wave[1] ** 2)
    assert share == pytest.approx(found_share(exits.to(torch.complex128), wave), rel=0.02)
    assert 0 < share < 1


def test_it_looks_now_and_then_and_when_frames_have_doubled():
    slow, asked = SlowPhase(), []
    for frames in (10, 12, 19, 20, 20, 20, 20, 20):
        asked.append(slow.is_due(frames))
        slow._passes += 1
    assert asked == [True, False, False, True, False, False, True, False]


def wide_hill() -> SimulatedScan:
    """Return a scan several times wider than its probe, of one hill of phase."""
    axis = np.linspace(-1, 1, 220, dtype=np.float32)
    hill = np.exp(-2 * (axis[:, None] ** 2 + axis[None] ** 2)).astype(np.float32)
    recipe = Recipe(size_px=N, frames=144, counts=1e6, phase_rad=1.0, absorption=0.0, overlap_ratio=0.65, seed=8)
    return simulate_scan(recipe, texture=hill)


def test_a_wide_hill_of_phase_is_found_in_few_passes(monkeypatch: pytest.MonkeyPatch):
    scan = wide_hill()
    longer = correlation(refined(scan, 5), scan)
    monkeypatch.setattr(slow_phase, "LONGEST", 1.0)
    plain = correlation(refined(scan, 5), scan)
    assert longer > 0.85
    assert 1 - longer < 0.5 * (1 - plain)


def test_steps_that_turn_back_are_halved_so_strong_phase_fits_as_well(monkeypatch: pytest.MonkeyPatch):
    scan = simulate_scan(
        Recipe(size_px=N, frames=100, counts=1e6, phase_rad=-2.0, texture="maze", probe_kind="diffuser", seed=2)
    )
    longer = refined(scan, 12)
    assert longer._passes.slow.trust < 1.0
    monkeypatch.setattr(slow_phase, "LONGEST", 1.0)
    plain = refined(scan, 12)
    assert longer.rfactor is not None
    assert plain.rfactor is not None
    assert longer.rfactor < 1.02 * plain.rfactor
    assert correlation(longer, scan) > correlation(plain, scan) - 0.005


def test_a_picture_that_grew_with_its_scan_is_as_right_as_one_of_all_frames_at_once():
    scan = simulate_scan(
        Recipe(size_px=48, frames=100, counts=1e5, phase_rad=0.8, texture="maze", probe_kind="aberrated", seed=1)
    )
    grown = Refiner(scan.probe)
    for i, (y, x) in enumerate(scan.positions_px.tolist()):
        grown.add(i, scan.amplitude[i], (y, x))
        while grown.updates < 10 * (i + 1) and grown.step():
            pass
    while grown.least_visits < 15:
        grown.step()
    assert 1 - correlation(grown, scan) < 1.5 * (1 - correlation(refined(scan, 15), scan))
