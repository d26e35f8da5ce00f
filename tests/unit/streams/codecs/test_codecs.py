"""Wire formats: what is written is read, and no message, however bad, does more than be refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import cbor2
import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from streams.codecs import CODECS, Codec, EncodedFrame, sanitise_scan_id
from streams.codecs.base import MAX_INDEX
from streams.errors import CodecError
from streams.frame import Frame, PositionM, ScanEnd, ScanStart
from streams.replay.faults import corrupt
from streams.untrusted import clean_text
from tests.support.stream_tools import patterns

LIMIT = 2**16
REASONS = {
    "malformed", "schema_version", "index", "shape", "dtype", "encoding", "position", "too_large", "corrupt", "incomplete",
}  # fmt: skip
FORMATS = list({type(make()): name for name, make in reversed(CODECS.items())}.values())  # one name of each codec
WITHOUT_STARTS = ("array-1.0",)
NEEDED_PARTS = {"dectris-v1": 3}  # what comes after them is free, or may be left out
NAMES = st.text(max_size=80)
POSITIONS = st.none() | st.builds(PositionM, st.floats(), st.floats())
FRAMES = st.sampled_from(["uint8", "uint16", "uint32", "uint64", "int32", "float32", "float64"]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=2, max_dims=2, max_side=20))
)


@pytest.fixture(params=FORMATS)
def codec(request: pytest.FixtureRequest) -> Codec:
    return CODECS[request.param](max_frame_bytes=LIMIT)


def read(codec: Codec, message: list[bytes]) -> Frame:
    return encoded_frame(codec, message).decode()


def encoded_frame(codec: Codec, message: Sequence[bytes | memoryview]) -> EncodedFrame:
    """The one frame of a message, or its refusal raised."""
    items = [item for item in codec.parse(message, 5) if not isinstance(item, ScanStart | ScanEnd)]
    (item,) = items
    if isinstance(item, CodecError):
        raise item
    assert isinstance(item, EncodedFrame)
    return item


def announce(codec: Codec, start: ScanStart, shape: tuple[int, int]) -> None:
    message = codec.encode_start(start, shape, "uint16")
    if message:
        codec.parse(message, 0)


def is_same_place(one: PositionM | None, other: PositionM | None) -> bool:
    """Whether both are the same, or both no place."""
    return one == other or not (one is None or other is None or one.is_finite or other.is_finite)


def refusal(codec: Codec, message: list[bytes]) -> CodecError:
    with pytest.raises(CodecError) as refused:
        read(codec, message)
    return refused.value


@pytest.mark.parametrize("name", FORMATS)
@settings(deadline=None)
@given(counts=FRAMES, index=st.integers(0, MAX_INDEX), position=POSITIONS, encoding=st.sampled_from(["", "bslz4"]))
def test_frames_come_back_bit_for_bit(
    name: str, counts: NDArray[Any], index: int, position: PositionM | None, encoding: str
) -> None:
    codec = CODECS[name](max_frame_bytes=LIMIT)
    message = codec.encode_frame("11", index, counts, position, encoding)
    encoded = encoded_frame(codec, [memoryview(part) for part in message])
    assert (encoded.decoded_nbytes, 0 < encoded.nbytes <= sum(map(len, message))) == (counts.nbytes, True)
    found = encoded.decode()
    assert (found.scan_id, found.index, found.received_ns) == ("11", index, 5)
    assert (found.counts.dtype, found.counts.shape) == (counts.dtype, counts.shape)
    assert found.counts.tobytes() == counts.tobytes()
    assert is_same_place(found.position_m, position)


@pytest.mark.parametrize("name", FORMATS)
@settings(deadline=None)
@given(
    scan_id=NAMES.filter(bool),
    expected=st.none() | st.integers(1, 2**31),
    metadata=st.dictionaries(
        st.sampled_from(["sample", "n", "nested"]), st.integers(0, 9) | st.text(max_size=9).map(clean_text)
    ),
)
def test_starts_and_ends_come_back(name: str, scan_id: str, expected: int | None, metadata: dict[str, Any]) -> None:
    codec = CODECS[name]()
    message = codec.encode_start(ScanStart(scan_id, expected, metadata), (4, 6), "uint16")
    if name in WITHOUT_STARTS:
        assert not message
        assert not codec.encode_end(scan_id)
        return
    (start,) = codec.parse(message, 5)
    assert isinstance(start, ScanStart)
    assert (start.scan_id, start.expected_frames) == (sanitise_scan_id(scan_id), expected)
    assert metadata.items() <= (start.metadata.get("user_data", start.metadata) | start.metadata).items()
    assert codec.parse(codec.encode_end(scan_id), 6) == [ScanEnd(sanitise_scan_id(scan_id))]


@cache
def scan_of(name: str, encoding: str) -> list[list[bytes]]:
    """The messages of a scan of one frame, 20 x 20 uint16."""
    codec = CODECS[name]()
    return [
        codec.encode_start(ScanStart("11", 9, {"sample": "x"}), (20, 20), "uint16"),
        codec.encode_frame("11", 3, patterns(1, 20)[0], PositionM(1, 2), encoding),
        codec.encode_end("11"),
    ]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("encoding", ["", "bslz4"])
@settings(deadline=None)
@given(data=st.data())
def test_a_message_cut_anywhere_is_refused(name: str, encoding: str, data: st.DataObject) -> None:
    codec = CODECS[name](max_frame_bytes=LIMIT)
    message = list(scan_of(name, encoding)[1])
    part = data.draw(st.integers(0, NEEDED_PARTS.get(name, len(message)) - 1))
    message[part] = message[part][: data.draw(st.integers(0, len(message[part]) - 1))]
    refusal(codec, message)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("encoding", ["", "bslz4"])
@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_flipped_bytes_never_raise_anything_else(name: str, encoding: str, data: st.DataObject) -> None:
    codec = CODECS[name](max_frame_bytes=LIMIT)
    announce(codec, ScanStart("11", 9, {"sample": "x"}), (20, 20))
    message = list(data.draw(st.sampled_from([message for message in scan_of(name, encoding) if message])))
    for _ in range(data.draw(st.integers(1, 4))):
        part = data.draw(st.integers(0, len(message) - 1))
        damaged = bytearray(message[part])
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
        message[part] = bytes(damaged)
    reasons: set[str] = set()
    try:
        items = codec.parse(message, 5)
        frame = next((item.decode() for item in items if isinstance(item, EncodedFrame)), None)
        reasons |= {item.reason for item in items if isinstance(item, CodecError)}
    except CodecError as refused:
        frame = None
        reasons.add(refused.reason)
    assert reasons <= REASONS
    if frame is not None:
        assert frame.counts.nbytes <= LIMIT
        assert frame.scan_id != "11" or frame.counts.shape == (20, 20)


@pytest.mark.parametrize("name", FORMATS)
@settings(deadline=None, max_examples=300)
@given(parts=st.lists(st.binary(max_size=80) | st.sampled_from([b"frame", b"start", b"end"]), max_size=4))
def test_arbitrary_parts_are_refused_or_mean_nothing(name: str, parts: list[bytes]) -> None:
    try:
        items = CODECS[name]().parse(parts, 5)
    except CodecError:
        return
    assert not items


def test_a_frame_unlike_its_scan_is_refused(codec: Codec) -> None:
    announce(codec, ScanStart("7"), (8, 8))
    assert read(codec, codec.encode_frame("7", 0, patterns(1, 8)[0])).index == 0
    for other in (patterns(1, 9)[0], patterns(1, 8, dtype="uint32")[0]):
        fault = refusal(codec, codec.encode_frame("7", 1, other))
        assert (fault.reason, fault.scan_id, fault.index) == ("shape", "7", 1)
    assert read(codec, codec.encode_frame("8", 0, patterns(1, 9)[0])).counts.shape == (9, 9)


def test_a_frame_beyond_the_limit_is_refused_before_unpacking(codec: Codec) -> None:
    fault = refusal(codec, codec.encode_frame("7", 4, np.zeros((256, 129), np.uint16)))
    assert (fault.reason, fault.scan_id, fault.index) == ("too_large", "7", 4)


def test_damaged_pixels_are_refused_by_name(codec: Codec) -> None:
    message = codec.encode_frame("7", 4, patterns(1, 64)[0])
    fault = refusal(codec, corrupt(message, 64 * 64 * 2))
    assert (fault.reason, fault.scan_id, fault.index) == ("corrupt", "7", 4)
    assert str(fault).startswith("scan 7, frame 4: bslz4 header announces")


def test_big_endian_pixels_are_written_and_read(codec: Codec) -> None:
    counts = patterns(1, 8)[0]
    assert np.array_equal(read(codec, codec.encode_frame("7", 0, counts.astype(">u2"))).counts, counts)


def test_what_a_format_cannot_hold_is_refused_when_written(codec: Codec) -> None:
    for counts, encoding in ((np.zeros((2, 2), complex), ""), (np.zeros((2, 2), np.uint16), "zip")):
        with pytest.raises(CodecError, match="encoding"):
            codec.encode_frame("7", 0, counts, None, encoding)


@pytest.mark.parametrize("position", [math.nan, math.inf])
def test_positions_that_are_not_finite_pass_for_the_join_to_judge(codec: Codec, position: float) -> None:
    found = read(codec, codec.encode_frame("7", 0, patterns(1, 8)[0], PositionM(position, 0.0)))
    assert found.position_m is not None
    assert not found.position_m.is_finite


@pytest.mark.parametrize(
    ("text", "clean"),
    [("a b/../c", "a_b_.._c"), ("", "_"), ("..", "__"), (".", "_"), ("é\n", "__"), ("x" * 64, "x" * 64)],
)
def test_names_become_fit_for_paths(text: str, clean: str) -> None:
    assert sanitise_scan_id(text) == clean


def test_long_names_stay_two() -> None:
    first, second = sanitise_scan_id("x" * 65), sanitise_scan_id("x" * 66)
    assert first != second
    assert len(first) == len(second) == 64


HEADER = {"schema_version": 1, "scan_id": "s", "index": 3, "shape": [2, 2], "dtype": "uint16", "encoding": ""}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"schema_version": 2}, "schema_version"),
        ({"schema_version": True}, "schema_version"),
        ({"schema_version": None}, "schema_version"),
        ({"scan_id": 7}, "malformed"),
        ({"scan_id": ""}, "malformed"),
        ({"index": -1}, "index"),
        ({"index": True}, "index"),
        ({"index": 1.0}, "index"),
        ({"index": 2**31}, "index"),
        ({"shape": [2, 0]}, "shape"),
        ({"shape": [2, -2]}, "shape"),
        ({"shape": [2, 2, 1]}, "shape"),
        ({"shape": [2.0, 2.0]}, "shape"),
        ({"shape": [True, 4]}, "shape"),
        ({"shape": "22"}, "shape"),
        ({"shape": [2**40, 2**40]}, "too_large"),
        ({"shape": [2, 3]}, "corrupt"),
        ({"dtype": "O"}, "dtype"),
        ({"dtype": ["uint16"]}, "dtype"),
        ({"dtype": "uint32"}, "corrupt"),
        ({"encoding": "lz4"}, "encoding"),
        ({"encoding": ["bslz4"]}, "encoding"),
        ({"encoding": "bslz4"}, "corrupt"),
        ({"position_m": [1.0]}, "position"),
        ({"position_m": ["1", "2"]}, "position"),
        ({"position_m": [True, 1.0]}, "position"),
        ({"position_m": {"y": 1}}, "position"),
    ],
)
def test_native_headers_that_lie(changes: dict[str, Any], reason: str) -> None:
    codec = CODECS["native"](max_frame_bytes=LIMIT)
    assert read(codec, [b"frame", msgpack.packb(HEADER), bytes(8)]).index == 3
    fault = refusal(CODECS["native"](max_frame_bytes=LIMIT), [b"frame", msgpack.packb(HEADER | changes), bytes(8)])
    assert fault.reason == reason


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b"frame"],
        [b"frame", msgpack.packb(HEADER)],
        [b"start", msgpack.packb(HEADER), b""],
        [b"end", msgpack.packb(HEADER), b""],
        [b"other", msgpack.packb(HEADER)],
        [b"frame" * 9, msgpack.packb(HEADER), bytes(8)],
        [b"frame", msgpack.packb(HEADER) + b"\0", bytes(8)],
        [b"frame", msgpack.packb([1]), bytes(8)],
        [b"frame", msgpack.packb(msgpack.ExtType(5, b"x")), bytes(8)],
        [b"frame", b"\x91" * 5000, bytes(8)],
        [b"frame", bytes(2**20 + 1), bytes(8)],
    ],
)
def test_native_messages_of_another_form(parts: list[bytes]) -> None:
    with pytest.raises(CodecError):
        CODECS["native"]().parse(parts, 5)


def test_native_passes_over_unknown_keys() -> None:
    message = [b"frame", msgpack.packb(HEADER | {"temperature_K": 90.0}), bytes(8)]
    assert read(CODECS["native"](), message).counts.shape == (2, 2)


def image(pixels: Any, tag: int = 69, shape: Any = (2, 3), outer: int = 40, **more: Any) -> list[bytes]:
    array = cbor2.CBORTag(outer, [shape, cbor2.CBORTag(tag, pixels)])
    message = {"type": "image", "series_id": 8, "image_id": 3, "data": {"threshold_1": array}, **more}
    return [cbor2.dumps(message)]


PIXELS = np.arange(6, dtype="<u2").reshape(2, 3)


@pytest.mark.parametrize(
    ("tag", "dtype", "outer"),
    [(69, "<u2", 40), (65, ">u2", 40), (70, "<u4", 40), (66, ">u4", 40), (64, "u1", 40), (68, "u1", 40),
     (85, "<f4", 40), (81, ">f4", 40), (69, "<u2", 1040), (66, ">u4", 1040)],
)  # fmt: skip
def test_dectris_arrays_of_all_kinds(tag: int, dtype: str, outer: int) -> None:
    body = PIXELS.astype(dtype).tobytes("F" if outer == 1040 else "C")
    found = read(CODECS["dectris-v2"](), image(body, tag, outer=outer)).counts
    assert np.array_equal(found, PIXELS)
    assert found.dtype == np.dtype(dtype).newbyteorder("=")


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (image(bytes(11)), "corrupt"),
        (image(bytes(12), shape=(3, 3)), "corrupt"),
        (image(bytes(12), shape=(2**20, 2**20)), "too_large"),
        (image(bytes(12), shape=(2, 3, 1)), "shape"),
        (image(bytes(12), tag=83), "dtype"),
        (image("text"), "malformed"),
        (image(cbor2.CBORTag(56500, ["bslz4", 2])), "malformed"),
        (image(cbor2.CBORTag(56500, ["bslz4", 2, "x"])), "malformed"),
        (image(cbor2.CBORTag(56500, ["bslz4", 3, b"x"])), "encoding"),
        (image(cbor2.CBORTag(56500, ["trpx", 2, b"x"])), "encoding"),
        (image(cbor2.CBORTag(56500, [["bslz4"], 2, b"x"])), "encoding"),
        (image(cbor2.CBORTag(56500, ["bslz4", 2, b"x"])), "corrupt"),
        (image(bytes(12), image_id=-1), "index"),
        (image(bytes(12), image_id=2**40), "index"),
        (image(bytes(12), data={}), "malformed"),
        (image(bytes(12), data=[]), "malformed"),
        (image(bytes(12), data={"threshold_1": b"x"}), "malformed"),
        (image(bytes(12), series_id=None), "malformed"),
        (image(bytes(12), user_data={"position_m": [1]}), "position"),
    ],
)
def test_dectris_images_that_lie(message: list[bytes], reason: str) -> None:
    assert refusal(CODECS["dectris-v2"](max_frame_bytes=LIMIT), message).reason == reason


def test_dectris_channel_that_was_asked_for() -> None:
    one, two = (cbor2.CBORTag(40, [[1, 2], cbor2.CBORTag(64, bytes([n, n]))]) for n in (1, 2))
    message = image(b"", data={"threshold_1": one, "threshold_2": two})
    assert read(CODECS["dectris-v2"](channel="threshold_2"), message).counts[0, 0] == 2
    assert read(CODECS["dectris-v2"](), message).counts[0, 0] == 1
    fault = refusal(CODECS["dectris-v2"](channel="difference"), message)
    assert (fault.reason, fault.index) == ("channel", 3)
    assert "only threshold_1, threshold_2" in str(fault)


def test_dectris_start_of_a_simulator_that_departs_from_the_format() -> None:
    codec = CODECS["dectris-v2"]()
    start = {"type": "start", "series_id": 8, "series_unique_id": "01H/x", "channels": ["1"], "number_of_images": 5,
             "flatfield": None, "arm_date": "yesterday", "FIX": 1, "count_time": math.nan}  # fmt: skip
    known = {key: start[key] for key in ("channels", "number_of_images", "arm_date")}
    assert codec.parse([cbor2.dumps(start)], 0) == [ScanStart("01H_x", 5, known)]
    assert read(codec, image(bytes(12), user_data="free")).scan_id == "01H_x"
    assert codec.parse([cbor2.dumps({"type": "end", "series_id": 8})], 0) == [ScanEnd("01H_x")]
    assert codec.parse([cbor2.dumps({"type": "weather", "series_id": 8})], 0) == []


@pytest.mark.parametrize("change", [lambda m: m * 2, lambda m: [*m, b""], lambda m: [m[0] + b"\0"], lambda m: []])
def test_dectris_messages_of_another_form(change: Callable[[list[bytes]], list[bytes]]) -> None:
    assert refusal(CODECS["dectris-v2"](), change(image(bytes(12)))).reason == "malformed"


def test_faults_carry_no_pixels(codec: Codec) -> None:
    encoded = encoded_frame(codec, codec.encode_frame("7", 1, patterns(1, 8)[0], encoding=""))
    with pytest.raises(CodecError, match=r"scan 7, frame 1: 3 bytes of pixels, but 128 are expected"):
        replace(encoded, payload=b"abc").decode()


@pytest.mark.parametrize(
    ("name", "scan_id"),
    [(".loose", "_loose"), (".daemon", "_daemon"), ("..", "__"), ("", "_"), ("...a.b", "___a.b"), ("a.", "a.")],
)
def test_no_scan_takes_a_name_of_this_programs_own(name: str, scan_id: str) -> None:
    assert sanitise_scan_id(name) == scan_id
