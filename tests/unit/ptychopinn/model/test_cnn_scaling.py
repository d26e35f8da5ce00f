"""Normalisation factors of both regimes, by their formulae."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ptychopinn.errors import ReconstructionError
from ptychopinn.model import cnn_scaling as scaling
from ptychopinn.physics.diffraction import expected_counts
from tests.support.cnn_settings import setting

GOLDEN = json.loads((Path(__file__).parents[3] / "data" / "cnn_family_golden.json").read_text())
AMPLITUDE = torch.rand(3, 4, 8, 8, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 2.0, 5.0]).view(
    3, 1, 1, 1
)


def test_amplitude_factors_of_the_whole_scan():
    x = AMPLITUDE.double().numpy().reshape(12, 8, 8)
    rms, physics = scaling.amplitude_factors(AMPLITUDE)
    assert rms.shape == physics.shape == (1, 1, 1, 1)
    assert float(rms) == pytest.approx(np.sqrt(64 / (x**2).sum((1, 2)).mean()), rel=1e-6)
    assert float(physics) == pytest.approx(1 / x.sum((1, 2)).mean(), rel=1e-6)


def test_amplitude_factors_of_each_group():
    rms, physics = scaling.amplitude_factors(AMPLITUDE, "Group")
    assert rms.shape == physics.shape == (3, 1, 1, 1)
    for b, x in enumerate(AMPLITUDE.double().numpy()):
        assert float(rms[b]) == pytest.approx(np.sqrt(64 / (x**2).sum((1, 2)).mean()), rel=1e-6)
        assert float(physics[b]) == pytest.approx(1 / x.sum((1, 2)).mean(), rel=1e-6)


def test_the_other_scalings():
    assert [float(v) for v in scaling.amplitude_factors(AMPLITUDE, "None")] == [1.0, 1.0]
    sums = AMPLITUDE.double().numpy().sum((2, 3))
    assert [float(v) for v in scaling.amplitude_factors(AMPLITUDE, "Batch", "Max")] == pytest.approx(
        [1 / sums.max()] * 2, rel=1e-6
    )
    groups = scaling.amplitude_factors(AMPLITUDE, "Group", "Max")[0]
    np.testing.assert_allclose(groups.flatten().numpy(), 1 / sums.max(1), rtol=1e-6)


def test_scaled_input_has_the_stated_energy():
    scaled = AMPLITUDE * scaling.rms_factor(AMPLITUDE, "Group")
    np.testing.assert_allclose(scaled.square().sum((2, 3)).mean(1).numpy(), 64.0, rtol=1e-5)
    counts = AMPLITUDE.square()
    scaled = counts * scaling.count_factor(counts)
    assert float(scaled.square().sum((2, 3)).mean()) == pytest.approx(16.0, rel=1e-5)


def test_count_statistics():
    counts = AMPLITUDE.square()
    found = scaling.CountStatistics.of(counts)
    assert found.rms_input_scale == pytest.approx(float(scaling.count_factor(counts)), rel=1e-6)
    assert found.mean_measured_intensity == pytest.approx(float(counts.double().mean()))
    for bad, words in ((-counts, "not negative"), (counts / 0, "finite"), (0 * counts, "no counts")):
        with pytest.raises(ReconstructionError, match=words):
            scaling.CountStatistics.of(bad)


@pytest.mark.parametrize("case", [c for c in GOLDEN["physics"] if GOLDEN["physics"][c]["factors"]])
def test_factors_are_upstreams(case: str):
    _, group, _, _, _ = setting(case)
    names = ("rms_scaling_constant", "physics_scaling_constant", "rms_input_scale", "mean_measured_intensity")
    found = [float(group[name].flatten()[0]) for name in names if name in group]
    assert found == pytest.approx(GOLDEN["physics"][case]["factors"], rel=1e-5)


def test_the_normalised_probe_and_back():
    probe = torch.randn(2, 16, 16, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))
    normalised, q = scaling.normalise_probe(probe)
    assert float(normalised.abs().mean()) == pytest.approx(0.25, rel=1e-5)
    patch = torch.ones(16, 16, dtype=torch.complex64)
    torch.testing.assert_close(expected_counts(normalised / q, patch), expected_counts(probe, patch))
    mask = scaling.soft_probe_mask(16)
    masked, q = scaling.normalise_probe(probe, 2.0, mask)
    assert float((mask * masked).abs().mean()) == pytest.approx(0.5, rel=1e-5)
    with pytest.raises(ReconstructionError, match="zero everywhere"):
        scaling.normalise_probe(0 * probe)


def test_the_soft_mask_is_upstreams():
    mask = scaling.soft_probe_mask(64)
    np.testing.assert_allclose(mask[::5, ::7].numpy(), GOLDEN["mask"], atol=1e-6)
    assert float(mask.max()) == 1.0
    hard = scaling.soft_probe_mask(64, sigma_px=0.0, diameter_px=10.0)
    assert set(hard.unique().tolist()) == {0.0, 1.0}
    assert int(hard[32].sum()) == 10
