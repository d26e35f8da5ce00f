"""Runs a verb on several files. A file that fails is skipped with one sentence; the exit code tells it at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import typer

from daemon.cli.exit_codes import ExitCode, exit_code
from daemon.errors import ConfigError, DaemonError
from ptychopinn.errors import ConfigurationError, FileFormatError, ReconstructionError

T = TypeVar("T")
UNFORESEEN = (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)
"""Errors of a library or of this program that no check of the file has foreseen."""


@contextmanager
def at_file(path: Path) -> Iterator[None]:
    """Add the name of the file to every error; an unforeseen error becomes one sentence."""
    try:
        yield
    except ReconstructionError as fault:
        if str(path) in str(fault):
            raise
        raise type(fault)(f"{path}: {fault}") from fault
    except UNFORESEEN as fault:
        words = " ".join(str(fault).split())[:200]
        if isinstance(fault, MemoryError):
            raise FileFormatError(f"{path}: the scan does not fit into memory ({words}); split it") from fault
        raise FileFormatError(
            f"{path}: cannot be used ({type(fault).__name__}: {words}); please report this and attach the file"
        ) from fault


class FileBatch:
    """Collects the exit codes of the files of a verb."""

    def __init__(self) -> None:
        self._codes: list[ExitCode] = []

    def attempt(self, path: Path, do: Callable[[Path], T]) -> T | None:
        """Return the result of ``do`` for a file; ``None`` after an error, which is printed on stderr."""
        try:
            with at_file(path):
                return do(path)
        except (ConfigError, ConfigurationError):
            raise  # the command is wrong for every file
        except (ReconstructionError, DaemonError) as fault:
            typer.echo(f"ptycholive: {fault}", err=True)
            self._codes.append(exit_code(fault))
        return None

    def refuse(self) -> None:
        """Let the verb end as if a file had been refused."""
        self._codes.append(ExitCode.REFUSED)

    def end(self) -> None:
        """Exit with the largest exit code, if there is any."""
        if self._codes:
            raise typer.Exit(max(self._codes))
