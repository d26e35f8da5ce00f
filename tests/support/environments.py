"""Environments of their own for what others wrote: made once, and anew when what is wanted has changed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest


def make_environment(
    place: Path,
    what: str,
    installs: Sequence[Sequence[str]],
    timeout_s: float,
    *,
    options: Sequence[str] = (),
    prepare: Callable[[Path], None] = lambda _python: None,
) -> Path:
    """Return the Python of the environment at ``place``.

    Each of ``installs`` is what one call of pip gets, after ``options``; ``prepare`` is called with the Python before. Where
    `what` cannot be installed the test is skipped, in CI it fails.
    """
    python = place / "bin" / "python"
    ready = place / f"{hashlib.sha256(repr((*options, *installs)).encode()).hexdigest()[:12]}.ready"
    if ready.exists():
        return python
    shutil.rmtree(place, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    (place / ".gitignore").write_text("*\n")
    prepare(python)
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *options]
    for packages in installs:
        done = subprocess.run([*pip, *packages], capture_output=True, text=True, timeout=timeout_s)
        if done.returncode != 0:
            reason = f"{what} cannot be installed: {done.stderr.strip().splitlines()[-1:]}"
            if "CI" in os.environ:
                pytest.fail(reason)
            pytest.skip(reason)
    ready.touch()
    return python
