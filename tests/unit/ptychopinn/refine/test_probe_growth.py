"""A probe gets more modes, or changes during the scan, where frames held out fit better; else it is refined as without trials."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ptychopinn.physics.diffraction import expected_counts, propagate
from ptychopinn.refine import moving_probe
from ptychopinn.refine.probe_modes import orthogonal_modes, with_mode_count
from ptychopinn.refine.refined_layer import Refiner
from ptychopinn.refine.scan_time import ORDERS, ScanTime
from ptychopinn.simulate import Recipe, SimulatedScan, simulate_scan

N = 32


@pytest.fixture(autouse=True)
def _small_scans_move_the_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving_probe, "PROBE_FRAMES", 10)


def recipe(modes: int = 1) -> Recipe:
    return Recipe(size_px=N, frames=64, counts=1e6, phase_rad=-1.5, modes=modes, overlap_ratio=0.75, seed=6)


def refined(
    scan: SimulatedScan, amplitude: torch.Tensor, visits: int, *, modes: bool = False, drift: bool = False
) -> Refiner:
    """Return a refiner after some passes from the brightest mode of a scan's probe."""
    given = with_mode_count(scan.probe, 1)
    refiner = Refiner(given, update_probe=True, finds_modes=modes, follows_drift=drift)
    for index, (y, x) in enumerate(scan.positions_px.tolist()):
        refiner.add(index, amplitude[index], (y, x))
    while refiner.least_visits < visits:
        refiner.step()
    return refiner


def partially_coherent() -> SimulatedScan:
    """Return a scan with a beam of two modes that differ in shape."""
    modes = orthogonal_modes(simulate_scan(recipe()).probe)
    y = torch.arange(N) - N // 2
    other = modes[0] * y[:, None]
    beam = torch.stack([0.8 * modes[0] / modes[0].norm(), 0.6 * other / other.norm()])
    return simulate_scan(recipe(), probe=beam)


def turning_beam() -> tuple[SimulatedScan, torch.Tensor]:
    """Return a scan, and its amplitudes with a beam that turns meanwhile: its pattern moves by 2 px."""
    scan = simulate_scan(recipe())
    ramp = 2j * np.pi * (torch.arange(N) - N // 2) / N
    patterns = [
        expected_counts(scan.probe * torch.exp(t * ramp), scan.object[y : y + N, x : x + N])
        for t, (y, x) in zip(np.linspace(-1, 1, len(scan.amplitude)), scan.true_corners_px.tolist(), strict=True)
    ]
    return scan, torch.stack(patterns).sqrt()


def test_a_beam_of_one_mode_that_is_steady_is_refined_as_without_trials() -> None:
    scan = simulate_scan(recipe())
    plain, tried = refined(scan, scan.amplitude, 15), refined(scan, scan.amplitude, 15, modes=True, drift=True)
    assert len(tried.trials) == 2
    assert all(gain < 0.003 for _, gain, _ in tried.trials)
    torch.testing.assert_close(tried.read()[0], plain.read()[0], rtol=0, atol=0)
    torch.testing.assert_close(tried.probe, plain.probe, rtol=0, atol=0)


def test_the_probe_follows_while_frames_come() -> None:
    scan = simulate_scan(recipe())
    refiner = Refiner(scan.probe, update_probe=True)
    for index, (y, x) in enumerate(scan.positions_px[:24].tolist()):
        refiner.add(index, scan.amplitude[index], (y, x))
        while refiner.visits(0) == index:  # a pass, after which the next frame begins another block
            refiner.step()
    assert not torch.equal(refiner.probe, scan.probe)


def test_a_second_mode_is_found() -> None:
    scan = partially_coherent()
    one, found = refined(scan, scan.amplitude, 30), refined(scan, scan.amplitude, 30, modes=True)
    assert len(found.probe) >= 2
    assert found.rfactor < 0.9 * one.rfactor
    assert found.setbacks == 0


def test_a_beam_that_turns_is_followed() -> None:
    scan, amplitude = turning_beam()
    steady, followed = refined(scan, amplitude, 30), refined(scan, amplitude, 30, drift=True)
    assert followed.rfactor < 0.8 * steady.rfactor
    far = propagate(followed.probes_at([(0.0, 0.0)] * 2, [0, 63])).abs().square().sum((1, 2))
    first, last = ((lit * torch.arange(N)).sum() / lit.sum() for lit in far)
    assert float(last - first) > 1


def test_fields_of_a_wider_time_give_the_same_probes_and_later_frames_the_last_one() -> None:
    time = ScanTime(10, 100)
    wider = time.wider(10, 120)
    assert wider.covers(10, 120)
    assert not wider.covers(9, 120)
    fields = np.random.default_rng(0).normal(size=(ORDERS, 3)) * [[1.0], [0.1], [0.01]]
    before, after = (
        t.weights([10, 40, 70, 100]) @ f for t, f in ((time, fields), (wider, time.change_to(wider) @ fields))
    )
    np.testing.assert_allclose(after, before, atol=0.1)
    beyond = wider.weights([130]) @ time.change_to(wider) @ fields
    np.testing.assert_allclose(beyond, before[-1:], atol=0.1)
