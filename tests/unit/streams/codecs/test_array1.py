"""array-1.0 and its relatives: what producers send, and where scans begin and end."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from streams.codecs import CODECS, EncodedFrame
from streams.codecs.array1 import Array1Codec
from streams.codecs.base import StreamItem
from streams.compression import encode_bslz4
from streams.errors import CodecError
from streams.frame import ScanEnd, ScanStart
from tests.support.stream_tools import patterns

COUNTS = patterns(200, 8)[:, :6]  # 6 rows, 8 columns
SECOND = 10**9


def codec(**options: Any) -> Array1Codec:
    made = CODECS["array-1.0"](**options)
    assert isinstance(made, Array1Codec)
    return made


def message(number: int, pixels: bytes | None = None, **changes: Any) -> list[bytes]:
    head = {"htype": "array-1.0", "shape": [6, 8], "type": "uint16", "frame": number} | changes
    body = COUNTS[number].tobytes() if pixels is None else pixels
    return [json.dumps({key: value for key, value in head.items() if value is not ...}).encode(), body]


def read(parts: list[bytes], reader: Array1Codec | None = None) -> np.ndarray[Any, Any]:
    items = [item for item in (reader or codec()).parse(parts, 0) if not isinstance(item, ScanStart | ScanEnd)]
    (item,) = items
    if isinstance(item, CodecError):
        raise item
    assert isinstance(item, EncodedFrame)
    return item.decode().counts


def story(reader: Array1Codec, frames: list[int], step_ns: int = 0, **changes: Any) -> str:
    """What a stream of frames makes known, one letter each: Start, Frame, End, Refused."""
    letters = {ScanStart: "S", EncodedFrame: "F", ScanEnd: "E", CodecError: "R"}
    told = ""
    for time, frame in enumerate(frames):
        items: list[StreamItem] = reader.parse(message(frame, **changes), time * step_ns)
        told += "".join(letters[type(item)] for item in items)  # type: ignore[index]
    return told


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "endianness": "little",
            "encoding": "",
            "source": "EIGER",
            "tags": ["x"],
            "pulse_id": 5,
            "is_good_frame": True,
        },
        {"encoding": None},
        {"shape": [1, 6, 8]},
        {"htype": "chunk-1.0", "shape": [8, 6, 1]},
        {"htype": "chunk-1.0", "shape": [8, 6], "cmpr": ""},
        {"htype": ["array-1.0"], "shape": [8, 6]},
        {"htype": ["array-1.0"], "shape": [8, 6, 1]},
        {"htype": ["chunk-1.0"], "shape": [8, 6]},
    ],
)
def test_heads_of_all_kinds(changes: dict[str, Any]) -> None:
    assert np.array_equal(read(message(3, **changes)), COUNTS[3])


@pytest.mark.parametrize("key", ["endianness", "endianess"])
def test_big_endian_in_both_spellings(key: str) -> None:
    assert np.array_equal(read(message(3, COUNTS[3].astype(">u2").tobytes(), **{key: "big"})), COUNTS[3])


@pytest.mark.parametrize(
    "changes",
    [{"encoding": "bslz4"}, {"encoding": "bitshuffle_lz4"}, {"htype": "chunk-1.0", "shape": [8, 6], "cmpr": "bslz4"}],
)
def test_packed_pixels(changes: dict[str, Any]) -> None:
    assert np.array_equal(read(message(3, encode_bslz4(COUNTS[3]), **changes)), COUNTS[3])


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint32", "int64", "uint64", "float32", "float64"])
def test_types(dtype: str) -> None:
    counts = COUNTS[3].astype(dtype)
    found = read(message(3, counts.tobytes(), type=dtype))
    assert (found.dtype, found.tolist()) == (counts.dtype, counts.tolist())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"shape": [6, 9]}, "corrupt"), ({"shape": [2, 6, 8]}, "shape"), ({"shape": [48]}, "shape"), ({"shape": "x"}, "shape"),
     ({"shape": [6.0, 8.0]}, "shape"), ({"shape": [2**63, 8]}, "too_large"), ({"type": "U5"}, "dtype"), ({"type": 5}, "dtype"),
     ({"encoding": "zip"}, "encoding"), ({"encoding": ["bslz4"]}, "encoding"), ({"encoding": "bslz4"}, "corrupt"),
     ({"is_good_frame": False}, "bad_frame"), ({"frame": -1}, "index"), ({"frame": "1"}, "index"), ({"frame": ...}, "index"),
     ({"position_m": [1]}, "position"), ({"htype": "array-2.0"}, "malformed"), ({"htype": ...}, "malformed"),
     ({"htype": ["array-1.0", "x"]}, "malformed")],
)  # fmt: skip
def test_heads_that_lie(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(CodecError) as refused:
        read(message(3, **changes))
    assert refused.value.reason == reason


def test_bad_frames_are_refused_by_name_and_the_scan_goes_on() -> None:
    reader = codec(expected_frames=3)
    assert story(reader, [0]) == "SF"
    with pytest.raises(CodecError, match="scan array, frame 1: the detector marked it as bad"):
        reader.parse(message(1, is_good_frame=False), 0)
    assert story(reader, [2]) == "FE"


def test_parts_in_messages_of_their_own_and_one_lost() -> None:
    reader = codec()
    parts = [part for frame in range(4) for part in message(frame)]
    found, refused = [], []
    for part in (*parts[:3], *parts[4:]):  # the pixels of frame 1 are lost
        try:
            found += [item.index for item in reader.parse([part], 0) if isinstance(item, EncodedFrame)]
        except CodecError as fault:
            refused.append((fault.reason, fault.scan_id, fault.index))
    assert found == [0, 2, 3]
    assert refused == [("incomplete", "array", 1)]
    with pytest.raises(CodecError, match="neither the header nor the pixels"):
        reader.parse([parts[1]], 0)


@pytest.mark.parametrize(
    ("frames", "told"),
    [
        ([0, 1, 2], "SFFF"),
        ([5, 6], "SFF"),  # joined late
        ([1, 0, 2], "SFFF"),  # out of order
        ([0, 0, 1], "SFFF"),  # a duplicate
        ([*range(70), 69, 3 + 62, 70], "S" + "F" * 73),  # duplicates near the end
        ([*range(100), 0, 1], "S" + "F" * 100 + "ESFF"),  # began anew
        ([*range(100), 1, 2], "S" + "F" * 100 + "ESFF"),  # began anew, frame 0 lost
    ],
)
def test_where_scans_begin(frames: list[int], told: str) -> None:
    assert story(codec(), frames) == told


def test_frame_0_again_with_other_pixels_is_a_new_scan() -> None:
    reader = codec()
    assert story(reader, [0, 1]) == "SFF"
    assert story(reader, [0], pixels=COUNTS[9].tobytes()) == "ESF"


def test_the_configuration_says_how_many_frames_there_are() -> None:
    reader = codec(expected_frames=3)
    (start, _) = reader.parse(message(0), 0)
    assert start == ScanStart("array", 3)
    assert story(reader, [2, 1]) == "FFE"
    assert story(reader, [1]) == "F"  # a late duplicate
    assert story(reader, [0, 1, 2]) == "SFFFE"


def test_silence_opens_a_new_scan() -> None:
    assert story(codec(silence_s=5.0), [0, 1, 2, 3], step_ns=4 * SECOND) == "SFFFF"
    assert story(codec(silence_s=5.0), [0, 1, 2], step_ns=6 * SECOND) == "SFESFESF"


def test_names() -> None:
    def name(reader: Array1Codec, **changes: Any) -> set[str]:
        items = reader.parse(message(0, **changes), 0)
        return {item.scan_id for item in items if isinstance(item, ScanStart | EncodedFrame)}

    assert name(codec()) == {"array"}
    assert name(codec(), source="JF/1") == {"JF_1"}
    reader = codec()
    assert name(reader, source="a", scan_id="run 7") == {"run_7"}
    assert name(reader, source="a", scan_id="run 8") == {"run_8"}
    reader = codec()
    assert story(reader, [0, 1], source="a") == "SFF"
    assert story(reader, [2], source="b") == "F"
