"""Training of the lift's network: losses, batches, log and files, resumption to the same weights, several workers."""

from __future__ import annotations

import json
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ptychopinn.errors import ConfigurationError, FileFormatError, TrainingInterruptedError
from ptychopinn.model.network import CorrectionNet, load_network
from ptychopinn.simulate import Recipe, TextureBank, simulate_scan
from ptychopinn.training import lift_training
from ptychopinn.training.heldout import heldout_recipes, training_kinds
from ptychopinn.training.lift_training import LiftClock, LiftCourse, LiftTask, LiftTraining, LiftTrainingSettings
from ptychopinn.training.loop import load_checkpoint
from ptychopinn.training.simulated_batches import SimulatedSource, collate
from ptychopinn.training.task import BatchIndex
from ptychopinn.training.truth_loss import truth_losses
from tests.support.lift_workers import SMALL_BATCHES, SMALL_TRAINING, interrupted_training, weights_of
from tests.support.training_scenes import StopAfter

ROOT = Path(__file__).parents[4]


@pytest.fixture
def few_heldout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lift_training, "heldout_recipes", lambda: heldout_recipes((64,))[:2])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of six steps that was never interrupted."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lift_training, "heldout_recipes", lambda: heldout_recipes((64,))[:1])
        LiftTraining(SMALL_TRAINING, folder).run()
    return folder


def test_losses_are_zero_at_the_truth_whatever_its_phase() -> None:
    recipe = Recipe(frames=16, modes=2, counts=1e8, phase_rad=1.0, seed=3, texture="noise")
    scan = simulate_scan(recipe)
    seen, truth = collate([scan])
    patches = torch.stack([scan.object[y : y + 64, x : x + 64] for y, x in scan.corners_px.tolist()])[None]
    right = truth_losses(patches * np.exp(1.3j), seen, truth, 0.03)
    assert all(float(v) < 0.02 for v in right.values())
    flat = truth_losses(torch.ones_like(patches), seen, truth, 0.03)
    assert float(flat["supervised"]) > 0.5
    assert float(flat["physics"]) > 0.1
    turned = patches * torch.polar(torch.ones(16), torch.linspace(-1, 1, 16))[None, :, None, None]
    wrong = truth_losses(turned, seen, truth, 0.03)
    assert float(wrong["supervised"]) > 0.3
    assert float(wrong["agreement"]) > 0.2


def test_batches_repeat_and_steps_lower_the_loss() -> None:
    batch = SimulatedSource(SMALL_BATCHES, 4).batch(7)
    torch.testing.assert_close(batch.seen.amplitude, SimulatedSource(SMALL_BATCHES, 4).batch(7).seen.amplitude)
    settings = replace(SMALL_TRAINING, rate=3e-3, warmup_steps=5, looks=(1.0, 0.0, 0.0))
    torch.manual_seed(0)
    clock = LiftClock(settings)
    task = LiftTask(CorrectionNet(widths=(16, 32), depths=(1, 1)), settings, clock)
    course = LiftCourse(settings, clock)
    optimiser = course.make_optimiser(task.network)
    losses = []
    for step in range(40):
        parts = task.loss(batch, BatchIndex(0, step))
        parts["loss"].backward()
        course.before_step(optimiser, step)
        assert course.clip_gradients(task.network.parameters())
        optimiser.step()
        optimiser.zero_grad()
        losses.append(float(parts["supervised"].detach()))
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:2])


def test_a_training_writes_log_and_network_and_goes_on(tmp_path: Path, few_heldout: None) -> None:
    settings = replace(SMALL_TRAINING, steps=3, log_steps=1)
    LiftTraining(settings, tmp_path).run()
    LiftTraining(replace(settings, steps=5), tmp_path).run()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    losses = [x for x in lines if "loss" in x]
    assert [x["step"] for x in losses] == [1, 2, 3, 4, 5]
    assert losses[-1]["progress"] == pytest.approx(4 / 5)
    assert losses[0].keys() - {"supervised_look1", "supervised_look2", "supervised_look3"} == {
        "step", "minutes", "patches", "progress", "skipped", "loss", "supervised", "physics", "agreement"
    }  # fmt: skip
    scored = [x for x in lines if "heldout" in x]
    assert [x["step"] for x in scored] == [2, 3, 4, 5]
    assert len(scored[-1]["heldout"]["all"]["correlation"]) == 2
    assert isinstance(load_network(tmp_path / "network.pt"), CorrectionNet)
    assert torch.load(tmp_path / "network.pt", weights_only=True)["training"]["steps"] == 5
    assert not (tmp_path / "best.pt").exists()


@pytest.mark.parametrize("steps", [3, 4], ids=["within an epoch", "at an epoch's end"])
def test_an_interrupted_training_ends_with_the_same_weights(
    steps: int, undisturbed: Path, tmp_path: Path, few_heldout: None
) -> None:
    with pytest.raises(TrainingInterruptedError, match="resume it from"):
        LiftTraining(SMALL_TRAINING, tmp_path, should_stop=StopAfter(steps)).run()
    LiftTraining(SMALL_TRAINING, tmp_path).run()
    assert weights_of(tmp_path) == weights_of(undisturbed)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    want = [json.loads(line) for line in (undisturbed / "log.jsonl").read_text().splitlines()]
    assert [x["loss"] for x in log if "loss" in x] == [x["loss"] for x in want if "loss" in x]


def test_two_workers_train_together_and_resume_to_the_same_weights(tmp_path: Path, undisturbed: Path) -> None:
    torch.multiprocessing.spawn(interrupted_training, (2, tmp_path), nprocs=2)
    straight, resumed = weights_of(tmp_path / "straight"), weights_of(tmp_path / "resumed")
    assert straight == resumed
    assert straight != weights_of(undisturbed)
    last = json.loads((tmp_path / "straight" / "log.jsonl").read_text().splitlines()[-2])
    assert (last["step"], last["patches"]) == (6, 2 * patches_of(undisturbed))


def patches_of(folder: Path) -> int:
    return int(json.loads((folder / "log.jsonl").read_text().splitlines()[-1])["patches"])


def test_a_checkpoint_of_another_training_is_refused(undisturbed: Path, tmp_path: Path) -> None:
    path = undisturbed / "checkpoint.pt"
    for other in (replace(SMALL_TRAINING, seed=9).identity(1), SMALL_TRAINING.identity(2)):
        with pytest.raises(FileFormatError, match="of other data or settings"):
            load_checkpoint(path, other)
    assert load_checkpoint(path, replace(SMALL_TRAINING, steps=900, minutes=3.0).identity(1))["epoch"] == 3
    old = tmp_path / "checkpoint.pt"
    torch.save({"learner": {"step": 3}, "elapsed_s": 2.0, "patches": 40}, old)
    with pytest.raises(FileFormatError, match=r"version 0\.2\.0 or earlier.*network\.pt"):
        load_checkpoint(old, SMALL_TRAINING.identity(1))
    torch.save([1, 2], old)
    with pytest.raises(FileFormatError, match="not a checkpoint"):
        load_checkpoint(old, SMALL_TRAINING.identity(1))


def test_the_script_refuses_an_old_checkpoint_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"learner": {}, "elapsed_s": 1.0, "patches": 3}, tmp_path / "checkpoint.pt")
    monkeypatch.setattr("sys.argv", ["train_lift.py", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "deploy" / "training" / "train_lift.py"), run_name="__main__")
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_log_and_checkpoints_fit_each_other() -> None:
    with pytest.raises(ConfigurationError, match="checkpoint_steps is 30 but log_steps 20"):
        LiftTrainingSettings(log_steps=20, checkpoint_steps=30)


def test_steps_without_finite_gradients_are_skipped() -> None:
    course = LiftCourse(SMALL_TRAINING, LiftClock(SMALL_TRAINING))
    weight = torch.ones(2, requires_grad=True)
    weight.grad = torch.tensor([1.0, torch.nan])
    assert not course.clip_gradients([weight])
    assert course.epoch_facts(0)["skipped"] == 1


def test_a_bank_of_textures_is_restored() -> None:
    kinds = training_kinds()[1]
    bank = TextureBank(48, 5, kinds, (3, 0))
    bank.renew(7)
    other = TextureBank.restored(48, kinds, bank.state_dict())
    for one in (bank, other):
        one.renew(1)
    drawn = [one.draw(48, np.random.default_rng(n)) for n in range(9) for one in (bank, other)]
    for mine, its in zip(drawn[::2], drawn[1::2], strict=True):
        assert mine[0] == its[0]
        np.testing.assert_array_equal(mine[1], its[1])
