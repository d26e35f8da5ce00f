"""What is kept in memory: pages for the next batch, but no peaks for a year.

Each batch makes and drops arrays of some MiB. Where the allocator maps each of them anew, the system clears every page of it
again, which cost half of the lift's time. So arrays up to 32 MiB, its limit, come from the heaps, whose free pages ``tidy``
gives back when a scan is over.

Networks that were swapped and WebSockets that were closed stay behind in reference cycles, up to 100 MB of them until
Python's collector comes to its oldest generation. ``tidy`` has it come; ``spare`` makes that short.
"""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
"""Names of glibc's ``mallopt``."""


def keep_pages() -> None:
    """Have arrays below 32 MiB come from the heaps, four at most, each with up to 128 MiB free. Without glibc: nothing."""
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for name, value in ((MMAP_THRESHOLD, 32 << 20), (TRIM_THRESHOLD, 128 << 20), (ARENA_MAX, 4)):
            mallopt(name, value)


def spare() -> None:
    """Have the collector pass over all that exists now, which stays to the end: call it when the daemon is ready."""
    gc.collect()
    gc.freeze()


def tidy() -> None:
    """Collect what only cycles hold and give back what is free inside the heaps: call it when a scan is over."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
