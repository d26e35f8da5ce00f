"""The CBOR reader against an independent writer, against damage, and against what it has no use for."""

from __future__ import annotations

import math
import struct
from typing import Any

import cbor2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streams.codecs.cbor import MAX_VALUES, SELF_DESCRIBED, SKIPPED, CborError, Tagged, loads

TAGS = (0, 40, 69, 56500)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=300)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8) | st.integers(-(2**63), 2**63), inner, max_size=4)
        | st.builds(cbor2.CBORTag, st.sampled_from(TAGS[1:]), inner)
    ),
    max_leaves=12,
)


def depth(value: Any) -> int:
    if isinstance(value, cbor2.CBORTag):
        return 1 + depth(value.value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(depth, inner), default=0)


def is_same(read: Any, written: Any) -> bool:
    if isinstance(written, cbor2.CBORTag):
        return isinstance(read, Tagged) and read.tag == written.tag and is_same(read.value, written.value)
    if isinstance(written, bytes):
        return isinstance(read, memoryview) and bytes(read) == written
    if isinstance(written, list):
        return isinstance(read, list) and len(read) == len(written) and all(map(is_same, read, written))
    if isinstance(written, dict):
        return read.keys() == written.keys() and all(is_same(read[key], written[key]) for key in written)
    if isinstance(written, float) and math.isnan(written):
        return isinstance(read, float) and math.isnan(read)
    if written is cbor2.undefined:
        return read is None
    return type(read) is type(written) and read == written


@settings(deadline=None)
@given(VALUES.filter(lambda value: depth(value) <= 16), st.booleans())
def test_reads_what_cbor2_writes(value: Any, is_canonical: bool) -> None:
    data = cbor2.dumps(value, canonical=is_canonical)
    assert is_same(loads(memoryview(data)), value)


@settings(deadline=None)
@given(VALUES, st.data())
def test_a_cut_message_is_refused(value: Any, data: st.DataObject) -> None:
    message = cbor2.dumps(value)
    with pytest.raises(CborError):
        loads(message[: data.draw(st.integers(0, len(message) - 1))])


@settings(deadline=None, max_examples=500)
@given(st.binary(max_size=60))
@example(b"\x9f" * 60)
@example(b"\x5f\x5f\xff")
@example(b"\xbf\x61a\xff")
@example(b"\x1b" + b"\xff" * 8)
@example(b"\x7f\x62\xc3\x28\xff")
@example(b"\xa2\x61a\x01\x61a\x02")
def test_arbitrary_bytes_are_refused_or_read_as_cbor2_does(data: bytes) -> None:
    try:
        value = loads(data)
    except CborError:
        return
    if has_none_of_its_own(value):
        assert is_same(value, cbor2.loads(data))


def has_none_of_its_own(value: Any) -> bool:
    """Whether a value holds nothing that this reader reads in its own way: tags, what it passes over, damaged text."""
    if isinstance(value, list | dict):
        return all(map(has_none_of_its_own, [*value, *value.values()] if isinstance(value, dict) else value))
    return not (value is SKIPPED or isinstance(value, Tagged) or (isinstance(value, str) and "\ufffd" in value))


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("5f42010243030405ff", b"\1\2\3\4\5"),
        ("5fff", b""),
        ("7f657374726561646d696e67ff", "streaming"),
        ("9f018202039f0405ffff", [1, [2, 3], [4, 5]]),
        ("bf61610161629f0203ffff", {"a": 1, "b": [2, 3]}),
        ("f93c00", 1.0),
        ("fa47c35000", 100000.0),
        ("f97c00", math.inf),
        ("f7", None),
        ("3bffffffffffffffff", -18446744073709551616),
    ],
)
def test_examples_of_the_standard(data: str, value: Any) -> None:
    assert is_same(loads(bytes.fromhex(data)), value)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x01\x02", id="something after the end"),
        pytest.param(b"\x81" * 5_000, id="deep and cut off"),
        pytest.param(b"\x81" * 20_000 + b"\x01", id="deeper than is worth passing over"),
        pytest.param(b"\xb9\x04\x01" + b"\x61a\x01" * 1025, id="too many keys"),
        pytest.param(b"\x9b\x7f" + b"\xff" * 7, id="list that claims more than there is"),
        pytest.param(b"\x5b\x7f" + b"\xff" * 7 + b"abc", id="bytes that claim more than there are"),
        pytest.param(b"\xbb\x40" + b"\x00" * 7, id="map that claims more than there is"),
        pytest.param(b"\xff", id="lone break"),
        pytest.param(b"\x81\xff", id="break in a definite list"),
        pytest.param(b"\xbf\x61a\xff", id="key without a value"),
        pytest.param(b"\x1c", id="reserved length"),
        pytest.param(b"\x1f", id="number without a length"),
        pytest.param(b"\xdf\x01", id="tag without a number"),
        pytest.param(b"\x99\x20\x00\x01", id="long list that breaks off"),
        pytest.param(b"\x99\x20\x00" + b"\x01" * 8191 + b"\xff", id="break in a long list"),
        pytest.param(b"\x99\x20\x00" + b"\x01" * 8191 + b"\x1f", id="long list with a number without a length"),
        pytest.param(b"\x5f\x61a\xff", id="text in a byte string"),
        pytest.param(b"\x5f\x41a", id="string in pieces without an end"),
    ],
)
def test_refused(data: bytes) -> None:
    with pytest.raises(CborError):
        loads(data)


def test_byte_strings_are_views_into_the_message() -> None:
    message = bytearray(b"\x58\x20" + bytes(32))
    view = loads(memoryview(message))
    message[2] = 7
    assert view[0] == 7


def test_wide_message_of_other_element_size_is_read_as_bytes() -> None:
    words = memoryview(bytearray(struct.pack("<HH", 0x0182, 0x0002))[:3] + b"\0").cast("H")
    with pytest.raises(CborError, match="1 bytes after"):
        loads(words)


LONG = MAX_VALUES + 1


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(cbor2.dumps(list(range(10**6))), id="numbers"),
        pytest.param(cbor2.dumps([0.25, "abc", [1, 2]] * LONG), id="rows and texts"),
        pytest.param(cbor2.dumps({str(k): {"a": [k]} for k in range(LONG)}), id="maps"),
        pytest.param(b"\x9f" + b"\x01" * LONG + b"\xff", id="numbers up to a break"),
        pytest.param(b"\xbf" + b"\x01\x9f\xff" * LONG + b"\xff", id="pairs up to a break"),
        pytest.param(b"\x9f" + b"\x5f\x41a\x40\xff\xc1\x01\xf8\x63" * LONG + b"\xff", id="pieces, tags, simple values"),
        pytest.param(cbor2.dumps(cbor2.CBORTag(4, list(range(LONG)))), id="under a tag"),
    ],
)
def test_what_is_long_is_passed_over_and_costs_nothing_else(odd: bytes) -> None:
    good = cbor2.dumps({"p": [1.5, 2.5], "q": b"pixels"})
    message = b"\xa4\x61a" + good + b"\x61b" + odd + b"\x61c\xa2\x61x" + odd + b"\x61y\x82\x01\x02\x61d" + good
    found = loads(message)
    assert is_same(found["a"], cbor2.loads(good))
    assert is_same(found["d"], cbor2.loads(good))
    assert found["c"]["y"] == [1, 2]
    assert SKIPPED in (found["b"], getattr(found["b"], "value", None))


def test_what_is_deep_is_cut_off() -> None:
    found = loads(b"\xa2\x61a" + b"\x81" * 5000 + b"\x01\x61b\x02")
    levels, value = 0, found["a"]
    while isinstance(value, list):
        levels, (value,) = levels + 1, value
    assert (levels, value, found["b"]) == (15, SKIPPED, 2)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"\xa2\x61a\x01\x61a\x02", {"a": 2}),
        (b"\xa2\xf4\x01\x61a\x02", {SKIPPED: 1, "a": 2}),
        (b"\xa2\x80\x01\xf9\x3c\x00\x02", {SKIPPED: 2}),
        (b"\x62\xc3\x28", "\ufffd("),
        (b"\xf8\x20", SKIPPED),
        (b"\xe3", SKIPPED),
        (SELF_DESCRIBED + b"\x01", 1),
        (SELF_DESCRIBED * 3 + b"\x81" + SELF_DESCRIBED + b"\x02", [2]),
    ],
)
def test_what_others_may_write(data: bytes, value: Any) -> None:
    assert loads(data) == value
