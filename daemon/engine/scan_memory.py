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
        patches = sum(map(patch_bytes, works)) - self.patch_bytes
        patterns = sum(map(pattern_bytes, works)) - self.pattern_bytes
        for work in works:
            if patches <= 0 and patterns <= 0:
                return
            before = patch_bytes(work), pattern_bytes(work)
            give_back(work, patches, patterns)
            patches -= before[0] - patch_bytes(work)
            patterns -= before[1] - pattern_bytes(work)


def patch_bytes(work: ScanWork) -> int:
    """Return the memory of the patches of a scan that can be replaced."""
    return work.mosaic.kept_bytes


def pattern_bytes(work: ScanWork) -> int:
    """Return the memory of the patterns of a scan's refined layer."""
    return 0 if work.refiner is None else work.refiner.kept_bytes


def give_back(work: ScanWork, patches: int, patterns: int) -> None:
    """Free this memory of a scan's oldest frames, bytes, as far as there is that much."""
    if patches > 0:
        work.mosaic.release_patches(patches)
        if work.repaint is not None:
            work.repaint.drop_released()
    if patterns > 0 and work.refiner is not None:
        work.refiner.give_back(patterns)
