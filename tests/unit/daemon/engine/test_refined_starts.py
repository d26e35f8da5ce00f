"""Second looks start from the refined layer once it is ready and explains the patterns, else from the mosaic."""

from __future__ import annotations

import pytest
import torch

from daemon.engine.refined_starts import LOOK_VISITS, RefinedStarts, is_sound
from ptychopinn.refine.certainty import Certainty
from ptychopinn.refine.refined_layer import Refiner
from ptychopinn.simulate import Recipe, simulate_scan

N = 32


@pytest.mark.parametrize("is_probe_right", [True, False])
def test_starts_are_of_the_refined_layer_where_it_explains_the_patterns(is_probe_right: bool) -> None:
    scan = simulate_scan(Recipe(size_px=N, frames=25, counts=1e6, phase_rad=1.0, seed=2))
    speckle = torch.exp(2j * torch.randn(1, N, N, generator=torch.Generator().manual_seed(0)))
    refiner = Refiner(scan.probe if is_probe_right else scan.probe * speckle)
    for index, (pattern, (y, x)) in enumerate(zip(scan.amplitude, scan.positions_px.tolist(), strict=True)):
        refiner.add(index, pattern, (y, x))
    starts = RefinedStarts(lambda: refiner)
    assert starts.is_awaited(3)
    assert not starts.is_awaited(99)
    while refiner.least_visits < LOOK_VISITS:
        refiner.step()
    assert not starts.is_awaited(3)
    given = torch.zeros(1, N, N, dtype=torch.complex64)
    starts.lay(given, [3], scan.positions_px[3:4])
    assert torch.equal(given[0], refiner.cut(scan.positions_px[3])) == is_probe_right
    assert bool(given.any()) == is_probe_right


def test_noise_excuses_a_picture_that_explains_little() -> None:
    assert is_sound(Certainty(noise=5.0, unexplained=0.9, expected_correlation=0.5))
    assert not is_sound(Certainty(noise=0.01, unexplained=0.9, expected_correlation=0.8))
    assert not is_sound(None)
