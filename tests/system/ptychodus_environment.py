"""The environment with the released ptychodus, its whole core, and our plug-in; nothing else of ours is in it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / ".venv-ptychodus"
PLUGIN = ROOT / "deploy" / "ptychodus"
PTYCHODUS = "ptychodus==1.7.0"
NEEDED = (
    "numpy", "h5py", "scipy", "scikit-image", "pydantic", "httpx", "matplotlib", "colorcet", "hdf5plugin",
    "psutil", "pyyaml", "scikit-learn", "watchdog", "tifffile", "mlflow-skinny", "pydantic-ai-slim[openai]",
    "msgpack", "pyzmq", "setuptools", "wheel",
)  # fmt: skip
"""What ptychodus' core imports, and what our plug-in's stream needs."""
PATIENCE_S = 600


def make_environment() -> Path:
    """Return the environment's Python; it is made anew when the lists above have changed."""
    python = ENVIRONMENT / "bin" / "python"
    digest = hashlib.sha256(" ".join((PTYCHODUS, *NEEDED)).encode()).hexdigest()[:12]
    ready = ENVIRONMENT / f"{digest}.ready"
    if not ready.exists():
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
        (ENVIRONMENT / ".gitignore").write_text("*\n")
        _install(python, "--no-deps", PTYCHODUS)
        _install(python, "-c", str(ROOT / "constraints.txt"), *NEEDED)
        ready.touch()
    return python


def install_plugin(python: Path, folder: Path) -> None:
    """Install the plug-in as it stands, from a copy: a build leaves files in its source."""
    source = Path(shutil.copytree(PLUGIN, folder / "plugin"))
    pip = [str(python), "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--force-reinstall"]
    subprocess.run([*pip, str(source)], check=True, capture_output=True, timeout=PATIENCE_S)


def _install(python: Path, *what: str) -> None:
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--only-binary", ":all:"]
    done = subprocess.run([*pip, *what], capture_output=True, text=True, timeout=PATIENCE_S)
    if done.returncode != 0:
        reason = f"{PTYCHODUS} cannot be installed: {done.stderr.strip().splitlines()[-1:]}"
        if "CI" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
