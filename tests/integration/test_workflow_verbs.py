"""The workflow from the command line: simulate, train, predict, check and convert, each verb a fresh start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from daemon.cli.main import app
from ptychopinn.api import PtychoModel
from ptychopinn.config.mlflow_client import mlflow_client
from ptychopinn.workflow.export import covered, load_picture, truth_beside
from tests.support.verbs import PICTURE_ALONE

CONFIG = """
[data]
N = 64
grid_size = [1, 1]
[model]
n_filters_scale = 1
[training]
epochs = 1
batch_size = 8
learning_rate = 3e-4
train_data_file = "{scans}/scan-0000.npz"
[datagen]
objects_per_probe = 2
diff_per_object = 25
object_class = "shapes"
"""


def run(*words: object) -> Result:
    return CliRunner().invoke(app, list(map(str, words)))


def said(*words: object) -> Any:
    done = run(*words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workflow")
    (folder / "train.toml").write_text(CONFIG.format(scans=folder / "scans"))
    return folder


@pytest.fixture(scope="module")
def scans(place: Path) -> list[Path]:
    written = said("simulate", place / "scans", "--config", place / "train.toml")
    return [Path(one["file"]) for one in written]


@pytest.fixture(scope="module")
def trained(place: Path, scans: list[Path]) -> dict[str, Any]:
    """A training of the scan that the configuration names, tracked."""
    store = place / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONWARNINGS", "ignore")
        found: dict[str, Any] = said(
            "train",
            "--model",
            "cnn",
            "--config",
            place / "train.toml",
            "--output",
            place / "cnn.zip",
            "--mlflow",
            store,
        )
    return found


pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


def test_scans_are_those_of_the_configuration_and_keep_the_contract(scans: list[Path]) -> None:
    assert [path.name for path in scans] == ["scan-0000.npz", "scan-0001.npz"]
    with np.load(scans[1]) as archive:
        assert archive["diff3d"].shape == (25, 64, 64)
    assert said("validate", *scans)


def test_the_named_file_is_trained_on_and_a_scan_is_predicted(
    trained: dict[str, Any], scans: list[Path], place: Path
) -> None:
    assert (len(trained["training_loss"]), trained["training_loss"][-1]) == (
        trained["epochs"],
        trained["metrics"]["train_loss"],
    )
    assert trained["scans"] == 1
    used = PtychoModel.load(place / "cnn.zip").bundle.configs["training"]
    assert (used["overlap_frames"], used["batch_size"]) == (6, 8)  # of the preset, of the configuration
    options = ("--bundle", place / "cnn.zip", *PICTURE_ALONE)
    (predicted,) = said("predict", scans[1], *options, "--output", place / "seen.npz")
    assert predicted["rfactor"] < 0.5  # in photon units, whatever scale the network has
    picture = load_picture(place / "seen.npz")
    with np.load(place / "seen.npz") as archive:
        truth = archive["truth"]
    assert picture.rfactors == pytest.approx(predicted["rfactors"])
    known = covered(picture, truth_beside(picture, truth))
    assert known.sum() > 1000
    assert abs(picture.object[known]).mean() == pytest.approx(abs(truth).mean(), rel=0.2)
    assert run("predict", scans[1], *options, "--output", place / "seen.h5").exit_code == 0
    assert said("validate", place / "seen.h5")


def test_a_tracked_run_gives_its_model_and_its_configuration(
    trained: dict[str, Any], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run_id,) = trained["runs"]
    assert mlflow_client(str(place / "runs")).get_run(run_id).info.status == "FINISHED"
    monkeypatch.setenv("PTYCHOLIVE_MODELS", str(place / "models"))
    assert run("model", "import", run_id, "--mlflow", place / "runs", "--name", "tracked").exit_code == 0
    model = PtychoModel.load(place / "models" / "tracked.zip")
    assert model.bundle.weights.keys() == PtychoModel.load(place / "cnn.zip").bundle.weights.keys()
    stored = ("--config", f"mlflow:{run_id}", "--mlflow", place / "runs")
    configs = json.loads(run("config", "workflow", *stored).stdout)
    assert configs["training_config"]["learning_rate"] == 3e-4
    untracked = ("--set", "training.orchestrator=Lightning", "--set", "training.n_groups=8")
    again = said("train", *stored, *untracked, "--output", place / "again.zip")
    assert again["groups"] == 8
    assert not again["runs"]


def test_the_older_codes_dictionary_is_shown(place: Path) -> None:
    done = run("config", "workflow", "--config", place / "train.toml", "--set", "data.nphotons=1e6", "--legacy")
    cfg = json.loads(done.stdout)
    assert (cfg["gridsize"], cfg["nphotons"], cfg["nepochs"], cfg["model_type"]) == (1, 1e6, 1, "pinn")
    wrong = run("config", "workflow", "--set", "data.nphotonz=1")
    assert "did you mean nphotons" in str(wrong.exception)


def test_a_preset_gives_way_to_the_configuration_unless_it_was_asked_for(scans: list[Path], tmp_path: Path) -> None:
    staged = ("--set", "training.stage_1_epochs=1", "--set", "training.n_groups=8", "--set", "model.n_filters_scale=1")
    words = ("train", scans[0], "--model", "cnn", *staged, "--output", tmp_path / "s.zip")
    said(*words)
    assert PtychoModel.load(tmp_path / "s.zip").bundle.configs["training"]["overlap_frames"] == 0
    asked = run(*words, "--preset", "neighbourhoods")
    assert "stage_1_epochs is 1 but has no effect where overlap_frames is 6" in str(asked.exception)
    assert "--preset x is not known" in str(run(*words, "--preset", "x").exception)


def test_without_any_data_it_is_said_what_is_missing(place: Path) -> None:
    done = run("train", "--model", "cnn", "--output", place / "x.zip")
    assert "training.train_data_file" in str(done.exception)
