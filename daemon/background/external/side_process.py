"""A program in a separate process that reads one file and writes another; it ends when the daemon ends."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daemon.background.external.parent import PARENT
from daemon.errors import DaemonError

TICK_S = 0.2
PREFIX, LOCK_NAME = "ptycholive-side-", "lock"

Arrays = Mapping[str, NDArray[Any]]


class SideProcess:
    """Runs ``[*command, IN.npz, OUT.npz]``, one at a time; :meth:`stop` ends it from another thread.

    The program may end with a fault, or not at all.
    """

    def __init__(self, command: Sequence[str], what: str, timeout_s: float) -> None:
        self._command = list(command)
        self._what = what
        self._timeout_s = timeout_s
        self._stop = threading.Event()

    def stop(self) -> None:
        """End the running program; no further one starts."""
        self._stop.set()

    @property
    def is_stopped(self) -> bool:
        """Whether :meth:`stop` was called."""
        return self._stop.is_set()

    def run(self, arrays: Arrays, **options: Any) -> dict[str, NDArray[Any]]:
        """Return the arrays that the program writes.

        Raises
        ------
        DaemonError
            If the program cannot be started, ends with a fault, takes too long, or is stopped.
        """
        with working_folder() as folder:
            given, made, said = (folder / name for name in ("in.npz", "out.npz", "said"))
            np.savez(given, options=np.array(json.dumps(options)), **dict[str, Any](arrays))
            try:
                with said.open("wb") as stderr:
                    process = subprocess.Popen(
                        [*self._command, str(given), str(made)],
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        stderr=stderr,
                        env={**os.environ, PARENT: str(os.getpid())},
                    )
            except OSError as fault:
                raise DaemonError(f"{self._what}: {self._command[0]} cannot be run ({fault.strerror})") from fault
            self._wait_for(process)
            if process.returncode:
                raise DaemonError(f"{self._what} ended with a fault: {_last_words(said)}")
            with np.load(made, allow_pickle=False) as found:
                return {name: found[name] for name in found.files}

    def _wait_for(self, process: subprocess.Popen[bytes]) -> None:
        waited_s = 0.0
        while True:
            try:
                process.wait(TICK_S)
                return
            except subprocess.TimeoutExpired:
                waited_s += TICK_S
            if self._stop.is_set() or waited_s > self._timeout_s:
                process.kill()
                process.wait()
                raise DaemonError(
                    f"{self._what} was stopped"
                    + ("" if self._stop.is_set() else f" after {waited_s:.0f} s: it took too long")
                )


@contextmanager
def working_folder() -> Iterator[Path]:
    """Yield a temporary folder, locked while in use; folders left by a killed daemon are deleted first."""
    _sweep(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
        descriptor = os.open(Path(name) / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield Path(name)
        finally:
            os.close(descriptor)


def _sweep(temporary: Path) -> None:
    for lock in temporary.glob(f"{PREFIX}*/{LOCK_NAME}"):
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:  # another user's, or gone meanwhile
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)
        except OSError:  # it is in use
            continue
        finally:
            os.close(descriptor)


def _last_words(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "without a message"
