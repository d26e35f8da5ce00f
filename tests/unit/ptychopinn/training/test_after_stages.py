"""What comes after a staged training: fine-tuning with the last stage's loss, a later resume, more epochs; and clipping."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from ptychopinn.api import Trainer
from ptychopinn.config.sections import TrainingConfig
from ptychopinn.training.loss_stages import Stages
from ptychopinn.training.optimise import clip_gradients
from tests.support.training_scenes import experiment, small_configs

STAGED = {
    "stage_1_epochs": 1, "stage_2_epochs": 1, "stage_3_epochs": 1, "scheduler": "MultiStage", "epochs_fine_tune": 2,
    "fine_tune_gamma": 0.5, "learning_rate": 1e-3, "num_workers": 2,
}  # fmt: skip


def lines(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_fine_tuning_trains_the_last_stage_at_its_own_rate_and_a_resume_still_works(tmp_path: Path) -> None:
    scan = experiment(frames=9)
    configs = small_configs(tmp_path, training=STAGED)
    Trainer(configs).fit([scan])
    staged = (tmp_path / "log.jsonl").read_text()
    assert [line["stage"] for line in lines(tmp_path / "log.jsonl")] == [1, 2, 3]
    tuned = lines(tmp_path / "fine-tune" / "log.jsonl")
    assert [(line["stage"], line["physics_weight"]) for line in tuned] == [(3, 1.0)] * 2
    assert [line["learning_rate"] for line in tuned] == pytest.approx([5e-4] * 2)
    checkpoint = (tmp_path / "checkpoint.pt").read_bytes()
    again = Trainer(configs)
    model = again.fit([scan], is_resumed=True)
    assert again.history == []  # both phases are complete
    Trainer(configs).finetune(model, [scan])  # its own folder: the staged training stays as it was
    assert (tmp_path / "checkpoint.pt").read_bytes() == checkpoint
    assert (tmp_path / "log.jsonl").read_text() == staged
    more = Trainer(configs.update(training_config={"epochs_fine_tune": 3}))
    more.fit([scan], is_resumed=True)
    assert [line["epoch"] for line in more.history] == [2]


def test_the_last_stage_is_that_of_the_last_epoch() -> None:
    assert Stages(2, 0, 0).last().get_current_stage_and_weight(7) == (1, 0.0)
    assert Stages(2, 3, 0, "linear").last().get_current_stage_and_weight(0) == (2, 0.75)
    assert Stages(2, 3, 1).last().get_current_stage_and_weight(0) == Stages().last().fixed == (3, 1.0)


def test_adaptive_clipping_bounds_each_filter_by_its_own_norm() -> None:
    layer = nn.Conv2d(2, 3, 3)
    layer(torch.ones(1, 2, 8, 8)).square().sum().mul(1e3).backward()
    clip_gradients(layer.parameters(), TrainingConfig(gradient_clip_val=0.1, gradient_clip_algorithm="agc"))
    weight, gradient = layer.weight.detach(), layer.weight.grad
    assert gradient is not None
    ratio = gradient.flatten(1).norm(dim=1) / weight.flatten(1).norm(dim=1)
    torch.testing.assert_close(ratio, torch.full((3,), 0.1))
