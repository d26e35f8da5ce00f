"""Atomic writing: a file gets its name when it is complete and on disk."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ptychopinn.errors import MissingFolderError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a hidden name beside ``path`` to write to; the file then replaces ``path``.

    If the block fails, ``path`` is unchanged and the hidden file is removed.

    Raises
    ------
    MissingFolderError
        If the folder of ``path`` does not exist.
    """
    if not path.parent.is_dir():
        raise MissingFolderError(f"{path}: the folder {path.parent} does not exist; create it, or choose another")
    part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        yield part
        _sync(part, os.O_RDWR)
        part.replace(path)
        _sync(path.parent, os.O_RDONLY)
    finally:
        part.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file."""
    with atomic_path(path) as part:
        part.write_bytes(content)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
