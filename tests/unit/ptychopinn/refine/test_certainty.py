"""How far a picture can be believed: its two numbers, and what follows from them on scans it was not fitted to."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ptychopinn.refine.certainty import Certainty, _variance_of_root, certainty, expected_correlation
from ptychopinn.refine.refined_layer import Refiner
from ptychopinn.simulate import Recipe, simulate_scan
from tests.support.refine_tools import correlation, refined

N = 64


def believed(recipe: Recipe, passes: int, probe_error: float = 0.0) -> tuple[Certainty, float]:
    """Return what is expected of a picture begun with nothing, and its phase correlation with the truth."""
    scan = simulate_scan(recipe)
    refiner = refined(scan, passes, scan.probe + torch.roll(scan.probe, 3, -1) * probe_error)
    found = refiner.certainty()
    assert found is not None
    return found, correlation(refiner, scan)


@pytest.mark.parametrize("mean", [0.0, 0.02, 0.3, 1.0, 4.0, 15.0, 200.0])
def test_what_counts_leave_around_the_root_of_their_mean(mean: float):
    counts = np.random.default_rng(1).poisson(mean, 200_000)
    measured = np.square(np.sqrt(counts) - np.sqrt(mean))
    table = float(_variance_of_root(torch.tensor([mean**0.5]))[0])
    assert table == pytest.approx(measured.mean(), abs=5 * measured.std() / 200_000**0.5 + 0.002)


def test_a_strong_sample_in_many_counts_is_certain_and_a_weak_one_in_few_is_not():
    strong, right = believed(Recipe(frames=64, counts=1e6, phase_rad=0.5, seed=4), 10)
    weak, wrong = believed(Recipe(frames=64, counts=1e3, phase_rad=0.05, seed=4), 10)
    assert strong.noise < 0.01
    assert weak.noise > 1
    assert right > 0.95
    assert strong.expected_correlation > 0.95
    assert wrong < 0.6
    assert weak.expected_correlation < 0.7


def test_what_is_expected_is_found():
    kinds = [(1e3, 1.0), (1e4, 0.3), (1e5, 0.1), (1e5, 0.5), (1e6, 0.1)]
    pictures = [believed(Recipe(frames=64, counts=c, phase_rad=p, texture="cells", seed=9), 10) for c, p in kinds]
    expected = np.array([seen.expected_correlation for seen, _ in pictures])
    found = np.array([right for _, right in pictures])
    assert np.ptp(found) > 0.3
    assert np.abs(expected - found).mean() < 0.1
    assert np.corrcoef(expected, found)[0, 1] > 0.9


def test_a_wrong_probe_leaves_more_unexplained():
    recipe = Recipe(frames=64, counts=1e5, phase_rad=0.8, seed=3)
    right, _ = believed(recipe, 8)
    wrong, _ = believed(recipe, 8, probe_error=0.5)
    assert right.unexplained < 0.05
    assert wrong.unexplained > 3 * right.unexplained
    assert wrong.expected_correlation < right.expected_correlation


def test_more_noise_and_more_unexplained_are_less_certain():
    assert expected_correlation(0.0, 0.0) == 1.0
    values = [expected_correlation(n, 0.1) for n in (1e-3, 0.1, 1.0, 10.0, 1e4)]
    assert values == sorted(values, reverse=True)
    assert expected_correlation(0.1, 0.4) < expected_correlation(0.1, 0.0)


def test_where_nothing_is_covered_nothing_is_said():
    none = torch.zeros(1, N, N)
    assert certainty(torch.ones(N, N, dtype=torch.complex64), torch.zeros(N, N), 1.0, none, none, none) is None
    assert Refiner(torch.ones(1, N, N, dtype=torch.complex64)).certainty() is None


def test_a_large_picture_is_looked_at_in_part():
    scan = simulate_scan(Recipe(frames=9, counts=1e5, seed=2))
    side = 3 * 512
    coverage = torch.full((side, side), 5.0)
    noisy = torch.polar(
        torch.ones(side, side), 0.2 * torch.randn(side, side, generator=torch.Generator().manual_seed(1))
    )
    pattern = scan.amplitude[:1]
    found = certainty(noisy, coverage, 10.0, pattern, pattern, pattern)
    assert found is not None
    assert found.noise == pytest.approx(1 / (4 * 50) / 0.04, rel=0.05)


@pytest.mark.parametrize("factor", [0.0, 1e-30, 1e6, 1e18, float("inf"), float("nan")])
def test_nothing_is_too_great_or_too_wrong_for_the_table(factor: float):
    counts = torch.rand(4, N, N)
    counts[0, 3, 3] = 65536.0  # sqrt(2^32)
    variance = _variance_of_root(factor * counts)
    assert bool(torch.isfinite(variance).all())
    found = certainty(torch.ones(N, N) + 0j, torch.ones(N, N), 1e3, factor * counts, counts, counts)
    assert found is None or all(np.isfinite(found))
