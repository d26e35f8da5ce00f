"""What is taken from outside: text, numbers and trees that everything behind the border can hold."""

from __future__ import annotations

import json
import math
from typing import Any

import h5py
import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.untrusted import clean_text, frame_count, left_out_note, read_json, read_msgpack, shown, storable

TREES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=9)
    | st.binary(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text() | st.integers() | st.none(), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(TREES)
def test_what_is_kept_can_be_written_everywhere(tree: Any) -> None:
    kept, left_out = storable(tree, "x")
    assert msgpack.unpackb(msgpack.packb(kept)) == kept
    json.dumps(kept, allow_nan=False, ensure_ascii=False).encode()
    assert all(isinstance(words, str) and "(" in words for words in left_out)
    assert storable(kept, "x") == (kept, [])


@given(st.text(st.characters(exclude_categories=()), max_size=50))
def test_clean_text_fits_in_utf8_and_in_hdf5(text: str) -> None:
    clean = clean_text(text)
    assert len(clean) == len(text)
    with h5py.File.in_memory() as file:
        file.attrs["x"] = clean
        assert file.attrs["x"] == clean
    assert clean_text(clean) == clean


@pytest.mark.parametrize(
    ("value", "kept", "left_out"),
    [
        ({"a": 2**64}, {}, ["a (a number beyond 64 bits)"]),
        ({"a": -(2**63) - 1}, {}, ["a (a number beyond 64 bits)"]),
        ({"a": 2**64 - 1, "b": -(2**63)}, {"a": 2**64 - 1, "b": -(2**63)}, []),
        (
            {"a": math.nan, "b": [1, math.inf]},
            {"b": [1, None]},
            ["a (not a finite number)", "b[1] (not a finite number)"],
        ),
        ({"a": None, 3: 4}, {"a": None}, ["3 (its key is not a string)"]),
        ({"a": {"b": list(range(5000))}}, {"a": {}}, ["a.b (more than 4096 values)"]),
        ({"a": "x" * 5000}, {"a": "x" * 4096}, ["a (all but the first 4096 characters)"]),
        ({"a": b"x"}, {}, ["a (not text, number, list or map)"]),
        ({"a\ud800": "b\0c\x1b"}, {"a\ufffd": "b\ufffdc\ufffd"}, []),
    ],
)
def test_what_is_left_out_is_named(value: Any, kept: Any, left_out: list[str]) -> None:
    assert storable(value) == (kept, left_out)


def test_deep_trees_are_cut_off() -> None:
    deep: Any = 1
    for _ in range(900):
        deep = {"a": deep}
    kept, left_out = storable(deep)
    assert left_out == [".".join("a" * 8) + " (nested deeper than 8 levels)"]
    assert json.dumps(kept).count("a") == 7


def test_a_note_names_some_and_counts_the_rest() -> None:
    note = left_out_note([f"k{n} (too long)" for n in range(6)])
    assert note.endswith("k3 (too long) and 2 more")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"a": "\\ud800", "\\udfff": ["\\u0000"]}', {"a": "\ufffd", "\ufffd": ["\ufffd"]}),
        (b'{"a": "\\ud83d\\ude00"}', {"a": "\U0001f600"}),
        (b'{"a": "\xff"}', {"a": "\ufffd"}),
        (b'{"a": 1e400}', {"a": math.inf}),
        (b'{"a": -' + b"9" * 5000 + b', "b": 12}', {"a": math.inf, "b": 12}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
    ],
)
def test_json_that_others_write(text: bytes, value: Any) -> None:
    assert read_json(memoryview(text)) == value


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000, b"nope"])
def test_no_json(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        read_json(text)


def test_msgpack_that_others_write() -> None:
    odd = {"t": msgpack.Timestamp(1), "e": msgpack.ExtType(5, b"x"), 1.5: 2, "n": 3}
    found = read_msgpack(msgpack.packb(odd))
    assert (found["n"], found["e"], found[1.5]) == (3, None, 2)
    assert storable(found)[0] == {"n": 3, "e": None}
    assert read_msgpack(b"\x82\xa1a\x01\x91\x01\x02") == {"a": 1, None: 2}
    assert read_msgpack(b"\x81\xa1a\xa1\xff") == {"a": "\ufffd"}
    for damaged in (b"", b"\x81", b"\xc1", b"\x91" * 5000, b"\x01\x02"):
        with pytest.raises(ValueError):  # noqa: PT011
            read_msgpack(damaged)


@pytest.mark.parametrize(
    ("value", "count", "is_said"),
    [(None, None, False), (0, None, False), (9, 9, False), (9.0, 9, False), (2**31, 2**31, False), (2**31 + 1, None, True),
     (10**30, None, True), (-1, None, True), ("9", None, True), (True, None, True), (math.nan, None, True), ([], None, True)],
)  # fmt: skip
def test_how_many_frames(value: Any, count: int | None, is_said: bool) -> None:
    notes: list[str] = []
    assert frame_count(value, notes) == count
    assert bool(notes) == is_said


def test_quotations_are_short_and_clean() -> None:
    for value in ("\ud800" * 9, 1 << 20_000, -(10**30), [1] * 10**6, {"a": 1}, b"x", None, 1.5, math.nan, print):
        quoted = shown(value)
        assert 0 < len(quoted) <= 40
        quoted.encode()
