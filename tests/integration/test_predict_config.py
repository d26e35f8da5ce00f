"""``predict`` with a configuration: one of several scans, weight, trim, batch and model are those of its section inference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from daemon.cli.main import app
from daemon.errors import ConfigError
from daemon.files import read_product, read_scan
from daemon.files.conversion import write_kind
from ptychopinn.api import PtychoModel
from tests.support.file_scenes import a_scan
from tests.support.training_scenes import experiment, small_configs

SCANS = [experiment(frames=frames, seed=frames) for frames in (9, 16)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("several")
    counts = np.concatenate([np.rint(np.maximum(one.amplitude, 0) ** 2) for one in SCANS]).astype(np.uint32)
    y, x = np.concatenate([one.positions_px for one in SCANS]).T
    index = np.repeat([3, 7], [9, 16])
    np.savez(folder / "s.npz", diff3d=counts, xcoords=x, ycoords=y, probeGuess=SCANS[1].probe[0], scan_index=index)
    PtychoModel.new(small_configs(folder)).save(folder / "m.zip")
    return folder


def predicted(place: Path, *settings: str, bundle: str | None = "none") -> tuple[dict[str, Any], Any]:
    words = ["predict", str(place / "s.npz"), "--output", str(place / "o.npz"), "--looks", "1", "--json"]
    words += [] if bundle is None else ["--bundle", bundle]
    done = CliRunner().invoke(app, [*words, *(part for one in settings for part in ("--set", f"inference.{one}"))])
    if done.exit_code != 0:
        assert done.exception is not None, done.output
        raise AssertionError(done.output + done.stderr)
    with np.load(place / "o.npz") as archive:
        return json.loads(done.stdout)[0], archive["object"]


def test_one_of_several_scans_is_selected(place: Path) -> None:
    for number, frames in ((0, 9), (1, 16)):
        assert predicted(place, f"experiment_number={number}")[0]["frames"] == frames
    with pytest.raises(AssertionError, match=r"there is no scan 2 of 2 \(from 0\)"):
        predicted(place, "experiment_number=2")


def verb(*words: object) -> list[dict[str, Any]]:
    done = CliRunner().invoke(app, [*map(str, words), "--json"])
    assert done.exit_code == 0, (done.output, done.exception)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_each_of_several_scans_gets_a_product(place: Path) -> None:
    options = ("--bundle", "none", "--looks", "1")
    found = verb("predict", place / "s.npz", "--output", place / "each", *options)
    assert [(one["scan"], one["frames"], Path(one["output"]).name) for one in found] == [
        (0, 9, "s-scan0.h5"),
        (1, 16, "s-scan1.h5"),
    ]
    assert [read_product(place / "each" / f"s-scan{n}.h5").name for n in (0, 1)] == ["s-scan0", "s-scan1"]
    (one,) = verb("predict", place / "s.npz", "--output", place / "one.h5", *options, "--scan", "1")
    assert (one["scan"], one["frames"]) == (1, 16)
    np.testing.assert_array_equal(
        read_product(place / "one.h5").object, read_product(place / "each" / "s-scan1.h5").object
    )
    said = CliRunner().invoke(app, ["predict", str(place / "s.npz"), "--output", str(place / "all.h5"), *options])
    assert isinstance(said.exception, ConfigError)
    assert "holds 2 scans, but --output" in str(said.exception)


def test_each_of_several_scans_is_validated(place: Path) -> None:
    found = verb("validate", place / "s.npz")
    assert [(one["scan"], one["verdict"] in ("good", "doubtful")) for one in found] == [(0, True), (1, True)]
    shown = CliRunner().invoke(app, ["validate", str(place / "s.npz")]).stdout
    assert [f"s.npz, scan {n}: " in shown for n in (0, 1, 2)] == [True, True, False]
    assert "9 frames" in shown


def test_one_of_several_scans_is_converted(place: Path) -> None:
    CliRunner().invoke(app, ["convert", str(place / "s.npz"), str(place / "c.npz"), "--scan", "1"])
    assert read_scan(place / "c.npz").counts.shape[0] == 16
    refused = CliRunner().invoke(app, ["convert", str(place / "s.npz"), str(place / "d.npz")])
    assert "holds 2 scans (scan_index) and one is needed; give --scan" in str(refused.exception)
    write_kind(place / "one.cxi", a_scan(), "cxi")
    refused = CliRunner().invoke(app, ["convert", str(place / "one.cxi"), str(place / "d.npz"), "--scan", "1"])
    assert "there is no scan 1 of 1 (from 0); give a smaller --scan" in str(refused.exception)


def test_weight_trim_batch_and_model_are_those_of_the_configuration(place: Path) -> None:
    first, plain = predicted(place, "experiment_number=1")
    _, uniform = predicted(place, "experiment_number=1", 'patch_weighting="uniform"')
    assert uniform.shape == plain.shape
    assert np.abs(uniform - plain).max() > 1e-3
    small, _ = predicted(place, "experiment_number=1", "batch_size=2")
    assert small["batch"] <= 2 <= first["batch"]
    named = f'model_path="{place / "m.zip"}"'
    model, whole = predicted(place, "experiment_number=1", named, bundle=None)
    assert model["model"] != "lift"
    _, middle = predicted(place, "experiment_number=1", named, "middle_trim=16", bundle=None)
    assert (middle != 0).sum() < (whole != 0).sum()
