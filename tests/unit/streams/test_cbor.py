"""The CBOR reader against an independent writer, and against damage."""

from __future__ import annotations

import math
import struct
from typing import Any

import cbor2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streams.codecs.cbor import CborError, Tagged, loads

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
    assert is_same(loads(memoryview(data), TAGS), value)


@settings(deadline=None)
@given(VALUES, st.data())
def test_a_cut_message_is_refused(value: Any, data: st.DataObject) -> None:
    message = cbor2.dumps(value)
    with pytest.raises(CborError):
        loads(message[: data.draw(st.integers(0, len(message) - 1))], TAGS)


@settings(deadline=None, max_examples=500)
@given(st.binary(max_size=60))
@example(b"\x9f" * 60)
@example(b"\x5f\x5f\xff")
@example(b"\xbf\x61a\xff")
@example(b"\x1b" + b"\xff" * 8)
@example(b"\x7f\x62\xc3\x28\xff")
def test_arbitrary_bytes_are_refused_or_read_as_cbor2_does(data: bytes) -> None:
    try:
        value = loads(data, ())
    except CborError:
        return
    assert is_same(value, cbor2.loads(data))


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
    assert is_same(loads(bytes.fromhex(data), TAGS), value)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x01\x02", id="something after the end"),
        pytest.param(b"\x81" * 17 + b"\x01", id="too deep"),
        pytest.param(b"\x81" * 100_000, id="much too deep"),
        pytest.param(b"\x9a\x00\x01\x00\x00" + b"\x00" * 65536, id="too many items"),
        pytest.param(b"\x9b\x7f" + b"\xff" * 7, id="list that claims more than there is"),
        pytest.param(b"\x5b\x7f" + b"\xff" * 7 + b"abc", id="bytes that claim more than there are"),
        pytest.param(b"\xbb\x40" + b"\x00" * 7, id="map that claims more than there is"),
        pytest.param(b"\xa2\x61a\x01\x61a\x02", id="key twice"),
        pytest.param(b"\xa1\xf4\x01", id="key that is a bool"),
        pytest.param(b"\xa1\x80\x01", id="key that is a list"),
        pytest.param(b"\xc1\x01", id="foreign tag"),
        pytest.param(b"\xff", id="lone break"),
        pytest.param(b"\x81\xff", id="break in a definite list"),
        pytest.param(b"\xbf\x61a\xff", id="key without a value"),
        pytest.param(b"\x62\xc3\x28", id="not UTF-8"),
        pytest.param(b"\x1c", id="reserved length"),
        pytest.param(b"\x1f", id="number without a length"),
        pytest.param(b"\xf8\x20", id="unknown simple value"),
        pytest.param(b"\x5f\x61a\xff", id="text in a byte string"),
        pytest.param(b"\x5f\x41a", id="string in pieces without an end"),
    ],
)
def test_refused(data: bytes) -> None:
    with pytest.raises(CborError):
        loads(data, TAGS)


def test_byte_strings_are_views_into_the_message() -> None:
    message = bytearray(b"\x58\x20" + bytes(32))
    view = loads(memoryview(message), TAGS)
    message[2] = 7
    assert view[0] == 7


def test_wide_message_of_other_element_size_is_read_as_bytes() -> None:
    words = memoryview(bytearray(struct.pack("<HH", 0x0182, 0x0002))[:3] + b"\0").cast("H")
    with pytest.raises(CborError, match="1 bytes after"):
        loads(words, TAGS)
