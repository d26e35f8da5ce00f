"""Losses and physics of the cnn against PtychoPINN's own numbers, gradients included, and by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.data import GroupBatch
from ptychopinn.errors import GeometryError, ReconstructionError
from ptychopinn.model.cnn_forward import extract, merge, translate, upstream_offsets
from ptychopinn.training import losses
from ptychopinn.training.losses import LossSettings
from tests.support.cnn_fill import sampled
from tests.support.cnn_scenes import PHYSICS
from tests.support.cnn_settings import setting

GOLDEN = json.loads((Path(__file__).parents[3] / "data" / "cnn_family_golden.json").read_text())["physics"]
Group = dict[str, Tensor]

# An input scale of 10^4 saturates the network: a rounding of its inputs moves its outputs by up to a percent. What a processor's
# order of summation changes there is measured, and is the tolerance; the other cases hold to 1e-5 on every processor.
SENSITIVE = {"amplitude, trained scale"}
ROUNDING = 2.0**-24


def rounded(case: str, of: Callable[[Group], NDArray[Any]]) -> float:
    """Return how far a result may move: four times what one rounding of the images moves it, at most of eight draws."""
    if case not in SENSITIVE:
        return 0.0
    images = setting(case)[1]["images"]
    found = []
    for seed in range(8):
        noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1
        found.append(of({"images": images * (1 + ROUNDING * noise)}))
    return float(4 * max(np.abs(one - of({})).max() for one in found))


def loss_and_gradient(case: str, changed: Group) -> NDArray[Any]:
    """Return the loss and sixteen values of the gradient of one layer."""
    net, group, probe, q, settings = setting(case)
    loss = losses.physics_loss(net, GroupBatch({**group, **changed}, probe, q), settings)
    loss.backward()
    gradient = net.autoencoder.encoder.blocks[2].conv2.weight.grad
    assert gradient is not None
    return np.array([float(loss.detach()), *gradient.flatten()[:: gradient.numel() // 16][:16].numpy()])


def predicted_amplitudes(case: str, changed: Group) -> NDArray[Any]:
    net, group, probe, _, _ = setting(case)
    group = {**group, **changed}
    factor = net.input_factor(group["rms_scaling_constant"])
    with torch.no_grad():
        patches = net(group["images"] * factor)
        args = (group["coords_relative"], probe, factor, group["experiment_id"])
        return np.array(sampled(net.forward_model.amplitude(patches, *args)))


@pytest.mark.parametrize("case", PHYSICS)
def test_losses_and_gradients_are_upstreams(case: str):
    wanted = GOLDEN[case]
    assert float(setting(case)[3][0]) == pytest.approx(wanted["q"], rel=1e-5)
    loss, *gradient = loss_and_gradient(case, {})
    loss_moves = rounded(case, lambda changed: loss_and_gradient(case, changed)[:1])
    assert loss == pytest.approx(wanted["loss"], abs=max(1e-5 * abs(wanted["loss"]), loss_moves))
    wanted_gradient = np.array(wanted["gradient"])
    moves = rounded(case, lambda changed: loss_and_gradient(case, changed)[1:])
    np.testing.assert_allclose(gradient, wanted_gradient, atol=max(1e-2 * np.abs(wanted_gradient).max(), moves))


@pytest.mark.parametrize("case", [c for c in PHYSICS if "pattern" in GOLDEN[c]])
def test_predicted_amplitudes_are_upstreams(case: str):
    wanted = np.array(GOLDEN[case]["pattern"])
    moves = rounded(case, lambda changed: predicted_amplitudes(case, changed)[: len(wanted)])
    found = predicted_amplitudes(case, {})[: len(wanted)]
    assert moves < 0.05 * wanted.max()
    np.testing.assert_allclose(found, wanted, atol=max(1e-5 * max(1.0, wanted.max()), moves))


def poisson(rate: float, count: float) -> float:
    return rate - count * math.log(rate) + math.lgamma(count + 1)


def test_poisson_losses_by_hand_and_without_data_nothing():
    predicted, observed = torch.full((1, 1, 2, 2), 3.0), torch.tensor([[[[2.0, 4.0], [0.0, -1.0]]]])
    by_hand = poisson(2.25, 1.0) + poisson(2.25, 4.0) + poisson(2.25, 0.0)
    found = losses.amplitude_poisson_loss(predicted, observed, torch.tensor(0.5))
    assert float(found) == pytest.approx(by_hand / 2.0, rel=1e-6)
    assert float(losses.amplitude_mae_loss(predicted, observed, torch.tensor(0.5))) == pytest.approx(0.5 * 5 / 3 / 2)
    rate, counts = torch.tensor([[[[2.0, 3.0]]], [[[0.0, 5.0]]]]), torch.tensor([[[[1.0, 4.0]]], [[[0.0, -1.0]]]])
    first = (poisson(2, 1) + poisson(3, 4)) / 2.0
    found = losses.count_poisson_loss(rate, counts, torch.tensor([2.0, 4.0]).view(2, 1, 1, 1))
    assert found.dtype == torch.float64
    assert float(found) == pytest.approx((first + 1e-8 / 4) / 2, rel=1e-6)


def test_smoothness_and_labels_by_hand():
    image = torch.tensor([[[[1.0, 2.0], [4.0, 8.0]]], [[[0.0, 0.0], [0.0, 0.0]]]])
    assert float(losses.total_variation(image)) == (3 + 6 + 1 + 4) / 2
    assert float(losses.mean_deviation(image)) == (2.75 + 1.75 + 0.25 + 4.25) / 2
    zero = torch.zeros_like(image)
    assert float(losses.supervised_loss(image, zero, zero, image)) == 15 * (2 + 4)


def test_count_regime_refuses_mae_and_flat_probes():
    net, group, probe, q, _ = setting("counts")
    with pytest.raises(ReconstructionError, match="Poisson"):
        losses.physics_loss(net, GroupBatch(group, probe, q), LossSettings(loss_function="MAE"))
    with pytest.raises(GeometryError, match="rank 3"):
        losses.physics_loss(net, GroupBatch(group, probe[0, 0], q), LossSettings())


def test_the_first_scale_brings_the_mean_counts():
    net, group, probe, q, _ = setting("counts")
    with torch.no_grad():
        for s in (net.forward_model.rect_scaler.s1, net.forward_model.rect_scaler.s2):
            s.fill_(1.0)
        scale = losses.first_scale(net, GroupBatch(group, probe, q))
        for s in (net.forward_model.rect_scaler.s1, net.forward_model.rect_scaler.s2):
            s.fill_(scale)
    assert losses.first_scale(net, GroupBatch(group, probe, q)) == pytest.approx(1.0, rel=1e-5)


def test_a_few_steps_lower_the_loss_and_leave_a_frozen_encoder():
    net, group, probe, q, settings = setting("amplitude")
    net.autoencoder.encoder.requires_grad_(False)
    before = [p.clone() for p in net.autoencoder.encoder.parameters()]
    optimiser = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=1e-3)
    seen = []
    for _ in range(8):
        optimiser.zero_grad()
        loss = losses.physics_loss(net, GroupBatch(group, probe, q), settings)
        loss.backward()
        optimiser.step()
        seen.append(float(loss.detach()))
    assert seen[-1] < seen[0]
    assert all(torch.equal(a, b) for a, b in zip(before, net.autoencoder.encoder.parameters(), strict=True))


def test_translation_moves_to_larger_indexes_and_halves_between():
    image = torch.zeros(1, 16, 16, dtype=torch.complex64)
    image[0, 5, 6] = 2j
    moved = translate(image, torch.tensor([[2.0, -1.5]]))[0]
    torch.testing.assert_close(moved[7, 4:6], torch.tensor([1j, 1j], dtype=torch.complex64), atol=1e-4, rtol=0)
    assert float(moved.abs().sum()) == pytest.approx(2.0, abs=1e-3)


def test_merging_and_cutting_whole_pixels_gives_the_common_object_back():
    generator = torch.Generator().manual_seed(0)
    whole = torch.complex(*torch.rand(2, 72, 72, generator=generator).unbind(0))
    corners = torch.tensor([[0, 0], [0, 8], [8, 0], [8, 8]])
    patches = torch.stack([whole[y : y + 64, x : x + 64] for y, x in corners.tolist()])[None]
    offsets = (corners - corners.float().mean(0))[None, :, None]
    for weight in (None, torch.ones(1, 1, 64, 64)):
        again = extract(merge(patches, offsets, 72, weight), offsets, 64)
        torch.testing.assert_close(again[..., 20:44, 20:44], patches[..., 20:44, 20:44], rtol=2e-3, atol=1e-3)
    damped = merge(patches, offsets, 72)
    assert float(damped[0, 36, 36].abs() / whole[36, 36].abs()) == pytest.approx(4 / 4.001, abs=1e-4)
    assert float(damped[0, :15].abs().max()) < 1e-2
    assert torch.equal(upstream_offsets(upstream_offsets(offsets)), offsets)
