"""Names of scans that are taken: those of the folders of products and of the journal."""

from __future__ import annotations

from pathlib import Path

NEWEST = "latest"  # the REST interface's name of the scan that started last


class ScanNames:
    """Tells the join whether the name of a new scan is taken."""

    def __init__(self, *folders: Path) -> None:
        self._folders = folders

    def is_taken(self, name: str) -> bool:
        """Whether a new scan must have another name."""
        return name == NEWEST or any((folder / name).exists() for folder in self._folders)
