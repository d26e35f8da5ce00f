"""The C library's allocator, told what to keep: pages for the next batch, but no peaks for a year.

Each batch makes and drops arrays of some MiB. Where the allocator maps each of them anew, the system clears every page of it
again, which cost half of the lift's time. So arrays up to 32 MiB, its limit, come from the heaps, whose free pages ``trim``
gives back when a scan is over.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
"""Names of glibc's ``mallopt``."""


def keep_pages() -> None:
    """Have arrays below 32 MiB come from the heaps, four at most, each with up to 128 MiB free. Without glibc: nothing."""
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for name, value in ((MMAP_THRESHOLD, 32 << 20), (TRIM_THRESHOLD, 128 << 20), (ARENA_MAX, 4)):
            mallopt(name, value)


def trim() -> None:
    """Give back what is free inside the heaps: call it when a scan is over. Takes milliseconds; without glibc: nothing."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
