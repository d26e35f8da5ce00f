"""``--correct-positions`` of refine and predict: from a file with wrong positions to a product with both."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from daemon.cli.main import app
from daemon.files import read_product

OPTIONS = (
    "--size",
    64,
    "--frames",
    64,
    "--counts",
    1e5,
    "--overlap",
    0.75,
    "--object",
    "noise",
    "--phase",
    1.5,
    "--seed",
    4,
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray, np.ndarray]:
    """Return a scan whose frames are told 2.5 px off, and the positions as told and as they are, pixels, [y, x]."""
    folder = tmp_path_factory.mktemp("scan")
    assert CliRunner().invoke(app, ["simulate", str(folder / "true.npz"), *map(str, OPTIONS)]).exit_code == 0
    with np.load(folder / "true.npz") as archive:
        arrays = dict(archive)
    true = np.stack([arrays["ycoords"], arrays["xcoords"]], axis=1)
    told = true + np.random.default_rng(1).normal(scale=2.0, size=true.shape)
    arrays["ycoords"], arrays["xcoords"] = told.T
    np.savez(folder / "wrong.npz", **arrays)
    return folder / "wrong.npz", told, true


def error_px(positions: np.ndarray, true: np.ndarray) -> float:
    error = positions - true
    return float(np.median(np.hypot(*(error - np.median(error, axis=0)).T)))


@pytest.mark.parametrize("verb", [("refine", "--sweeps", "3"), ("predict", "--bundle", "none", "--looks", "1")])
def test_the_product_holds_found_and_measured_positions(files, verb: tuple[str, ...], tmp_path: Path):
    path, told, true = files
    output = tmp_path / "product.h5"
    done = CliRunner().invoke(
        app, [*verb, str(path), "--output", str(output), "--correct-positions", "--json", "--no-diagnosis"]
    )
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    said = said[0] if isinstance(said, list) else said
    product = read_product(output)
    pixel = product.pixel_size_m
    assert product.live is not None
    measured = product.live.measured_position_m
    assert np.allclose(measured / pixel - told, (measured / pixel - told)[0], atol=1e-6)
    shift = (measured / pixel - told)[0]
    assert error_px(product.positions_m / pixel - shift, true) < 0.5 * error_px(told, true)
    assert np.allclose(measured + product.live.position_corrections_m, product.positions_m)
    assert said["positions_corrected"]
    assert said["position_error_px"] == pytest.approx(2.5, rel=0.3)
    assert "positions are off by about 2." in product.comments
    if verb[0] == "refine":
        assert said["frc_nm"] == pytest.approx(said["frc_px"] * pixel * 1e9)
    assert said["frc_nm"] == product.live.frc_nm  # None of one look of the lift: its halves do not agree
    assert (product.live.frc_criterion, product.live.frc[0, 1]) == ("half-bit", 1.0)
    assert product.live.frc[-1, 0] == pytest.approx(0.5 / pixel, rel=0.05)
    with h5py.File(output) as file:
        assert file["live/measured_position_m"].shape == (64, 2)


def test_without_the_option_positions_are_as_measured(files, tmp_path: Path):
    path, told, _ = files
    output = tmp_path / "product.h5"
    options = ("--sweeps", "1", "--no-resolution", "--no-diagnosis")
    done = CliRunner().invoke(app, ["refine", str(path), "--output", str(output), *options])
    assert done.exit_code == 0, done.output
    product = read_product(output)
    assert product.live is not None
    assert product.live.measured_position_m is None
    assert (product.live.frc, product.live.frc_nm, "resolution" in done.stdout) == (None, None, False)
    assert np.ptp(product.positions_m / product.pixel_size_m - told, axis=0).max() < 1e-6


def test_a_bound_alone_asks_for_it_and_the_line_says_what_was_found(files, tmp_path: Path):
    path, _, _ = files
    output = str(tmp_path / "product.h5")
    done = CliRunner().invoke(app, ["refine", str(path), "--output", output, "--sweeps", "1", "--position-bound", "8"])
    assert done.exit_code == 0, done.output
    assert "positions are off by about 2." in done.stdout
    assert "R of a quick picture falls from" in done.stdout
    assert "half-bit, two halves of the frames" in done.stdout
