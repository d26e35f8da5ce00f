"""Every good and odd file through every verb: it is used by all or refused by all, and ``validate`` says beforehand which."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from daemon.cli.convert import run_convert
from daemon.cli.main import app
from daemon.cli.predict import PredictOptions, _Predictor
from daemon.cli.refine import RefineOptions, run_refine
from daemon.cli.scan_input import read_data
from daemon.cli.training_run import TrainingOptions, reader
from daemon.cli.validate import Finding, examine
from daemon.files import read_scan
from ptychopinn import scan_check
from ptychopinn.configs import DataConfig, TrainingConfig
from ptychopinn.data import build_store
from ptychopinn.errors import GeometryError, ReconstructionError
from ptychopinn.geometry import to_amplitude
from ptychopinn.retrieve import retrieve
from tests.support.odd_files import DETECTOR, FILES, SIDE, cxi, scan

TRAINING = TrainingOptions(None, (), None, None, None, False, 1, None, False)
SEVERAL_SCANS = "two-scans.npz"
"""Training alone takes several scans in one file."""

FRAMES_MISSING = ("virtual.cxi",)
"""The file is bad, the picture of the frames that are there is not."""


@pytest.fixture(scope="module")
def predictor() -> _Predictor:
    return _Predictor(PredictOptions("none", None, "cpu", "float32", 1, 0, None))


@pytest.fixture(params=FILES)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    found: Path = tmp_path / request.param
    FILES[request.param][1](found)
    return found


def outcome(verb: str, path: Path, predictor: _Predictor) -> str:
    """Return good, doubtful or nonsense, or the reason of the refusal."""
    out = path.with_name("out.h5")
    try:
        if verb == "predict":
            return str(predictor.predict(path, out)["verdict"])
        if verb == "refine":
            run_refine(path, out, RefineOptions(None, 3, 3, 0.9, False, 0, None, None), as_json=True)
        if verb == "train":
            scan = reader(TRAINING, 1e5)(path)
            build_store(path.with_name("store"), [scan], DataConfig(N=SIDE, grid_size=(1, 1)), TrainingConfig())
        if verb in ("cxi", "npz"):
            run_convert(path, path.with_name(f"out.{verb}"), None, None, None, as_json=True)
        if verb == "replay":
            read_data(path)
    except typer.Exit:
        return "nonsense"
    except ReconstructionError as fault:
        return str(fault).removeprefix(f"{path}: ")
    return "good"


def test_all_verbs_agree(path: Path, predictor: _Predictor) -> None:
    wanted, finding = FILES[path.name][0], examine(path)
    assert finding.verdict == wanted, finding
    said = {verb: outcome(verb, path, predictor) for verb in ("predict", "refine", "train", "cxi", "npz", "replay")}
    if wanted == "refused":
        of_training = said.pop("train")
        assert set(said.values()) == {finding.refusal}
        assert (of_training == "good") == (path.name == SEVERAL_SCANS)
    elif wanted == "bad":
        assert said["replay"] == "good"
        assert (
            said["predict"] == "doubtful"
            if path.name in FRAMES_MISSING
            else said["predict"] not in ("good", "doubtful")
        )
        assert said["refine"] == "good" if path.name in FRAMES_MISSING else said["refine"] != "good"
    else:
        assert said.pop("predict") == wanted
        assert set(said.values()) == {"good"}
        assert_same_scan(path, finding)


def assert_same_scan(path: Path, finding: Finding) -> None:
    """Compare what the conversions and the training have with the scan as it is read."""
    scan = read_scan(path)
    amplitude = to_amplitude(scan.counts, scan.mask)
    assert finding.summary.endswith(f"{len(amplitude)} frames of {SIDE} x {SIDE} px, {scan.counts.dtype}")
    no_data = np.argwhere(amplitude < 0)
    assert 0 <= len(no_data) <= 4 * len(amplitude)
    back: dict[str, Any] = {kind: read_scan(path.with_name(f"out.{kind}")) for kind in ("cxi", "npz")}
    for one in back.values():
        np.testing.assert_array_equal(to_amplitude(one.counts, one.mask) < 0, amplitude < 0)
        np.testing.assert_allclose(to_amplitude(one.counts, one.mask), amplitude, rtol=1e-6)
    trained = reader(TRAINING, 1e5)(path)
    np.testing.assert_array_equal(trained.amplitude < 0, amplitude < 0)
    lit = amplitude > 0
    ratio = trained.amplitude[lit] / amplitude[lit]
    assert np.ptp(ratio) < 1e-4 * ratio.mean()
    assert trained.positions_px.shape == (len(amplitude), 2)


def test_several_files_are_all_done(predictor: _Predictor, tmp_path: Path) -> None:
    names = ("text.npz", "plain.cxi", "empty.cxi", "objects.npz", "with-json.npz")
    files = [tmp_path / name for name in names]
    for file in files:
        FILES[file.name][1](file)
    validated = CliRunner().invoke(app, ["validate", "--json", *map(str, files)])
    assert [one["verdict"] for one in json.loads(validated.stdout)] == [FILES[name][0] for name in names]
    options = ("--bundle", "none", "--looks", "1", "--output", str(tmp_path / "out"))
    predicted = CliRunner().invoke(app, ["predict", "--json", *options, *map(str, files)])
    assert [Path(one["input"]).name for one in json.loads(predicted.stdout)] == ["plain.cxi", "with-json.npz"]
    small = ("--set", "model.n_filters_scale=1", "--set", "training.epochs=1", "--set", "training.n_groups=4")
    trained = CliRunner().invoke(
        app, ["train", "--model", "lift", *small, "--json", "--output", str(tmp_path / "b.zip"), *map(str, files)]
    )
    assert json.loads(trained.stdout)["scans"] == 2
    for done in (predicted, trained):
        assert [line.split(": ")[1] for line in done.stderr.splitlines() if line.startswith("ptycholive: ")] == [
            str(file) for file in files if FILES[file.name][0] == "refused"
        ]
    assert {one.exit_code for one in (validated, predicted, trained)} == {3}


def test_an_oblong_scan_is_for_replay_alone(predictor: _Predictor, tmp_path: Path) -> None:
    path = tmp_path / "oblong.cxi"
    cxi(**{f"{DETECTOR}/data": scan().counts[:, 2:], f"{DETECTOR}/mask": None})(path)
    assert "the patterns are 30 x 32 px; a reconstruction needs square ones: crop them" in examine(path).notes
    for verb in ("predict", "refine", "train"):
        assert outcome(verb, path, predictor) != "good"
    assert outcome("replay", path, predictor) == "good"


@pytest.mark.parametrize(
    ("places", "words"),
    [
        (np.full((4, 2), np.nan), "not 4 finite pairs"),
        (np.zeros((3, 2)), "not 4 finite pairs"),
        (np.array([[0, 0], [0, 1], [1, 0], [1e9, 0]]), "check the positions' unit"),
    ],
)
def test_positions_that_cannot_be_are_refused_by_the_refinement_too(places: Any, words: str) -> None:
    amplitude = torch.from_numpy(to_amplitude(scan().counts[:4]))
    with pytest.raises(GeometryError, match=words):
        retrieve(amplitude, places, torch.from_numpy(scan().probe), sweeps=1)


def test_an_object_that_does_not_fit_into_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_check, "free_memory_bytes", lambda: 1e9)
    with pytest.raises(GeometryError, match=r"takes 6\.4 GB of memory and 1\.0 are free"):
        scan_check.check_extent(np.array([[0.0, 0.0], [9936.0, 9936.0]]), 64)
    monkeypatch.undo()
    assert scan_check.free_memory_bytes() > 0
