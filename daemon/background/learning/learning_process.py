"""The process that fine-tunes, as the learner sees it: a child of the daemon, or an actor of a Ray cluster."""

from __future__ import annotations

import multiprocessing
import os
from typing import Any, Protocol

from daemon.background.external.parent import run_child
from daemon.background.learning import child

STOP_S = 2.0
"""Time for the process to end by itself, s."""


class LearningProcess(Protocol):
    """Takes and gives messages in their order. Each call may raise OSError or EOFError once the process has ended."""

    name: str

    def send(self, message: Any) -> None:
        """Send a message."""

    def poll(self) -> bool:
        """Whether a message has come."""

    def recv(self) -> tuple[Any, ...]:
        """Return the next message."""

    def kill(self) -> None:
        """End the process at once; from any thread."""

    def end(self) -> None:
        """End the process; waits for it."""


class ChildProcess:
    """A child that ends with the daemon."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=run_child, args=(os.getpid(), child.__name__, theirs), name="finetune", daemon=True
        )
        self._process.start()
        theirs.close()
        self.name = f"process {self._process.pid}"

    def send(self, message: Any) -> None:
        """Send a message."""
        self._pipe.send(message)

    def poll(self) -> bool:
        """Whether a message has come."""
        return self._pipe.poll()

    def recv(self) -> tuple[Any, ...]:
        """Return the next message."""
        message: tuple[Any, ...] = self._pipe.recv()
        return message

    def kill(self) -> None:
        """End the process at once."""
        if self._process.is_alive():
            self._process.kill()

    def end(self) -> None:
        """End the process; waits for it."""
        self._pipe.close()
        self._process.join(STOP_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
