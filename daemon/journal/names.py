"""Which names of scans are taken: those that have a folder here, of products or of the journal."""

from __future__ import annotations

from pathlib import Path

NEWEST = "latest"  # what the REST interface calls the scan that started last


class ScanNames:
    """Asked by the join when it opens a scan."""

    def __init__(self, *folders: Path) -> None:
        self._folders = folders

    def is_taken(self, name: str) -> bool:
        """Whether a new scan must have another name."""
        return name == NEWEST or any((folder / name).exists() for folder in self._folders)
