"""Which names of scans are taken: those that have a folder here, of products or of the journal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NEWEST = "latest"  # what the REST interface calls the scan that started last


class ScanNames:
    """Asked by the join when it opens a scan."""

    def __init__(self, *folders: Path) -> None:
        self._folders = folders
        self._only: str | None = None

    def is_taken(self, name: str) -> bool:
        """Whether a new scan must have another name."""
        if self._only is not None:
            return name != self._only
        return name == NEWEST or any((folder / name).exists() for folder in self._folders)

    @contextmanager
    def only(self, name: str) -> Iterator[None]:
        """Let the next scan have this very name: it is played again."""
        self._only = name
        try:
            yield
        finally:
            self._only = None
