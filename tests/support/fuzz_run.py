"""Feeds damaged messages to a reader: none may take long, and memory may not grow."""

from __future__ import annotations

import gc
import os
import time
from itertools import islice
from pathlib import Path

from tests.support.fuzz_tools import Chain, Target, mutations

MAX_GROWTH_BYTES = 48 << 20
SLOW_S = 10.0


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def fuzz(target: Target, count: int, seed: int) -> Chain:
    """Feed damaged messages; no single one may take long."""
    chain = Chain(target)
    slowest = 0.0
    warm = None
    for number, message in enumerate(islice(mutations(target.corpus, seed), count)):
        begun = time.perf_counter()
        chain.feed(message)
        slowest = max(slowest, time.perf_counter() - begun)
        if number == count // 4:
            gc.collect()
            warm = resident_bytes()
    gc.collect()
    assert warm is None or resident_bytes() - warm < MAX_GROWTH_BYTES
    assert slowest < SLOW_S
    return chain


def check(chain: Chain, count: int) -> None:
    assert chain.understood > count / 50
    assert sum(chain.refused.values()) > count / 50
    assert len(chain.refused) < 24, chain.refused
    assert "no words" not in chain.refused
    if chain.has_scans():
        assert chain.accounts_add_up()
