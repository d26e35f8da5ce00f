"""The released pty-chi, in an environment of its own, takes over a finished scan and puts its result beside ours."""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from daemon.app import Daemon
from daemon.cli.bench.real import RealOptions, run_real
from daemon.client import Viewer
from daemon.config import load_config
from daemon.errors import ConfigError
from daemon.files import read_product
from tests.support.daemon_tools import PATIENCE_S, follow, real_scan, running_daemon, send, write_config
from tests.support.environments import lay_ours_below, make_environment

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(1500)]
ENVIRONMENT = Path(__file__).parents[2] / ".venv-ptychi"
PTYCHI = "ptychi==2.2.0"
NEEDED = ("h5py", "numpy>=2.1", "matplotlib", "pandas", "pydantic<3", "scikit-image", "scikit-learn", "scipy", "tqdm")
"""Imports of pty-chi beside torch, which is ours, and torchvision: its engine needs none, and not every CPU torch has one."""
FRAMES = 120


@pytest.fixture(scope="module")
def python() -> Path:
    """Return the environment's Python; it is made anew when the lists above have changed."""
    return make_environment(ENVIRONMENT, PTYCHI, [NEEDED, ("--no-deps", PTYCHI)], 900, prepare=lay_ours_below)


def engine_of(daemon: Daemon, viewer: Viewer) -> dict[str, Any]:
    """Return what the record says of the engine once it is done."""
    for topic, _, _ in viewer.events():  # a status comes twice a second
        if topic == "status":
            with urllib.request.urlopen(daemon.addresses()["http"] + "/api/v1/scans/star") as answer:
                engine = json.loads(answer.read())["engine"]
            if engine is not None and engine["state"] in ("done", "failed"):
                return engine
    raise AssertionError("the viewer ended")


def test_a_finished_scan_is_reconstructed_by_lsqml_beside_ours(python: Path, tmp_path: Path) -> None:
    settings = ('refine.engine="pty-chi"', f'refine.engine_python="{python}"', "refine.engine_epochs=12")
    with (
        running_daemon(tmp_path, "refine.enabled=true", *settings) as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
    ):
        send(daemon, real_scan(), FRAMES)
        ended, _ = follow(viewer)
        engine = engine_of(daemon, viewer)
    assert engine["state"] == "done", engine
    assert engine["name"] == "pty-chi"
    assert engine["frames"] == FRAMES
    assert engine["rfactor"] < 0.2
    theirs, ours = read_product(engine["product"]), read_product(ended["product"])
    np.testing.assert_array_equal(theirs.indexes, ours.indexes)
    assert Path(engine["product"]).parent == Path(ended["product"]).parent
    assert whole_pixel_rfactor(Path(engine["product"])) == pytest.approx(engine["rfactor"], abs=0.03)
    record = json.loads((Path(ended["product"]).parent / "scan.json").read_text())
    assert record["engine"] == engine


def test_one_that_cannot_run_is_refused_or_told_in_the_record(tmp_path: Path) -> None:
    settings = ('refine.engine="pty-chi"', 'refine.engine_python="/no/python"')
    with pytest.raises(ConfigError, match="/no/python cannot be run"):
        Daemon(load_config(write_config(tmp_path), settings))
    with pytest.raises(ConfigError, match="reads patterns from the journal"):
        Daemon(
            load_config(
                write_config(tmp_path),
                (settings[0], f'refine.engine_python="{sys.executable}"', 'output.journal="off"'),
            )
        )
    without = (settings[0], f'refine.engine_python="{sys.executable}"')  # a Python that lacks pty-chi
    with running_daemon(tmp_path, *without) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        send(daemon, real_scan(), 20)
        follow(viewer)
        engine = engine_of(daemon, viewer)
    assert engine["state"] == "failed"
    assert "No module named 'ptychi'" in engine["fault"]


def whole_pixel_rfactor(path: Path) -> float:
    """Return R of a product, by nothing but HDF5, NumPy and the contract."""
    with h5py.File(path) as file:
        picture, probe, about = file["object"][0], file["probe"][0, 0], file["object"].attrs
        pixel_m, size = about["pixel_width_m"], probe.shape[-1]
        place = [
            (file[f"probe_position_{axis}_m"][()] - about[f"center_{axis}_m"]) / pixel_m + (side - 1) / 2
            for axis, side in zip("yx", picture.shape, strict=True)
        ]
        indexes = file["probe_position_indexes"][()]
    counts = real_scan().counts
    above = below = 0.0
    for index, y, x in zip(indexes, *(np.rint(p).astype(int) - size // 2 for p in place), strict=True):
        far = np.fft.fftshift(np.fft.fft2(probe * picture[y : y + size, x : x + size], norm="ortho"))
        measured = np.sqrt(counts[index].astype(float))
        above += np.abs(np.abs(far) - measured).sum()
        below += measured.sum()
    return above / below


def test_the_benchmark_puts_its_methods_beside_ours(
    python: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_real(RealOptions(None, python, tmp_path, seconds=3.0, frames=60, clock="cpu"), as_json=True)
    rows = {row["engine"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    assert list(rows) == ["live", "offline", "LSQML", "rPIE"]
    for name in ("LSQML", "rPIE"):
        assert rows[name]["rfactor"] < 0.3
        assert rows[name]["phase_correlation"] > 0.7
        assert rows[name]["seconds"] >= 3.0
        assert rows[name]["cpu_s"] >= rows[name]["seconds"]
        frc_nm = rows[name]["frc_nm"]
        assert frc_nm is None or frc_nm > 0  # halves of 30 frames need longer on a slow host
