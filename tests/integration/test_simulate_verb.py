"""The verb ``simulate``: files that the other verbs read, and that a seed repeats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from daemon.cli.main import app
from daemon.errors import ConfigError
from daemon.files import read_product, read_scan


def load(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as archive:
        return dict(archive)


def run(*arguments: object):
    return CliRunner().invoke(app, ["simulate", *map(str, arguments)])


def test_a_simulated_scan_is_read_and_refined_to_its_truth(tmp_path: Path):
    path = tmp_path / "weak.npz"
    options = ("--size", 64, "--frames", 64, "--counts", 1e6, "--overlap", 0.8, "--probe", "gaussian", "--seed", 3)
    assert run(path, *options).exit_code == 0
    scan = read_scan(path)
    assert scan.counts.shape == (64, 64, 64)
    assert scan.counts.dtype == np.uint16
    assert scan.counts.sum(axis=(1, 2)).max() < 1.5e6
    done = CliRunner().invoke(app, ["refine", str(path), "--output", str(tmp_path / "p.h5"), "--keep-probe"])
    assert done.exit_code == 0, done.output
    product, truth = read_product(tmp_path / "p.h5"), load(path)["objectGuess"]
    corner = np.asarray(product.object_origin_px, dtype=int)
    height, width = product.object.shape
    inside = slice(20, -20), slice(20, -20)
    found = product.object[inside]
    true = truth[corner[0] : corner[0] + height, corner[1] : corner[1] + width][inside]
    assert np.corrcoef(np.angle(found).ravel(), np.angle(true / true.mean()).ravel())[0, 1] > 0.9


def test_the_same_seed_gives_the_same_scans_and_each_file_another(tmp_path: Path):
    for name in ("a", "b"):
        options = ("--size", 32, "--frames", 9, "--count", 2, "--seed", 7, "--track", "spiral", "--modes", 2)
        assert run(tmp_path / f"{name}.npz", *options).exit_code == 0
    first, second = (load(tmp_path / f"a-000{k}.npz") for k in (0, 1))
    again = load(tmp_path / "b-0000.npz")
    for key in first:
        np.testing.assert_array_equal(first[key], again[key])
    assert first["probeGuess"].shape == (2, 32, 32)
    assert (first["diff3d"] != second["diff3d"]).any()


def test_an_unknown_kind_is_named(tmp_path: Path):
    done = run(tmp_path / "x.npz", "--object", "unicorn")
    assert isinstance(done.exception, ConfigError)
    assert "--object unicorn is not a known kind; choose one of shapes" in str(done.exception)
