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


def refined(weights: tuple[float, ...], modes: int | None, monkeypatch: pytest.MonkeyPatch) -> Refiner:
    """Return a refiner after some passes from the brightest mode of a beam; ``modes`` None: it finds how many there are."""
    monkeypatch.setattr(moving_probe, "PROBE_FRAMES", 10)
    recipe = Recipe(size_px=N, frames=64, counts=1e6, phase_rad=0.8, modes=2, seed=4)
    beam = [mode / mode.abs().square().sum().sqrt() for mode in orthogonal_modes(simulate_scan(recipe).probe)]
    scan = simulate_scan(recipe, probe=torch.stack([w * mode * 1e3 for w, mode in zip(weights, beam, strict=False)]))
    refiner = Refiner(
        with_mode_count(with_mode_count(scan.probe, 1), modes or 1), update_probe=True, finds_modes=modes is None
    )
    for index, (pattern, (y, x)) in enumerate(zip(scan.amplitude, scan.positions_px.tolist(), strict=True)):
        refiner.add(index, pattern, (y, x))
    while refiner.least_visits < (20 if modes else 40):
        refiner.step()
    return refiner


def test_a_second_mode_fits_a_beam_of_two_modes_better(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (refined((0.8, 0.6), modes, monkeypatch) for modes in (1, 2))
    assert two.rfactor < 0.99 * one.rfactor
    energies = products(two.probe).diagonal().real
    assert energies[0] > energies[1]
    assert float(products(two.probe)[0, 1].abs()) < 1e-3 * float(energies[0])


@pytest.mark.parametrize("weights", [(1.0,), (0.8, 0.6)])
def test_as_many_modes_are_found_as_the_beam_has(weights: tuple[float, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    refiner = refined(weights, None, monkeypatch)
    assert len(refiner.probe) == len(weights)
    assert refiner.setbacks == 0
