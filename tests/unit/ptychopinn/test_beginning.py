"""A new cnn for neighbourhoods begins at the empty object, and its layers pass the frames on."""

from __future__ import annotations

import pytest
import torch
from training_scenes import experiment

from ptychopinn.model.cnn import Cnn, CnnOptions
from ptychopinn.trainer.beginning import begin_empty

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
