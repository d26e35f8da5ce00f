"""Files one after the other: one that cannot be done costs itself alone, one sentence, and the exit code at the end."""

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
"""Faults of a library or of this program at a file that no check has caught."""


@contextmanager
def at_file(path: Path) -> Iterator[None]:
    """Have every fault name the file; an unforeseen one becomes one sentence."""
    try:
        yield
    except ReconstructionError as fault:
        if str(path) in str(fault):
            raise
        raise type(fault)(f"{path}: {fault}") from fault
    except UNFORESEEN as fault:
        words = " ".join(str(fault).split())[:200]
        if isinstance(fault, MemoryError):
            raise FileFormatError(f"{path}: does not fit into memory ({words}); split the scan") from fault
        raise FileFormatError(
            f"{path}: cannot be used ({type(fault).__name__}: {words}); please report this with the file"
        ) from fault


class Batch:
    """Counts the faults of a verb's files."""

    def __init__(self) -> None:
        self._codes: list[ExitCode] = []

    def attempt(self, path: Path, do: Callable[[Path], T]) -> T | None:
        """Return what ``do`` returns for a file; ``None`` after a fault, which is said on stderr."""
        try:
            with at_file(path):
                return do(path)
        except (ConfigError, ConfigurationError):
            raise  # the command is wrong, for every file alike
        except (ReconstructionError, DaemonError) as fault:
            typer.echo(f"ptycholive: {fault}", err=True)
            self._codes.append(exit_code(fault))
        return None

    def refuse(self) -> None:
        """Have the verb end as if a file had been refused."""
        self._codes.append(ExitCode.REFUSED)

    def end(self) -> None:
        """Leave with the greatest exit code, if there is any."""
        if self._codes:
            raise typer.Exit(max(self._codes))
