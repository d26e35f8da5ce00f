"""Verbs in processes of their own, for the demo and the benchmark."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from daemon.cli.exit_codes import ExitCode
from daemon.errors import DaemonError
from streams.errors import EndpointError

STOP_S = 20.0


@contextmanager
def verb_process(*verb: str, log: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a verb in a process of its own, its stderr in ``log``; ended by SIGTERM at the latest when the block ends."""
    with log.open("w") as stderr:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "daemon.cli", *verb], stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _pipe(process).close()


def _pipe(process: subprocess.Popen[str]) -> IO[str]:
    if process.stdout is None:
        raise DaemonError("a process was started without a pipe")
    return process.stdout


def first_line(process: subprocess.Popen[str], log: Path) -> str:
    """Return the first line that a process prints.

    Raises
    ------
    EndpointError, DaemonError
        With what it said in ``log`` instead, if it ended without a line.
    """
    line = _pipe(process).readline()
    if line:
        return line
    code = process.wait(STOP_S)
    words = log.read_text().strip().splitlines()
    sentence = words[-1].removeprefix("ptycholive: ") if words else f"a process ended with exit code {code}"
    raise EndpointError(sentence) if code == ExitCode.ENDPOINT else DaemonError(sentence)


def free_port() -> int:
    """Return a TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
