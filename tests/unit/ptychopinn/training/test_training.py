"""Training: the losses of every mode fall, both loops give the same weights, an interruption changes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ptychopinn.api import ConfigManager, PtychoModel, Trainer, TrainingScan, write_training_file
from ptychopinn.data import Experiment
from ptychopinn.errors import (
    ConfigurationError,
    FileFormatError,
    GeometryError,
    ProbeMismatchError,
    ReconstructionError,
    TrainingInterruptedError,
)
from ptychopinn.model.bundle import SHIPPED
from ptychopinn.training.watch import Metrics, Plan
from tests.support import SUPPORT
from tests.support.training_scenes import StopAfter, experiment, fit, same_weights, small_configs

LOOPS = ["Default", "Lightning"]
STAGED = {
    "epochs": 3,
    "accum_steps": 2,
    "stage_1_epochs": 1,
    "stage_2_epochs": 1,
    "stage_3_epochs": 1,
    "scheduler": "WarmupCosine",
    "gradient_clip_val": 1.0,
}


@pytest.fixture(scope="module")
def scan() -> Experiment:
    return experiment()


@pytest.fixture(scope="module")
def undisturbed(scan: Experiment, tmp_path_factory: pytest.TempPathFactory) -> tuple[PtychoModel, Trainer]:
    """A training with stages, a course of the rate, accumulation and a bound, never interrupted."""
    return fit(small_configs(tmp_path_factory.mktemp("undisturbed"), training=STAGED), scan)


def test_stages_are_switched_and_logged(undisturbed: tuple[PtychoModel, Trainer]) -> None:
    model, trainer = undisturbed
    assert [line["stage"] for line in trainer.history] == [1, 2, 3]
    assert [line["physics_weight"] for line in trainer.history] == pytest.approx([0.0, 0.5, 1.0])
    assert [line["learning_rate"] for line in trainer.history] == pytest.approx([1e-3, 5.5e-4, 1e-4])
    logged = (Path(trainer.configs.training_config.output_dir) / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["train_loss"] for line in logged] == [line["train_loss"] for line in trainer.history]
    assert trainer.history[0]["train_loss"] > 1e3 * trainer.history[2]["train_loss"]  # another scale of the patterns
    assert model.bundle.provenance["experiments"][0]["groups"] == 25


def test_lightning_gives_the_same_weights(
    undisturbed: tuple[PtychoModel, Trainer], scan: Experiment, tmp_path: Path
) -> None:
    model, trainer = fit(small_configs(tmp_path, "Lightning", training=STAGED), scan)
    assert same_weights(model, undisturbed[0])
    for name in ("train_loss", "val_loss", "learning_rate"):
        assert [line[name] for line in trainer.history] == [line[name] for line in undisturbed[1].history]


@pytest.mark.parametrize(
    ("framework", "steps"), [("Default", 1), ("Default", 3), ("Default", 4), ("Lightning", 3), ("Lightning", 4)]
)
def test_an_interrupted_training_ends_with_the_same_weights(
    framework: str, steps: int, undisturbed: tuple[PtychoModel, Trainer], scan: Experiment, tmp_path: Path
) -> None:
    configs = small_configs(tmp_path, framework, training=STAGED)
    with pytest.raises(TrainingInterruptedError, match="resume it from"):
        fit(configs, scan, should_stop=StopAfter(steps))
    model, trainer = fit(configs, scan, is_resumed=True)
    assert same_weights(model, undisturbed[0])
    assert trainer.history[-1]["train_loss"] == undisturbed[1].history[-1]["train_loss"]


@pytest.mark.parametrize("framework", LOOPS)
def test_going_on_without_a_beginning_or_with_other_data_is_refused(
    framework: str, scan: Experiment, tmp_path: Path
) -> None:
    configs = small_configs(tmp_path, framework)
    with pytest.raises(FileFormatError, match="no training to resume"):
        fit(configs, scan, is_resumed=True)
    with pytest.raises(TrainingInterruptedError):
        fit(configs, scan, should_stop=StopAfter(1))
    with pytest.raises(FileFormatError, match="of other data or settings"):
        fit(configs, experiment(seed=5), is_resumed=True)
    with pytest.raises(FileFormatError, match="of other data or settings"):
        fit(small_configs(tmp_path, framework, training={"learning_rate": 1e-2}), scan, is_resumed=True)


@pytest.mark.parametrize("framework", LOOPS)
def test_it_ends_early_and_keeps_the_best_epoch(framework: str, scan: Experiment, tmp_path: Path) -> None:
    wild = {"epochs": 6, "early_stop_patience": 1, "optimizer": "sgd", "learning_rate": 1e3}
    model, trainer = fit(small_configs(tmp_path, framework, training=wild), scan)
    losses = [line["val_loss"] for line in trainer.history]
    assert len(losses) < 6
    best = int(np.argmin([value if np.isfinite(value) else np.inf for value in losses]))
    assert best == len(losses) - 2
    shorter, _ = fit(small_configs(tmp_path / "again", framework, training={**wild, "epochs": best + 1}), scan)
    assert same_weights(model, shorter)


@pytest.mark.parametrize(
    ("sections", "members"),
    [
        ({"model": {"loss_function": "MAE", "amp_loss": "Total_Variation", "amp_loss_coeff": 1e-6}}, 1),
        ({"model": {"object_big": True}, "data": {"grid_size": (2, 2), "n_subsample": 1}}, 4),
        ({"model": {"mode": "Supervised"}}, 1),
        (
            {"model": {"cnn_output_mode": "real_imag", "physics_forward_mode": "rectangular_scaled",
                       "rect_s1s2_init": "data"}},
            1,
        ),
        ({"training": {"overlap_frames": 6, "batch_size": 1}, "model": {"batch_norm": True}}, 1),
    ],
    ids=["MAE and smooth", "groups of four", "supervised", "counts", "neighbourhoods, batch norm"],
)  # fmt: skip
def test_every_loss_falls(sections: dict, members: int, scan: Experiment, tmp_path: Path) -> None:
    sections = {**sections, "training": {"epochs": 2, "validation_split": 0.0, **sections.get("training", {})}}
    frames = replace(scan, amplitude=scan.amplitude[:16], positions_px=scan.positions_px[:16])
    model, trainer = fit(small_configs(tmp_path, **sections), frames)
    losses = [line["train_loss"] for line in trainer.history]
    assert losses[-1] < losses[0]
    assert model.members == members
    model.save(tmp_path / "model.zip")
    loaded = PtychoModel.load(tmp_path / "model.zip")
    assert same_weights(loaded, model)
    assert loaded.stated_configs() == trainer.configs
    assert model.bundle.scaling["rms_scaling_constant"] > 0


@pytest.mark.parametrize("framework", LOOPS)
def test_fine_tuning_leaves_the_encoder_bit_for_bit(framework: str, scan: Experiment, tmp_path: Path) -> None:
    sections = {"model": {"batch_norm": True}, "training": {"epochs": 1, "epochs_fine_tune": 1, "fine_tune_gamma": 0.5}}
    model = PtychoModel.new(small_configs(tmp_path, framework, **sections), seed=3)
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    trainer = Trainer(small_configs(tmp_path, framework, **sections))
    tuned = trainer.finetune(model, [scan])
    for name, value in tuned.bundle.weights.items():
        is_same = torch.equal(value, before[name])
        assert is_same == (".encoder." in name), name
    assert trainer.history[0]["learning_rate"] == pytest.approx(5e-4)
    assert tuned.bundle.provenance["is_fine_tuned"] is True


def test_a_training_fine_tunes_at_its_end_if_that_has_epochs(scan: Experiment, tmp_path: Path) -> None:
    model, _ = fit(small_configs(tmp_path, training={"epochs": 1, "epochs_fine_tune": 1}), scan)
    plain, _ = fit(small_configs(tmp_path / "plain", training={"epochs": 1}), scan)
    same = {n: torch.equal(v, plain.bundle.weights[n]) for n, v in model.bundle.weights.items()}
    assert all(same[name] for name in same if ".encoder." in name)
    assert not any(same[name] for name in same if "decoder" in name)


@pytest.mark.parametrize("is_supervised", [False, True])
def test_the_lift_fine_tunes_its_decoder_on_the_overlap(is_supervised: bool, scan: Experiment, tmp_path: Path) -> None:
    shipped = PtychoModel.load(SHIPPED)
    mode = "Supervised" if is_supervised else "Unsupervised"
    configs = small_configs(
        tmp_path,
        model={"mode": mode, "architecture": "lift"},
        training={"overlap_frames": 6, "batch_size": 1, "epochs": 2, "learning_rate": 1e-3, "fine_tune_gamma": 0.3},
    )
    trainer = Trainer(configs)
    tuned = trainer.finetune(shipped, [scan])
    for part in ("train_loss", "train_physics"):
        assert trainer.history[1][part] < trainer.history[0][part], part
    moved = {n for n, v in tuned.bundle.weights.items() if not torch.equal(v, shipped.bundle.weights[n])}
    assert moved
    assert all(name.split(".")[0] in ("up", "decoders", "head") for name in moved)
    assert tuned.bundle.projections == shipped.bundle.projections


def test_a_probe_in_other_units_does_not_matter_where_photons_do(scan: Experiment, tmp_path: Path) -> None:
    scan = replace(scan, amplitude=scan.amplitude[:12], positions_px=scan.positions_px[:12])
    other = replace(scan, probe=scan.probe * np.float32(1e-4))
    wanted = {"training": {"overlap_frames": 4, "batch_size": 2, "epochs": 1}}
    for number, one in enumerate((scan, other)):
        _, trainer = fit(small_configs(tmp_path / str(number), **wanted), one)
        assert trainer.history[0]["train_physics"] < 2


def test_faults_are_said_before_anything_starts(scan: Experiment, tmp_path: Path) -> None:
    def refused(kind: type[ReconstructionError], words: str, *scans: Experiment, **sections: dict) -> None:
        with pytest.raises(kind, match=words):
            fit(small_configs(tmp_path, **sections), *(scans or (scan,)))

    bare = replace(scan, object=None)
    refused(GeometryError, "one: has no objectGuess", bare, model={"mode": "Supervised"})
    refused(ProbeMismatchError, "64 px but N is 128", data={"N": 128})
    refused(ConfigurationError, "needs framework Lightning", training={"n_devices": 2})
    refused(
        ConfigurationError,
        "overlap_frames asks for single ones",
        training={"overlap_frames": 4},
        data={"grid_size": (2, 2)},
        model={"object_big": True},
    )
    refused(
        ReconstructionError,
        "count regime has one stage",
        model={"cnn_output_mode": "real_imag", "physics_forward_mode": "rectangular_scaled"},
        training={"stage_1_epochs": 1, "stage_3_epochs": 1},
    )
    model = PtychoModel.new(small_configs(tmp_path))
    with pytest.raises(ConfigurationError, match=r"grid_size \(2, 2\)"):
        Trainer(ConfigManager.from_dict({"training": {"output_dir": str(tmp_path)}})).finetune(model, [scan])


class Onlooker:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.plans: list[Plan] = []
        self.batches = 0
        self.epochs: list[Metrics] = []
        self.ends = 0

    def begin(self, plan: Plan) -> None:
        self.plans.append(plan)

    def batch(self) -> None:
        self.batches += 1

    def epoch(self, metrics: Metrics) -> None:
        self.epochs.append(metrics)

    def end(self) -> None:
        self.ends += 1


@pytest.mark.parametrize("framework", LOOPS)
def test_watchers_are_told_of_every_batch(framework: str, scan: Experiment, tmp_path: Path) -> None:
    seen = Onlooker()
    configs = small_configs(tmp_path, framework)
    with pytest.raises(TrainingInterruptedError):
        fit(configs, scan, watchers=[seen], should_stop=StopAfter(8))
    fit(configs, scan, watchers=[seen], is_resumed=True)
    batches = seen.plans[0].batches
    assert seen.plans == [Plan(2, batches), Plan(2, batches, 1, 8 - batches)]
    assert seen.batches == 2 * batches
    assert [line["epoch"] for line in seen.epochs] == [0, 1]
    assert seen.ends == 2


def test_a_lightning_checkpoint_is_a_model(scan: Experiment, tmp_path: Path) -> None:
    model, trainer = fit(small_configs(tmp_path, "Lightning", training={"epochs": 1}), scan)
    loaded = PtychoModel.load(tmp_path / "best.ckpt")
    assert same_weights(loaded, model)
    assert loaded.stated_configs() == trainer.configs


@pytest.mark.slow
def test_two_processes_train_together(scan: Experiment, tmp_path: Path) -> None:
    script = tmp_path / "together.py"
    script.write_text(
        "import sys, json\n"
        "from pathlib import Path\n"
        "from tests.support.training_scenes import experiment, fit, small_configs\n"
        "if __name__ == '__main__':\n"
        "    folder = Path(sys.argv[1])\n"
        "    wanted = {'n_devices': 2, 'batch_size': 2, 'learning_rate': 1e-3 / 2**0.5, 'epochs': 2}\n"
        "    model, trainer = fit(small_configs(folder, 'Lightning', training=wanted), experiment())\n"
        "    from ptychopinn.data import own_rank\n"
        "    model.save(folder / f'rank-{own_rank()}.zip')\n"
        "    Path(folder / f'rank-{own_rank()}.json').write_text(json.dumps(trainer.history))\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SUPPORT.parents[1])}
    done = subprocess.run(
        [sys.executable, script, tmp_path], env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    ranks = [PtychoModel.load(tmp_path / f"rank-{rank}.zip") for rank in range(2)]
    assert same_weights(*ranks)
    history = [json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in range(2)]
    assert [line["train_loss"] for line in history[0]] == [line["train_loss"] for line in history[1]]
    assert [line["epoch"] for line in map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())] == [0, 1]
    alone, trainer = fit(small_configs(tmp_path / "alone", training={"batch_size": 4}), scan)
    assert history[0][-1]["train_loss"] == pytest.approx(trainer.history[-1]["train_loss"], rel=0.05)


def test_data_may_be_named_by_the_configuration(scan: Experiment, tmp_path: Path) -> None:
    folder = tmp_path / "more"
    folder.mkdir()
    for path in (tmp_path / "one.npz", folder / "two.npz"):
        counts = np.rint(np.square(scan.amplitude)).astype(np.uint32)
        write_training_file(path, TrainingScan(counts, scan.positions_px, scan.probe), "diff3d")
    named = {"train_data_file": tmp_path / "one.npz", "training_directories": [folder], "epochs": 1}
    model = Trainer(small_configs(tmp_path / "work", training=named)).fit()
    assert [one["name"] for one in model.bundle.provenance["experiments"]] == ["one.npz", "two.npz"]
    with pytest.raises(FileFormatError, match="no path: has no NPZ file"):
        Trainer(small_configs(tmp_path / "work")).fit()
