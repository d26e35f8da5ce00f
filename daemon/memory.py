"""The C library's allocator, told to give memory back: a daemon that runs for a year must not keep its peaks.

By itself it learns from the first large arrays that are freed to keep such arrays in its heaps, where they leave holes: that
was a megabyte a scan. Smaller ones still do, from scan to scan more of them, and only the top of a heap goes back by itself;
``trim`` gives all. Arrays that are mapped anew are slow, so what is computed again and again stays below 1 MiB
(:func:`ptychopinn.device.frames_at_once`).
"""

from __future__ import annotations

import ctypes
from contextlib import suppress

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
"""Names of glibc's ``mallopt``."""


def give_memory_back() -> None:
    """Have arrays of 1 MiB and more mapped by themselves, and the heaps, four at most, trimmed. Without glibc: nothing."""
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for name, value in ((MMAP_THRESHOLD, 1 << 20), (TRIM_THRESHOLD, 4 << 20), (ARENA_MAX, 4)):
            mallopt(name, value)


def trim() -> None:
    """Give back what is free inside the heaps: call it when a scan is over. Takes milliseconds; without glibc: nothing."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
