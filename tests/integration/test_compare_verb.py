"""``compare``, and the comparison in ``predict --json``: products, saved pictures, arrays, truth."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from daemon.cli.main import app
from daemon.errors import DaemonError
from daemon.files import read_product, write_product
from ptychopinn.errors import ReconstructionError


def run(*arguments: object) -> Any:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(done.exception, DaemonError | ReconstructionError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout) if "--json" in arguments else done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compare")
    run("simulate", folder / "scan.npz", "--size", 64, "--frames", 49, "--phase", 1.0, "--seed", 3)
    return folder


@pytest.fixture(scope="module")
def summary(folder: Path) -> Any:
    """Return what ``predict`` says of a product; the same as a saved picture lies beside it."""
    run("predict", folder / "scan.npz", "--bundle", "none", "--looks", 1, "--output", folder / "x.npz")
    options = ("--bundle", "none", "--looks", 1, "--output", folder / "x.h5", "--json")
    return run("predict", folder / "scan.npz", *options)[0]


def test_predict_compares_with_the_truth_in_the_file(folder: Path, summary: Any) -> None:
    again = run("compare", folder / "x.h5", folder / "scan.npz", "--json")
    assert 0.5 < summary["comparison"]["phase_correlation"] < 1
    for key, value in summary["comparison"].items():
        assert again[key] == pytest.approx(value, abs=1e-9), key
    assert again["rfactor"] == {"a": summary["rfactor"], "b": None}
    assert again["frames"] == 49
    assert again["position_error_px"] == pytest.approx(0, abs=1e-6)


def test_a_truth_that_is_even_is_none(folder: Path, tmp_path: Path) -> None:
    with np.load(folder / "scan.npz") as archive:
        arrays = dict(archive)
    np.savez(tmp_path / "even.npz", **{**arrays, "objectGuess": np.ones_like(arrays["objectGuess"])})
    options = ("--bundle", "none", "--looks", 1, "--output", tmp_path / "x.h5", "--json")
    assert run("predict", tmp_path / "even.npz", *options)[0]["comparison"] is None


def test_products_saved_pictures_and_arrays_agree_with_themselves(folder: Path, summary: Any, tmp_path: Path) -> None:
    product = read_product(summary["output"])
    np.save(tmp_path / "x.npy", product.object)
    write_product(tmp_path / "foreign.h5", replace(product, live=None))
    for one in (folder / "x.npz", tmp_path / "x.npy", tmp_path / "foreign.h5"):
        found = run("compare", one, folder / "x.h5", "--json")
        assert found["phase_correlation"] == pytest.approx(1, abs=1e-6), one
        assert found["difference"] < 1e-3, one
    assert found["position_error_px"] == 0
    run("convert", folder / "x.h5", tmp_path / "x.ptyr")
    assert run("compare", tmp_path / "x.ptyr", folder / "x.h5", "--json")["phase_correlation"] > 0.999


def test_it_is_told_in_words(folder: Path, summary: Any) -> None:
    words = run("compare", summary["output"], folder / "scan.npz")
    for name in ("phase correlation", "SSIM", "MS-SSIM", "FRC (half-bit)", "position error", "nm"):
        assert name in words


def test_files_that_cannot_be_compared_are_refused(folder: Path, summary: Any, tmp_path: Path) -> None:
    product = read_product(summary["output"])
    write_product(tmp_path / "fine.h5", replace(product, pixel_size_m=product.pixel_size_m / 2))
    with pytest.raises(ReconstructionError, match="compare pictures with the same pixel"):
        run("compare", tmp_path / "fine.h5", folder / "x.h5")
    np.save(tmp_path / "real.npy", product.object.real)
    with pytest.raises(ReconstructionError, match=r"real\.npy: the picture is float32"):
        run("compare", tmp_path / "real.npy", folder / "x.h5")
    (tmp_path / "bad.npy").write_bytes(b"no array")
    with pytest.raises(ReconstructionError, match=r"bad\.npy: is not an array"):
        run("compare", tmp_path / "bad.npy", folder / "x.h5")
    with np.load(folder / "scan.npz") as archive:
        arrays = {key: archive[key] for key in archive.files if key != "objectGuess"}
    np.savez(tmp_path / "blind.npz", **arrays)
    with pytest.raises(ReconstructionError, match="a scan without an object"):
        run("compare", tmp_path / "blind.npz", folder / "x.h5")
    with pytest.raises(ReconstructionError, match="missing"):
        run("compare", tmp_path / "missing.h5", folder / "x.h5")
