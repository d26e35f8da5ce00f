"""Our reconstructors in the released ptychodus: listed, run in batch, models loaded and saved, streams tapped and followed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon.cli.main import app
from daemon.files import ScanFile, read_probe, read_product, read_scan
from daemon.files.completion import completed
from daemon.files.conversion import product_of, write_kind
from ptychopinn.api import ConfigManager, PtychoModel
from ptychopinn.simulate import Recipe, simulate_scan
from tests.support import SUPPORT
from tests.support.daemon_tools import real_scan, running_daemon
from tests.support.ptychodus_environment import install_plugin

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

SIDE = SUPPORT / "ptychodus_plugin_side.py"
COMMAND = Path(sys.executable).with_name("ptycholive")
PIXEL_M = 28.2e-9


@pytest.fixture(scope="module")
def python(ptychodus_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    install_plugin(ptychodus_python, tmp_path_factory.mktemp("plugin"))
    return ptychodus_python


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as ptychodus' batch mode takes it: patterns and product, frames of 64 px."""
    folder = tmp_path_factory.mktemp("workplace")
    made = simulate_scan(Recipe(size_px=64, frames=36, counts=1e5, seed=2))
    scan = ScanFile(
        name="made",
        counts=np.rint(np.maximum(made.amplitude.numpy(), 0) ** 2).astype(np.uint32),
        indexes=np.arange(36),
        positions_px=made.positions_px,
        photon_energy_eV=8800.0,
        detector_distance_m=1.92,
        detector_pixel_size_m=75e-6 * 2,
        probe=made.probe.numpy(),
    )
    write_kind(folder / "diffraction.h5", completed(scan, folder), "patterns")
    (folder / "empty").mkdir()
    (folder / "data").mkdir()
    return folder


def environment() -> dict[str, str]:
    return {**os.environ, "PTYCHOLIVE_COMMAND": str(COMMAND), "OMP_NUM_THREADS": "1"}


def ask(python: Path, *arguments: object) -> dict[str, Any]:
    command = [str(python), str(SIDE), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, env=environment())
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_ptychodus_lists_our_reconstructors(python: Path) -> None:
    said = ask(python, "list")
    assert {"ptycholive_lift", "ptycholive_cnn", "ptycholive_live"} <= set(said["reconstructors"])
    assert "Ptycholive" in said["workflows"]


def test_its_batch_mode_reconstructs_with_the_shipped_model(python: Path, workplace: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(workplace, tmp_path / "in"))
    settings = "[Processing]\nAlgorithm = ptycholive_lift\n[Ptycholive]\nsweeps = 2\nlooks = 1\n"
    (folder / "settings.ini").write_text(settings)
    command = [str(python.with_name("ptychodus")), "-b", "reconstruct", "-i", str(folder), "-o", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "36 frames, R-factor 0." in done.stdout
    (path,) = (tmp_path / "out").glob("product*.h5")
    found, given = read_product(path), read_product(folder / "product.h5")
    np.testing.assert_allclose(found.positions_m, given.positions_m)
    seen = np.abs(found.object) > 0
    assert np.abs(found.object[seen]).mean() == pytest.approx(1, abs=0.3)
    assert np.ptp(np.angle(found.object[seen])) > 0.1
    places = found.positions_m / found.pixel_size_m - found.object_origin_px
    assert (places >= 0).all()
    assert (places < found.object.shape).all()


def test_models_are_loaded_saved_and_missed(python: Path, workplace: Path, tmp_path: Path) -> None:
    model = tmp_path / "cnn.zip"
    PtychoModel.new(ConfigManager.from_dict({"data": {"C": 1}, "model": {"n_filters_scale": 1}})).save(model)
    said = ask(python, "models", model, workplace)
    assert (said["before"], said["after"]) == ([True, False], True)
    assert [line.split(";")[0] for line in said["refusals"]] == [
        "CNN has no model",
        f"{workplace / 'none.zip'}: there is no such file",
        f"{workplace / 'empty'}: holds no training file (NPZ)",
    ]
    assert said["saved"] == model.stat().st_size
    assert said["positions"] == 36
    training = read_scan(workplace / "training.npz")
    np.testing.assert_array_equal(training.counts, read_scan(workplace / "diffraction.h5").counts)


def has_verb(name: str) -> bool:
    return any((one.name or getattr(one.callback, "__name__", "")) == name for one in app.registered_commands)


@pytest.mark.skipif(not has_verb("train"), reason="there is no verb train yet")
def test_a_network_is_trained_and_then_used(python: Path, workplace: Path) -> None:
    more = "data.C=1 data.x_bounds=[0.0,1.0] data.y_bounds=[0.0,1.0] data.n_subsample=1 model.n_filters_scale=1"
    more += " training.num_workers=0 training.framework=Default training.orchestrator=Lightning"
    settings = f"[Ptycholive]\ncommand = {COMMAND}\nepochs = 1\nsweeps = 0\ntraining_settings = {more}\n"
    (workplace / "settings.ini").write_text(settings)
    said = ask(python, "train", workplace)
    assert "model.zip" in said["model"]
    assert said["finite"]
    assert [len(curve) for curve in said["losses"]] == [1, 1]  # one value an epoch
    assert PtychoModel.load(workplace / "trained" / "model.zip").size_px == 64


def test_a_stream_into_ptychodus_is_tapped_and_followed(python: Path, tmp_path: Path) -> None:
    scan, frames = real_scan(), 40
    assert scan.positions_m is not None
    assert scan.positions_px is not None
    np.savez(tmp_path / "stream.npz", frames=scan.counts[:frames], positions_m=scan.positions_m[:frames])
    probe = read_probe(Path(__file__).parents[2] / "daemon" / "demo_data" / "siemens-star-probe.npz").probe
    write_kind(tmp_path / "product.h5", product_of(replace(scan, probe=probe), tmp_path), "product")
    command = [str(python), str(SIDE), "stream", str(tmp_path / "stream.npz"), str(tmp_path / "product.h5")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()) as side:
        assert side.stdin is not None
        assert side.stdout is not None
        try:
            endpoints = json.loads(side.stdout.readline())["endpoints"]
            settings = [
                f"frames.endpoint={endpoints[0]}",
                "positions.source=native",
                f"positions.endpoint={endpoints[1]}",
            ]
            with running_daemon(tmp_path, *settings) as daemon:
                side.stdin.write(daemon.addresses()["http"] + "\n")
                side.stdin.flush()
                said = json.loads(side.stdout.readline())
            assert side.wait(timeout=60) == 0
        finally:
            side.kill()
    assert (said["waiting"], said["handed_on"], said["frames"]) == (0, 8, frames)
    final = read_product(tmp_path / "out" / "tapped" / "product.h5")
    assert said["shape"] == [1, *final.object.shape]
    middle = (np.array(final.object_origin_px) + (np.array(final.object.shape) - 1) / 2) * final.pixel_size_m
    np.testing.assert_allclose(said["center_m"], middle, rtol=1e-3, atol=1e-9)
    np.testing.assert_allclose(final.positions_m, scan.positions_m[:frames])
