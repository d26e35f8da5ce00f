"""Hostile bytes at every reader: refused with a reason or taken, never a crash, a hang, or memory that grows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.fuzz_run import check, fuzz
from tests.support.fuzz_tools import Chain, Message, Target, structure, targets

TARGETS = targets()
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


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_damaged_messages(target: Target) -> None:
    chain = fuzz(target, 1000, seed=1)
    check(chain, 1000)


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
