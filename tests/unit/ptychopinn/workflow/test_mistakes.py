"""A user's mistakes in the Python interface: one sentence each, which names the file; extras are missed before any work."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from daemon.cli.main import app
from ptychopinn import api
from ptychopinn.api import (
    ConfigurationError,
    FileFormatError,
    InferenceEngine,
    PtychoDataset,
    PtychoModel,
    ReconstructionError,
    Trainer,
    build_store,
    read_training_file,
    save_hdf5,
    save_npz,
    stitch,
    write_training_file,
)
from ptychopinn.contract.training_export import TrainingScan
from tests.support.training_scenes import grid_experiment, small_configs

SCAN = grid_experiment("g", 4)
COUNTS = np.square(np.maximum(SCAN.amplitude, 0)).astype(np.uint16)


def a_file(folder: Path, **changes: Any) -> Path:
    y, x = SCAN.positions_px.T
    np.savez(folder / "s.npz", **{"diff3d": COUNTS, "xcoords": x, "ycoords": y, "probeGuess": SCAN.probe[0], **changes})
    return folder / "s.npz"


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "mask of another shape": ({"bad_pixels": np.zeros((32, 32), bool)}, "the mask is (32, 32) but frames are (64, 64)"),
    "metres": (
        {"xcoords": np.arange(16) * 1e-8, "ycoords": np.arange(16) * 1e-8},
        "write them in object pixels, not in metres",
    ),
    "one position": ({"xcoords": np.full(16, 40.0), "ycoords": np.full(16, 40.0)}, "frames lie on one pixel"),
    "dark": ({"diff3d": np.zeros_like(COUNTS)}, "the patterns have no photons"),
}


@pytest.mark.parametrize("mistake", BAD)
def test_bad_files_are_named_in_training_and_prediction(mistake: str, tmp_path: Path) -> None:
    changes, words = BAD[mistake]
    path = a_file(tmp_path, **changes)
    engine = InferenceEngine(PtychoModel.new(small_configs(tmp_path)))
    actions: list[Callable[[], object]] = [
        lambda: Trainer(small_configs(tmp_path / "o")).fit(path),
        lambda: list(engine.predict_files([path])),
    ]
    for act in actions:
        with pytest.raises(ReconstructionError) as caught:
            act()
        assert words in str(caught.value)
        assert "s.npz: " in str(caught.value)


def test_a_device_that_is_not_there_is_refused_at_once(tmp_path: Path) -> None:
    for framework in ("Default", "Lightning"):
        with pytest.raises(ConfigurationError, match=r"TrainingConfig\.device is cuda:77"):
            Trainer(small_configs(tmp_path, framework, training={"device": "cuda:77"}))


def test_paths_may_be_text(tmp_path: Path) -> None:
    text = str(tmp_path / "w.npz")
    write_training_file(text, TrainingScan(COUNTS, SCAN.positions_px, SCAN.probe))
    assert len(read_training_file(text).amplitude) == 16
    configs = small_configs(tmp_path)
    build_store(str(tmp_path / "store"), [SCAN], configs.data_config, configs.training_config)
    assert len(PtychoDataset(str(tmp_path / "store"), "all")) == 16


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    picture = stitch(SCAN.amplitude[:2] + 0j, SCAN.positions_px[:2])
    gone = tmp_path / "gone"
    writers: list[Callable[[], object]] = [
        lambda: save_npz(gone / "x", picture),
        lambda: save_hdf5(gone / "x", picture),
        lambda: write_training_file(gone / "x", TrainingScan(COUNTS, SCAN.positions_px, SCAN.probe)),
        lambda: PtychoModel.new(small_configs(tmp_path)).save(gone / "x"),
    ]
    for write in writers:
        with pytest.raises(FileFormatError, match=r"gone/x: the folder .*gone does not exist; create it"):
            write()


def test_a_letter_too_few_gets_a_suggestion() -> None:
    with pytest.raises(AttributeError, match="no attribute 'InferenceEngin'; did you mean InferenceEngine"):
        api.InferenceEngin  # noqa: B018
    with pytest.raises(ConfigurationError, match="trainin is not a section; did you mean training"):
        api.ConfigManager().update(["trainin.epochs=3"])


def test_a_damaged_lightning_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(FileFormatError, match=r"last\.ckpt: not a checkpoint, or damaged; start a new training"):
        Trainer(small_configs(tmp_path, "Lightning")).fit([SCAN], is_resumed=True)


def test_missing_extras_are_missed_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = importlib.import_module

    def missing(name: str, *rest: Any) -> Any:
        if name.split(".")[0] in ("mlflow", "matplotlib"):
            raise ImportError(name)
        return known(name, *rest)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ConfigurationError, match=r"install ptycholive\[mlflow\]"):
        Trainer(small_configs(tmp_path), tracking_uri=str(tmp_path / "runs"))
    gone = [
        "predict",
        str(tmp_path / "gone.npz"),
        "--output",
        str(tmp_path / "o.h5"),
        "--plot",
        "png",
        "--bundle",
        "none",
    ]
    result = CliRunner().invoke(app, gone)
    assert "install ptycholive[plot]" in str(result.exception)
