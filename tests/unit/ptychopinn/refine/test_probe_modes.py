"""Modes of the probe: the same patterns, orthogonal and ordered; more modes fit a partially coherent beam better."""

from __future__ import annotations

import pytest
import torch

from ptychopinn.physics.diffraction import expected_counts
from ptychopinn.refine import moving_probe
from ptychopinn.refine.probe_modes import orthogonal_modes, with_mode_count
from ptychopinn.refine.refined_layer import Refiner
from ptychopinn.simulate import Recipe, simulate_scan

N = 32


def random_modes(count: int) -> torch.Tensor:
    return torch.randn(count, N, N, dtype=torch.complex64, generator=torch.Generator().manual_seed(count))


def products(probe: torch.Tensor) -> torch.Tensor:
    flat = probe.flatten(1)
    return flat @ flat.mH


def test_orthogonal_modes_are_ordered_and_give_the_same_patterns() -> None:
    probe = random_modes(3)
    probe[1] = probe[0] + 0.1 * probe[1]
    found = orthogonal_modes(probe)
    energies = products(found).diagonal().real
    assert energies.tolist() == sorted(energies.tolist(), reverse=True)
    assert float((products(found) - torch.diag(products(found).diagonal())).abs().max()) < 1e-4 * float(energies[0])
    patch = random_modes(1)
    torch.testing.assert_close(expected_counts(found, patch), expected_counts(probe, patch), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_a_probe_gets_any_number_of_modes_and_keeps_its_energy(count: int) -> None:
    probe = random_modes(2)
    found = with_mode_count(probe, count)
    assert found.shape == (count, N, N)
    assert float(found.abs().square().sum()) == pytest.approx(float(probe.abs().square().sum()), rel=1e-4)
    off = products(found) - torch.diag(products(found).diagonal())
    assert float(off.abs().max()) < 1e-3 * float(products(found).abs().max()) or count == 2


def rfactor(modes: int, monkeypatch: pytest.MonkeyPatch) -> tuple[float, torch.Tensor]:
    """Return R and the probe after some passes from the brightest mode of a beam that has two."""
    monkeypatch.setattr(moving_probe, "PROBE_FRAMES", 10)
    recipe = Recipe(size_px=N, frames=64, counts=1e6, phase_rad=0.8, modes=2, seed=4)
    first, second = (mode / mode.abs().square().sum().sqrt() for mode in orthogonal_modes(simulate_scan(recipe).probe))
    scan = simulate_scan(recipe, probe=torch.stack([0.8 * first, 0.6 * second]) * 1e3)
    brightest = with_mode_count(scan.probe, 1)
    refiner = Refiner(with_mode_count(brightest, modes), update_probe=True)
    for index, (pattern, (y, x)) in enumerate(zip(scan.amplitude, scan.positions_px.tolist(), strict=True)):
        refiner.add(index, pattern, (y, x))
    while refiner.least_visits < 20:
        refiner.step()
    assert refiner.rfactor is not None
    return refiner.rfactor, refiner.probe


def test_a_second_mode_fits_a_beam_of_two_modes_better(monkeypatch: pytest.MonkeyPatch) -> None:
    (one, _), (two, probe) = rfactor(1, monkeypatch), rfactor(2, monkeypatch)
    assert two < 0.99 * one
    energies = products(probe).diagonal().real
    assert energies[0] > energies[1]
    assert float(products(probe)[0, 1].abs()) < 1e-3 * float(energies[0])
