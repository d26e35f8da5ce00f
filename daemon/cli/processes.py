"""Runs verbs in separate processes, for the demo and the benchmark."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from daemon.cli.exit_codes import ExitCode
from daemon.errors import DaemonError
from streams.errors import EndpointError

STOP_S = 20.0
"""Longest time for a process to end after SIGTERM, s; then it is killed. As [limits] stop_s."""


@contextmanager
def verb_process(
    *verb: str, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run a verb in a separate process, with stderr in ``log``; SIGTERM ends it at the end of the block.

    ``environment`` is added to the variables of this process.
    """
    with log.open("w") as stderr:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "daemon.cli", *verb],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env={**os.environ, **(environment or {})},
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
        raise DaemonError("the process has no stdout pipe")
    return process.stdout


def first_line(process: subprocess.Popen[str], log: Path) -> str:
    """Return the first line that a process prints.

    Raises
    ------
    EndpointError, DaemonError
        If it ended without a line; the message is the last line in ``log``.
    """
    line = _pipe(process).readline()
    if line:
        return line
    code = process.wait(STOP_S)
    words = log.read_text().strip().splitlines()
    sentence = words[-1].removeprefix("ptycholive: ") if words else f"the process ended with exit code {code}"
    raise EndpointError(sentence) if code == ExitCode.ENDPOINT else DaemonError(sentence)


def free_port() -> int:
    """Return a TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
