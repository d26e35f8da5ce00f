"""The wheel in an environment of its own: it names what it needs, holds what it uses, and runs the demo."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.environments import QUICKLY, make_environment

pytestmark = pytest.mark.timeout(1200)  # the first use makes the environment
ROOT = Path(__file__).parents[2]
PLACE = ROOT / ".venv-wheel"
TORCH = "torch==2.13.0"
SOURCES = ("daemon", "streams", "ptychopinn", "ptycholive_client", "pyproject.toml", "README.md", "LICENSE")


def build_wheel(folder: Path) -> Path:
    """Return the wheel of a copy of the sources: a build leaves files beside them."""
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--wheel-dir",
        str(folder / "dist"),
        str(source),
    ]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    (wheel,) = (folder / "dist").glob("ptycholive-*.whl")
    return wheel


def run(*command: object, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    words = list(map(str, command))
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)


def test_an_installed_wheel_runs_the_demo(tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path)
    python = make_environment(PLACE, "torch", [(TORCH,)], 600)
    pip = [python, "-m", "pip", "install", *QUICKLY]
    run(python, "-m", "pip", "uninstall", "-q", "-y", "ptycholive", folder=tmp_path)
    installed = run(*pip, "-c", ROOT / "constraints.txt", wheel, folder=tmp_path)
    assert installed.returncode == 0, installed.stderr
    where = run(python, "-c", "import daemon; print(daemon.__file__)", folder=tmp_path)
    assert Path(where.stdout.strip()).is_relative_to(PLACE), where
    demo = run(python.with_name("ptycholive"), "demo", "--headless", "--port", "0", "--rate", "200", folder=tmp_path)
    assert demo.returncode == 0, demo.stderr
    found = json.loads(demo.stdout)
    assert found["verdict"]["stitched"] == found["verdict"]["received"] == 516, found
    assert (tmp_path / "demo.h5").stat().st_size > 0
