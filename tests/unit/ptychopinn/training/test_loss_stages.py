"""Stages, learning rates, optimisers and bounds of the gradient, by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from ptychopinn.config.sections import TrainingConfig
from ptychopinn.training.loss_stages import Stages, find_learning_rate, ramp, rate_factor
from ptychopinn.training.optimise import clip_gradients, make_optimiser, make_scheduler


def config(**values: Any) -> TrainingConfig:
    return TrainingConfig.of(values)


def test_stages_follow_the_epochs() -> None:
    stages = Stages(rms_epochs=2, blend_epochs=3, physics_epochs=2, schedule="linear")
    found = [stages.get_current_stage_and_weight(epoch) for epoch in range(8)]
    assert found == [(1, 0.0), (1, 0.0), (2, 0.25), (2, 0.5), (2, 0.75), (3, 1.0), (3, 1.0), (3, 1.0)]
    assert stages.epochs(50) == 7


def test_without_stages_all_is_physics() -> None:
    stages = Stages.of(config())
    assert stages.get_current_stage_and_weight(0) == (3, 1.0)
    assert stages.epochs(50) == 50


def test_ramps_rise_from_nothing_to_all() -> None:
    for schedule in ("linear", "cosine", "exponential"):
        values = [ramp(x / 10, schedule) for x in range(11)]
        assert values[0] == 0.0
        assert values[-1] == pytest.approx(1.0)
        assert values == sorted(values)
    assert [ramp(0.5, "linear"), ramp(0.5, "cosine")] == pytest.approx([0.5, 0.5])
    assert ramp(0.5, "exponential") == pytest.approx(1 / (1 + math.exp(2.5)))
    assert ramp(0.1, "cosine") < ramp(0.1, "linear")


def test_the_learning_rate_goes_with_the_root_of_the_batch() -> None:
    assert find_learning_rate(1e-3, 1, 16) == 1e-3
    assert find_learning_rate(1e-3, 4, 16) == pytest.approx(2e-3)
    assert find_learning_rate(1e-3, 2, 32) == pytest.approx(2e-3)


def rates(count: int, **values: Any) -> list[float]:
    """Return the learning rates that an optimiser really has, epoch by epoch."""
    wanted = config(**values)
    optimiser = make_optimiser(nn.Linear(2, 2), wanted, 1.0)
    scheduler = make_scheduler(optimiser, wanted)
    found = []
    for _ in range(count):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step(*([1.0] if wanted.scheduler in ("ReduceLROnPlateau", "Adaptive") else []))
    return found


def test_schedulers_step() -> None:
    assert rates(3) == [1.0, 1.0, 1.0]
    assert rates(3, scheduler="Exponential") == pytest.approx([1.0, 0.95, 0.95**2])
    warm = rates(6, scheduler="WarmupCosine", lr_warmup_epochs=2, lr_min_ratio=0.1, epochs=6)
    assert warm == pytest.approx([0.1, 0.55, 1.0, 0.775, 0.325, 0.1])
    staged = rates(
        4,
        scheduler="MultiStage",
        stage_1_epochs=1,
        stage_2_epochs=1,
        stage_3_epochs=2,
        physics_weight_schedule="linear",
    )
    assert staged == pytest.approx([1.0, 0.55, 0.1, 0.1])
    for name in ("ReduceLROnPlateau", "Adaptive"):
        assert rates(5, scheduler=name, plateau_patience=1, plateau_min_lr=0.0) == [1.0, 1.0, 1.0, 0.5, 0.5]


def test_fine_courses_last_as_long_as_the_stages() -> None:
    wanted = config(scheduler="WarmupCosine", stage_1_epochs=2, stage_3_epochs=3, epochs=50)
    assert rate_factor(wanted, 4) == pytest.approx(wanted.lr_min_ratio)


@pytest.mark.parametrize(("name", "kind"), [("adam", "Adam"), ("adamw", "AdamW"), ("sgd", "SGD")])
def test_optimisers_are_the_asked_ones_and_move_what_is_trained(name: str, kind: str) -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    network[0].requires_grad_(False)
    optimiser = make_optimiser(network, config(optimizer=name, weight_decay=0.01), 0.1)
    assert type(optimiser).__name__ == kind
    assert optimiser.defaults["fused"]
    before = [p.detach().clone() for p in network.parameters()]
    network(torch.ones(4, 3)).sum().backward()
    optimiser.step()
    moved = [not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True)]
    assert moved == [False, False, True, True]


def gradients(algorithm: str, bound: float | None) -> tuple[torch.Tensor, torch.Tensor]:
    weight = nn.Parameter(torch.tensor([[3.0, 4.0], [0.3, 0.4]]))
    weight.grad = torch.tensor([[30.0, 40.0], [0.0, 0.2]])
    clip_gradients([weight], config(gradient_clip_val=bound, gradient_clip_algorithm=algorithm))
    assert weight.grad is not None
    return weight.grad[0], weight.grad[1]


def test_gradients_are_bound() -> None:
    first, second = gradients("norm", 1.0)
    assert float(torch.cat((first, second)).norm()) == pytest.approx(1.0, rel=1e-3)
    first, second = gradients("value", 1.0)
    assert first.tolist() == [1.0, 1.0]
    assert second.tolist() == [0.0, pytest.approx(0.2)]
    first, second = gradients("agc", 0.1)
    torch.testing.assert_close(first, torch.tensor([0.3, 0.4]))  # a tenth of the row's norm 5
    torch.testing.assert_close(second, torch.tensor([0.0, 0.05]))
    assert gradients("norm", None)[0].tolist() == [30.0, 40.0]
