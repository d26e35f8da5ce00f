"""A new cnn begins at the empty object, and its layers pass the frames on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ptychopinn.api import InferenceEngine
from ptychopinn.model.cnn import Cnn, CnnOptions
from ptychopinn.model.cnn_scaled import ScaledCnn
from ptychopinn.physics.diffraction import expected_counts
from ptychopinn.training.beginning import begin_empty
from tests.support.training_scenes import experiment, fit, small_configs

KINDS = {
    "polar": {},
    "sigmoid": {"amplitude_activation": "sigmoid"},
    "cartesian": {"output": "cartesian"},
    "shared decoder": {"has_shared_decoder": True},
    "batch norm": {"has_batch_norm": True},
}


def frames() -> torch.Tensor:
    images = torch.from_numpy(experiment(frames=16).amplitude).clamp_min(0)[:, None]
    return images / images.square().mean().sqrt()


def beginning(options: CnnOptions, scaled: torch.Tensor, seed: int = 1) -> torch.Tensor:
    torch.manual_seed(0)
    network = Cnn(options).eval()
    begin_empty(network, scaled, seed)
    assert not network.training
    with torch.no_grad():
        out: torch.Tensor = network(scaled)
    return out


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_patches_are_nearly_one_and_differ(kind: str) -> None:
    options, scaled = CnnOptions(size_px=64, members=1, width_factor=1, **KINDS[kind]), frames()
    patches = beginning(options, scaled)
    assert (patches - 1).abs().square().mean().sqrt() < 0.6
    assert patches.std(0).mean() > 0.01
    assert torch.equal(beginning(options, scaled), patches)
    assert not torch.equal(beginning(options, scaled, seed=2), patches)


def test_the_draw_leaves_other_random_numbers_alone() -> None:
    network, state = Cnn(CnnOptions(width_factor=1)), torch.get_rng_state()
    begin_empty(network, frames(), seed=3)
    assert torch.equal(state, torch.get_rng_state())


def test_an_empty_object_may_have_another_amplitude_and_frames_may_come_in_groups() -> None:
    network, groups = Cnn(CnnOptions(members=4, width_factor=1)).eval(), frames().view(4, 4, 64, 64)
    begin_empty(network, groups, 1, empty=7.0)
    with torch.no_grad():
        patches = network(groups)
    assert patches.abs().mean() == pytest.approx(7.0, rel=0.1)
    assert patches.std(0).mean() > 0.07


@pytest.mark.parametrize("members", [1, 4])
def test_groups_begin_as_bright_as_the_frames(members: int, tmp_path: Path) -> None:
    scan = experiment(frames=16)
    side = round(members**0.5)
    sections = {"data": {"grid_size": (side, side)}, "model": {"object_big": members > 1}}
    still = {"learning_rate": 1e-12, "epochs": 1}
    model, _ = fit(small_configs(tmp_path, **sections, training=still), scan)
    images = torch.from_numpy(scan.amplitude[: 4 * members]).view(4, members, 64, 64)
    raw = model.network.predict({"images": images})  # type: ignore[operator, arg-type]
    assert raw.abs().mean() > 2
    found = model.for_probe(torch.from_numpy(scan.probe))
    assert isinstance(found, ScaledCnn)
    constants, q = model.bundle.scaling, 1 / (4 * abs(scan.probe).mean())
    in_photons = raw * q / 4 / constants["rms_scaling_constant"]
    counts = expected_counts(torch.from_numpy(scan.probe), in_photons).sum((-2, -1))
    assert float(counts.mean()) == pytest.approx(float(images.square().sum((-2, -1)).mean()), rel=0.35)
    picture = InferenceEngine(model).predict_and_stitch(scan.amplitude, scan.positions_px, probe=scan.probe)
    assert abs(picture.object[picture.weight > 0.1]).mean() == pytest.approx(1.0, rel=0.2)
