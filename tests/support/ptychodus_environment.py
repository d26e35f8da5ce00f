"""The environment with the released ptychodus, its whole core, and our plug-in; nothing else of ours is in it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.support import environments

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
    installs = [("--no-deps", PTYCHODUS), ("-c", str(ROOT / "constraints.txt"), *NEEDED)]
    return environments.make_environment(
        ENVIRONMENT, PTYCHODUS, installs, PATIENCE_S, options=("--only-binary", ":all:")
    )


def install_plugin(python: Path, folder: Path) -> None:
    """Install the plug-in as it stands, from a copy: a build leaves files in its source."""
    source = Path(shutil.copytree(PLUGIN, folder / "plugin"))
    pip = [str(python), "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--force-reinstall"]
    subprocess.run([*pip, str(source)], check=True, capture_output=True, timeout=PATIENCE_S)
