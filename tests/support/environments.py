"""Environments for other people's programs: built once, and again when the list of packages has changed."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

QUICKLY = ("-q", "--disable-pip-version-check", "--no-compile")
"""Options of pip: modules are compiled as they are imported; most of torch's thousands are not."""


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
    with _alone_at(place):
        return _made(place, what, installs, timeout_s, options, prepare)


@contextmanager
def _alone_at(place: Path) -> Iterator[None]:
    """Hold the lock of an environment: another worker may want it at the same time."""
    with place.with_name(place.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _made(
    place: Path,
    what: str,
    installs: Sequence[Sequence[str]],
    timeout_s: float,
    options: Sequence[str],
    prepare: Callable[[Path], None],
) -> Path:
    python = place / "bin" / "python"
    ready = place / f"{hashlib.sha256(repr((*options, *installs)).encode()).hexdigest()[:12]}.ready"
    if ready.exists():
        return python
    shutil.rmtree(place, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    (place / ".gitignore").write_text("*\n")
    prepare(python)
    pip = [str(python), "-m", "pip", "install", *QUICKLY, *options]
    for packages in installs:
        done = subprocess.run([*pip, *packages], capture_output=True, text=True, timeout=timeout_s)
        if done.returncode != 0:
            reason = f"{what} cannot be installed: {done.stderr.strip().splitlines()[-1:]}"
            if "CI" in os.environ:
                pytest.fail(reason)
            pytest.skip(reason)
    ready.touch()
    return python


def lay_ours_below(python: Path) -> None:
    """Let an environment see the packages of this one."""
    own = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    below = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    (Path(own) / "below.pth").write_text(below)
