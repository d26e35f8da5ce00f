"""The manifest of a batch: a file with one JSON line for each finished scan. A second run reads it and does the rest."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, TypedDict

from daemon.errors import DaemonError
from daemon.messages.summaries import ScanSummary

ENDING = "manifest.jsonl"


class ManifestLine(TypedDict):
    """One scan of a batch. ``fingerprint`` tells whether input and options are still the same."""

    input: str | None
    output: str
    exit_code: int
    fault: str
    fingerprint: str
    seconds: float | None
    host: str
    version: str
    summary: ScanSummary | None


def manifest_path(output: Path, *, is_folder: bool) -> Path:
    """Return the manifest of a batch that writes to a folder, or to (numbered files named after) one file."""
    return output / ENDING if is_folder else output.with_name(f"{output.stem}.{ENDING}")


def fingerprint(options: object, files: Sequence[Path | None]) -> str:
    """Return a digest of options, and of name, size and time of files or of the files in a folder."""
    digest = hashlib.sha256(repr(options).encode())
    for path in files:
        digest.update(repr((str(path), _stats(path))).encode())
    return digest.hexdigest()[:32]


def _stats(path: Path | None) -> list[tuple[str, int, int]]:
    """Return name, size (bytes) and time (ns) of a file, or of each file in a folder; empty if it cannot be seen."""
    if path is None:
        return []
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        return [(one.name, (stat := one.stat()).st_size, stat.st_mtime_ns) for one in files]
    except OSError:
        return []


class Manifest:
    """The finished scans of earlier runs by output, and the file that takes those of this run."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self.path = path
        self._file = file
        self._lines = {line["output"]: line for line in _read(file)}

    def finished(self, output: Path, wanted: str) -> ManifestLine | None:
        """Return the line of a product that need not be made again: same fingerprint, no fault, still there."""
        line = self._lines.get(str(output))
        is_current = line is not None and line["fingerprint"] == wanted and not line["fault"]
        return line if is_current and output.exists() else None

    def add(self, line: ManifestLine) -> None:
        """Write a line; it is in the file when this returns."""
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()


@contextmanager
def open_manifest(path: Path) -> Iterator[Manifest]:
    """Yield the manifest at ``path``, new or continued. Raises :class:`DaemonError` if another run writes to it."""
    try:
        file = path.open("a+", encoding="utf-8")
    except OSError as fault:
        raise DaemonError(f"{path} cannot be written ({fault.strerror}); choose another --output") from fault
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DaemonError(f"another run writes to {path}; wait for its end, or choose another --output") from None
        except OSError:
            pass  # some network file systems have no locks
        yield Manifest(path, file)


def _read(file: TextIO) -> list[ManifestLine]:
    """Return the whole lines of a manifest, and end a line that a killed run left unfinished."""
    file.seek(0)
    text = file.read()
    if text and not text.endswith("\n"):
        file.write("\n")
        file.flush()
    return [line for row in text.splitlines() if (line := _parsed(row)) is not None]


def _parsed(row: str) -> ManifestLine | None:
    """Return a line, or ``None`` if it is damaged: its scan is then done again."""
    try:
        line = json.loads(row)
    except ValueError:
        return None
    is_whole = isinstance(line, dict) and line.keys() >= ManifestLine.__required_keys__
    return line if is_whole else None


def host_name() -> str:
    """Return the name of this machine."""
    return os.uname().nodename
