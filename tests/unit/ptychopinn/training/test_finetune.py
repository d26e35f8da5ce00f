"""Fine-tuning: the encoder stays, held-out frames decide, a bad candidate is thrown away."""

import math

import numpy as np
import pytest
import torch

from ptychopinn.model.network import CorrectionNet
from ptychopinn.simulate import Recipe, simulate_scan
from ptychopinn.training.finetune import FineTuner
from ptychopinn.training.replay_buffer import ReplayBuffer, ReplayFrame
from ptychopinn.training.tuner import FinetuneOptions
from tests.support.tuner_tools import assert_promoted

OPTIONS = FinetuneOptions(rate=3e-3, frames=6, heldout_frames=8, heldout_neighbours=4)


@pytest.fixture
def tuner():
    torch.manual_seed(0)
    scan = simulate_scan(Recipe(size_px=64, frames=100, counts=1e5, phase_rad=1.0, probe_error=0.0, seed=4))
    buffer = ReplayBuffer(200)
    for i, (y, x) in enumerate(scan.positions_px.tolist()):
        buffer.add(("a", i), ReplayFrame(scan.amplitude[i].numpy(), (y, x)))
    network = CorrectionNet((8, 16), (1, 1))
    with torch.no_grad():
        network.head.weight.add_(0.3 * torch.randn_like(network.head.weight))  # a decoder with something to learn
    return FineTuner(network, scan.probe, buffer, OPTIONS)


def encoder(network):
    return [p.clone() for part in network.encoder_parts() for p in (*part.parameters(), *part.buffers())]


def test_a_better_candidate_is_promoted_and_its_encoder_is_untouched(tuner):
    before = encoder(tuner.active)
    assert_promoted(tuner, OPTIONS, 40)
    assert all(torch.equal(a, b) for a, b in zip(before, encoder(tuner.active), strict=True))


def test_a_candidate_that_gets_worse_is_thrown_away(tuner):
    with torch.no_grad():
        for parameter in tuner.candidate.head.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    before = {name: value.clone() for name, value in tuner.active.state_dict().items()}
    assert tuner.compare()[0] == "worse"
    for network in (tuner.active, tuner.candidate):
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_candidate_that_diverged_is_thrown_away(tuner):
    with torch.no_grad():
        next(iter(tuner.candidate.head.parameters())).fill_(math.nan)
    assert math.isnan(tuner.step())
    assert tuner.compare()[0] == "diverged"
    assert math.isfinite(tuner.step())


def test_the_refined_layer_is_a_label(tuner):
    keys = [*tuner._buffer._recent, *tuner._buffer._older]
    for key in keys:
        tuner._buffer.label(key, np.ones((64, 64), dtype=np.complex64))
    assert math.isfinite(tuner.step())


def test_another_network_takes_the_place_of_both(tuner):
    torch.manual_seed(1)
    other = CorrectionNet((8, 16), (1, 1))
    tuner.use(other)
    for network in (tuner.active, tuner.candidate):
        assert all(torch.equal(v, other.state_dict()[k]) for k, v in network.state_dict().items())
