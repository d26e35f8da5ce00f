"""Settings of the memory allocator and of the garbage collector.

Each batch allocates and frees arrays of some MiB. If the allocator maps each of them separately, the system clears all their
pages, which took half of the lift's time. So arrays up to 32 MiB, glibc's limit, come from the heaps, whose free pages
``release_memory`` returns to the system after a scan.

Replaced networks and closed WebSockets remain in reference cycles, up to 100 MB until Python's collector reaches its oldest
generation. ``release_memory`` runs it; ``freeze_objects`` makes that fast.
"""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
"""Names of glibc's ``mallopt``."""


def configure_malloc() -> None:
    """Take arrays below 32 MiB from the heaps, four at most, each with up to 128 MiB free. Does nothing without glibc."""
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for name, value in ((MMAP_THRESHOLD, 32 << 20), (TRIM_THRESHOLD, 128 << 20), (ARENA_MAX, 4)):
            mallopt(name, value)


def freeze_objects() -> None:
    """Exclude all present objects from garbage collection; call it when the daemon is ready."""
    gc.collect()
    gc.freeze()


def release_memory() -> None:
    """Collect reference cycles and return free heap pages to the system; call it after a scan."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
