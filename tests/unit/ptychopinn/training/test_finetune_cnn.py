"""Fine-tuning of a cnn: the encoder and all batch statistics stay, held-out frames decide, the input is that of inference."""

import math

import pytest
import torch

from ptychopinn.model.cnn import Cnn, CnnOptions
from ptychopinn.simulate import Recipe, simulate_scan
from ptychopinn.tensor_dict import TensorDict
from ptychopinn.training.finetune_cnn import CnnTuner
from ptychopinn.training.replay_buffer import ReplayBuffer, ReplayFrame
from ptychopinn.training.tuner import FinetuneOptions
from tests.support.tuner_tools import assert_promoted

OPTIONS = FinetuneOptions(rate=2e-3, frames=16, heldout_frames=8)
STEPS = 15
FORMS = {
    "one frame": {"members": 1, "amplitude_activation": "sigmoid"},
    "four frames": {"members": 4, "has_batch_norm": True, "has_shared_decoder": True},
    "counts": {"members": 4, "output": "cartesian"},
}


@pytest.fixture(scope="module")
def scan():
    return simulate_scan(Recipe(size_px=64, frames=100, counts=1e5, phase_rad=1.0, probe_error=0.0, seed=4))


def network_of(form, seed=0):
    torch.manual_seed(seed)
    return Cnn(CnnOptions(size_px=64, width_factor=1, **FORMS[form])).eval()


def tuner_of(scan, network, stretch=1.0):
    buffer = ReplayBuffer(200)
    for i, (y, x) in enumerate(scan.positions_px.tolist()):
        buffer.add(("a", i), ReplayFrame(scan.amplitude[i].numpy(), (stretch * y, stretch * x)))
    return CnnTuner(network, scan.probe, buffer, OPTIONS, configs={}, scaling={})


@pytest.mark.parametrize("form", FORMS)
def test_a_better_candidate_is_promoted_and_its_encoder_and_statistics_are_untouched(scan, form):
    tuner = tuner_of(scan, network_of(form))
    encoder = {id(v) for part in tuner.active.encoder_parts() for v in (*part.parameters(), *part.buffers())}
    names = [n for n, v in tuner.active.state_dict(keep_vars=True).items() if id(v) in encoder or "running" in n]
    before = {name: value.clone() for name, value in tuner.weights().items()}
    assert_promoted(tuner, OPTIONS, STEPS)
    after = tuner.weights()
    assert names
    assert all(torch.equal(before[name], after[name]) for name in names)
    assert not all(torch.equal(before[name], after[name]) for name in before)


def test_a_candidate_that_gets_worse_or_diverges_is_thrown_away(scan):
    tuner = tuner_of(scan, network_of("one frame"))
    before = {name: value.clone() for name, value in tuner.weights().items()}
    decoder = [p for p in tuner.candidate.parameters() if p.requires_grad]
    for spoil, verdict in ((lambda p: p.add_(torch.randn_like(p)), "worse"), (lambda p: p.fill_(math.nan), "diverged")):
        with torch.no_grad():
            for parameter in decoder:
                spoil(parameter)
        assert tuner.compare()[0] == verdict
        for network in (tuner.active, tuner.candidate):
            after = network.without_physics().state_dict()
            assert all(torch.equal(value, before[name]) for name, value in after.items())
        decoder = [p for p in tuner.candidate.parameters() if p.requires_grad]
    assert math.isfinite(tuner.step())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("own_scale", [None, 0.01])
def test_the_input_is_that_of_inference(scan, form, own_scale, monkeypatch):
    network = network_of(form)
    network.input_scale_factor = own_scale
    tuner = tuner_of(scan, network)
    assert math.isfinite(tuner.score(tuner.active).rfactor)
    seen, found = [], []
    tuner.active.autoencoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network.autoencoder.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
    key = tuner._buffer.held_out[-1]
    tuner._compared(tuner.active, key)
    frames = tuner._buffer.around(key, 4)
    images = torch.stack([torch.from_numpy(frame.amplitude) for frame in frames])[None]
    network.predict(TensorDict({"images": images}, batch_size=[1]))
    assert torch.equal(seen[0], found[0])


def test_what_is_promoted_keeps_the_brightness_of_its_patches(scan):
    tuner = tuner_of(scan, network_of("one frame"))
    images = TensorDict({"images": scan.amplitude[:20, None]}, batch_size=[20])
    light = scan.probe.abs().square().sum(0)
    before = float((tuner.active.predict(images).abs() * light).mean())
    for _ in range(STEPS):
        tuner.step()
    assert tuner.compare()[0] == "promoted"
    assert float((tuner.active.predict(images).abs() * light).mean()) == pytest.approx(before, rel=0.1)


def test_frames_too_far_apart_are_seen_alone(scan):
    tuner = tuner_of(scan, network_of("four frames"), stretch=50.0)
    assert math.isfinite(tuner.step())
    assert math.isfinite(tuner.score(tuner.active).rfactor)


def test_another_network_takes_the_place_of_both(scan):
    tuner = tuner_of(scan, network_of("one frame"))
    other = network_of("one frame", seed=1)
    tuner.use(other)
    for network in (tuner.active, tuner.candidate):
        weights = network.without_physics().state_dict()
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in weights.items())
