"""The light client's wheel in an environment of its own, with a running daemon; npe2 reads the napari manifest."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.daemon_tools import PATIENCE_S, real_scan, running_daemon, send
from tests.support.environments import make_environment

pytestmark = pytest.mark.timeout(600)  # the first use makes the environment
ROOT = Path(__file__).parents[2]
PLACE = ROOT / ".venv-client"
SIDE = ROOT / "tests" / "support" / "client_side.py"
FRAMES = 60


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of an environment that has the wheel, npe2 and ipywidgets."""
    folder = tmp_path_factory.mktemp("client")
    shutil.copytree(
        ROOT / "deploy" / "client", folder / "source", ignore=shutil.ignore_patterns("__pycache__", "build")
    )
    build = ["-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(folder), str(folder / "source")]
    subprocess.run([sys.executable, *build], check=True, capture_output=True, timeout=200)
    (wheel,) = folder.glob("ptycholive_client-*.whl")
    found = make_environment(PLACE, "npe2", [("npe2", "ipywidgets")], 300)
    install = [
        str(found),
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        "-c",
        str(ROOT / "constraints.txt"),
    ]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True, timeout=300)
    subprocess.run(
        [*install, "--no-deps", "--force-reinstall", str(wheel)], check=True, capture_output=True, timeout=100
    )
    return found


def test_the_wheel_follows_a_daemon(python: Path, tmp_path: Path) -> None:
    with running_daemon(tmp_path) as daemon:
        send(daemon, real_scan(), FRAMES, scan_id="star")
        addresses = daemon.addresses()
        command = [str(python), "-P", str(SIDE), addresses["updates"], addresses["http"], "star", str(PATIENCE_S)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S + 30)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        shown = daemon.hub.canvas("star", "network").object
    assert found["heavy"] == []
    assert found["frames"] == [FRAMES, FRAMES]
    assert found["sum"] == pytest.approx([float(abs(shown).sum())] * 2, rel=1e-5)
    assert found["html"] == 2
    assert found["caption"].startswith("star · network layer · 60 frames")
    assert found["is_png"]


def test_npe2_accepts_the_manifest(python: Path) -> None:
    done = subprocess.run(
        [str(python), "-m", "npe2", "validate", "ptycholive-client", "--no-imports"],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
