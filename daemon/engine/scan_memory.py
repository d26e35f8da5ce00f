"""Memory bounds of all open scans together, so that more open scans need no more memory.

Where too much is kept, the oldest frames of the oldest scan go first. They stay in the picture.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from daemon.engine.scan import ScanWork


@dataclass(frozen=True, slots=True)
class ScanMemory:
    """The daemon's bounds: patches that can be replaced, and patterns of the refined layers."""

    patch_bytes: int
    pattern_bytes: int

    def trim(self, works: Collection[ScanWork]) -> None:
        """Let scans, the oldest first, give back what is kept beyond the bounds."""
        patches = sum(work.patch_bytes for work in works) - self.patch_bytes
        patterns = sum(work.pattern_bytes for work in works) - self.pattern_bytes
        for work in works:
            if patches <= 0 and patterns <= 0:
                return
            before = work.patch_bytes, work.pattern_bytes
            work.give_back(patches, patterns)
            patches -= before[0] - work.patch_bytes
            patterns -= before[1] - work.pattern_bytes
