"""A file with positions in pixels and no pixel size, PtychoPINN's own form: no verb asks for one, products are in pixels."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from daemon.cli.main import app
from daemon.files import read_probe, read_product
from tests.support.training_scenes import experiment
from tests.support.verbs import PICTURE_ALONE


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    one = experiment(frames=16)
    y, x = one.positions_px.T
    content = {"xcoords": x, "ycoords": y, "probeGuess": one.probe[0], "objectGuess": one.object}
    path = tmp_path_factory.mktemp("pixels") / "s.npz"
    np.savez(path, diff3d=np.maximum(one.amplitude, 0), **content)  # type: ignore[arg-type]
    return path


def assert_in_pixels(path: Path, scan: Path) -> None:
    with h5py.File(path) as file:
        assert not file["live"].attrs["is_pixel_size_known"]
        assert file["object"].attrs["pixel_width_m"] == file["probe"].attrs["pixel_height_m"] == 1.0
        with np.load(scan) as content:
            np.testing.assert_allclose(file["probe_position_x_m"][()], content["xcoords"])
    product = read_product(path)
    assert product.known_pixel_size_m is None
    assert "one metre in this file means one pixel" in product.comments
    assert read_probe(path).pixel_size_m is None


def test_predict_refine_and_convert_need_no_pixel_size(scan: Path, tmp_path: Path) -> None:
    (predicted,) = json.loads(
        run("predict", scan, "--bundle", "none", "--output", tmp_path / "p.h5", "--json", *PICTURE_ALONE)
    )
    assert predicted["pixel_size_m"] is None
    refined = run(
        "refine",
        scan,
        "--output",
        tmp_path / "r.h5",
        "--sweeps",
        "2",
        "--probe-output",
        tmp_path / "q.npz",
        "--json",
        *PICTURE_ALONE,
    )
    assert json.loads(refined)["pixel_size_m"] is None
    assert read_probe(tmp_path / "q.npz").pixel_size_m is None
    run("convert", scan, tmp_path / "c.h5")
    for name in ("p.h5", "r.h5", "c.h5"):
        assert_in_pixels(tmp_path / name, scan)
    options = ("--bundle", "none", "--pixel-size", "2e-8", "--json", *PICTURE_ALONE)
    stated = run("predict", scan, *options, "--output", tmp_path / "m.h5")
    assert json.loads(stated)[0]["pixel_size_m"] == 2e-8
    with h5py.File(tmp_path / "m.h5") as file:
        assert file["live"].attrs["is_pixel_size_known"]
