"""Hostile bytes at every reader: refused with a reason or taken, never a crash, a hang, or memory that grows.

``PTYCHOLIVE_FUZZ_MESSAGES`` sets how many damaged messages the slow test makes, over all readers together.
"""

from __future__ import annotations

import gc
import os
import time
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.fuzz_tools import Chain, Message, Target, mutations, structure, targets

MESSAGES = int(os.environ.get("PTYCHOLIVE_FUZZ_MESSAGES", "1000000"))
TARGETS = targets()
MAX_GROWTH_BYTES = 48 << 20
SLOW_S = 10.0
ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.sampled_from([2**63, 2**31, -1, 0, 10**30, 1e308, float("inf"), float("nan")])
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["", "bslz4", "lz4", "bs8-lz4<", "lz4<", "<", ">", "uint64", "object", "float16", "../../x"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


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
    if any(chain.join._live) or any(chain.join._finished):
        assert chain.accounts_add_up()


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_damaged_messages(target: Target) -> None:
    chain = fuzz(target, 2000, seed=1)
    check(chain, 2000)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_very_many_damaged_messages(target: Target) -> None:
    count = -(-MESSAGES // len(TARGETS))
    check(fuzz(target, count, seed=2), count)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_value_in_any_field(target: Target, data: st.DataObject) -> None:
    chain = Chain(target)
    for message in data.draw(st.lists(st.sampled_from(target.corpus), min_size=1, max_size=3)):
        chain.feed([_restructured(part, data) for part in message])
    chain.join.poll()


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@settings(deadline=None, max_examples=100)
@given(messages=st.lists(st.lists(st.binary(max_size=64), max_size=5), max_size=4))
def test_arbitrary_bytes(target: Target, messages: list[Message]) -> None:
    chain = Chain(target)
    for message in messages:
        chain.feed(message)


def _restructured(part: bytes, data: st.DataObject) -> bytes:
    """Return the part with one value, at any depth, set to something odd."""
    found = structure(part)
    if found is None:
        return part
    value, dump = found
    place: Any = value
    while True:
        key = data.draw(st.sampled_from(sorted(place, key=str) if isinstance(place, dict) else range(len(place))))
        inner = place[key]
        if not (isinstance(inner, dict | list) and inner and data.draw(st.booleans())):
            break
        place = inner
    place[key] = data.draw(ODD)
    try:
        return dump(value)
    except (OverflowError, ValueError, TypeError):
        return part
