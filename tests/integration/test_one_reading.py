"""Every good and odd file through every verb: it is used by all or refused by all, and ``validate`` says beforehand which."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from daemon.cli.convert import run_convert
from daemon.cli.main import app
from daemon.cli.prediction import PredictOptions, Predictor
from daemon.cli.refine import RefineOptions, run_refine
from daemon.cli.scan_input import read_data
from daemon.cli.training_run import TrainingOptions, first_side_px, reader
from daemon.cli.validate import FileReport, examine
from daemon.files import read_product, read_scan
from daemon.files.conversion import write_kind
from ptychopinn.config.sections import DataConfig, TrainingConfig
from ptychopinn.data import build_store
from ptychopinn.detector.geometry import to_amplitude
from ptychopinn.errors import GeometryError, ReconstructionError
from ptychopinn.physics import scan_check
from ptychopinn.refine.retrieve import retrieve
from tests.support.odd_files import FILES, SIDE, npz, scan

TRAINING = TrainingOptions()
SEVERAL_SCANS = "two-scans.npz"
"""Training alone takes several scans in one file."""

FRAMES_MISSING = ("virtual.cxi",)
"""The file is bad, the picture of the frames that are there is not."""

TOO_FAR_APART = ("positions-um.cxi", "positions-mm.cxi")
"""A training file holds an object of the size that the positions ask for; CXI holds none, so that alone can be written."""


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(PredictOptions("none", None, "cpu", "float32", looks=1, sweeps=0, pixel_size_m=None))


@pytest.fixture(params=FILES)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    found: Path = tmp_path / request.param
    FILES[request.param][1](found)
    return found


def outcome(verb: str, path: Path, predictor: Predictor) -> str:
    """Return good, doubtful or nonsense, or the reason of the refusal."""
    out = path.with_name("out.h5")
    try:
        if verb == "predict":
            return str(predictor.predict(path, out)["verdict"])
        if verb == "refine":
            run_refine([path], out, RefineOptions(sweeps=3, full_sweeps=3, update_probe=False), as_json=True)
        if verb == "train":
            scan = reader(TRAINING, 1e5)(path)
            build_store(path.with_name("store"), [scan], DataConfig(N=SIDE, grid_size=(1, 1)), TrainingConfig())
        if verb in ("cxi", "npz"):
            run_convert(path, path.with_name(f"out.{verb}"), None, as_json=True)
        if verb == "replay":
            read_data(path)
    except typer.Exit:
        return "nonsense"
    except ReconstructionError as fault:
        return str(fault).removeprefix(f"{path}: ")
    return "good"


def test_all_verbs_agree(path: Path, predictor: Predictor) -> None:
    wanted, finding = FILES[path.name][0], examine(path)
    assert finding.verdict == wanted, finding
    said = {verb: outcome(verb, path, predictor) for verb in ("predict", "refine", "train", "cxi", "npz", "replay")}
    if wanted == "refused":
        if path.name == SEVERAL_SCANS:
            assert said.pop("train") == "good"
        assert set(said.values()) == {finding.refusal}
    elif wanted == "bad":
        assert_bad(path.name, finding, said)
    else:
        assert said.pop("predict") == wanted
        assert set(said.values()) == {"good"}
        assert_same_scan(path, finding)


def assert_bad(name: str, finding: FileReport, said: dict[str, str]) -> None:
    """Compare what comes of a file that cannot be right: replay and convert pass it on, nothing is made or learnt of it."""
    assert (said.pop("replay"), said.pop("cxi")) == ("good", "good")
    if name in FRAMES_MISSING:
        assert said == {"predict": "doubtful", "refine": "good", "train": "good", "npz": "good"}
        return
    refusal = said["predict"]
    if refusal == "nonsense":
        assert said["refine"] == "nonsense"
        assert said["train"] in finding.wrong
    else:
        assert said["refine"] == refusal
        assert said["train"].removeprefix(f"{name}: ") in (refusal, *finding.wrong)
    assert (said["npz"] == "good") == (name not in TOO_FAR_APART)


def assert_same_scan(path: Path, finding: FileReport) -> None:
    """Compare what the conversions and the training have with the scan as it is read."""
    scan = read_scan(path)
    amplitude = to_amplitude(scan.counts, scan.mask)
    assert finding.summary.endswith(f"{len(amplitude)} frames of {SIDE} x {SIDE} px, {scan.counts.dtype}")
    beyond_detector = 2 * SIDE if path.name == "oblong-short.cxi" else 0
    assert 0 <= int((amplitude < 0).sum()) - beyond_detector * len(amplitude) <= 4 * len(amplitude)
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


def test_several_files_are_all_done(predictor: Predictor, tmp_path: Path) -> None:
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


def test_what_is_doubtful_stands_in_the_product(predictor: Predictor, tmp_path: Path) -> None:
    path, out = tmp_path / "kev.cxi", tmp_path / "out.h5"
    FILES[path.name][1](path)
    line = "doubtful: energy 8.8 is impossible in J and is taken as keV; write its units"
    for verb in ("predict", "refine"):
        outcome(verb, path, predictor)
        live = read_product(out).live
        assert live is not None
        assert live.doubts.startswith(line)
        assert (live.network is None) == (verb == "refine")


def test_a_few_sweeps_are_not_called_nonsense(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "plain.cxi"
    wrong_probe = np.roll(np.asarray(scan().probe), 9, axis=-1) * np.exp(1j * np.indices((SIDE, SIDE))[0])
    write_kind(path, replace(scan(), probe=wrong_probe.astype(np.complex64)), "cxi")
    options = RefineOptions(sweeps=1, full_sweeps=1, update_probe=False)
    run_refine([path], tmp_path / "out.h5", options, as_json=True)
    (found,) = (one for one in json.loads(capsys.readouterr().out)["doubts"] if one["doubt"] == "rfactor")
    assert "after 1 sweep" in found["sentence"]
    assert found["sentence"].endswith("more sweeps are needed")


def test_training_says_what_is_doubtful_about_its_own_files_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "kev.npz"
    npz(photon_energy_eV=8.8)(path)
    first_side_px([path], TRAINING, tmp_path / "m.zip")
    reader(TRAINING, 1e5)(path)
    assert capsys.readouterr().err == f"{path}: the photon energy is 8.8 eV; if that is in keV, write 8.8e3\n"


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
    with pytest.raises(GeometryError, match=r"needs 6\.4 GB of memory, but 1\.0 GB are free"):
        scan_check.check_extent(np.array([[0.0, 0.0], [9936.0, 9936.0]]), 64)
    monkeypatch.undo()
    assert scan_check.free_memory_bytes() > 0
