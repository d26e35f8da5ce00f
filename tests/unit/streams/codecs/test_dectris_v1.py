"""DECTRIS V1 as detectors, relays and simulators send it: each trap of the format is a test."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterable
from typing import Any

import bitshuffle
import lz4.block
import numpy as np
import pytest
from numpy.typing import NDArray

from streams.codecs import CODECS, EncodedFrame
from streams.codecs.base import StreamItem
from streams.codecs.dectris_v1 import DectrisV1Codec
from streams.compression import HEADER
from streams.errors import CodecError
from streams.frame import Position, PositionM, ScanEnd, ScanStart, StreamGeometry
from tests.support.stream_tools import patterns

COUNTS = patterns(6, 24)[:, :16]  # 16 rows, 24 columns
CONFIGURATION = {
    "trigger_mode": "exte", "ntrigger": 6, "nimages": 1, "x_pixels_in_detector": 24, "y_pixels_in_detector": 16,
    "bit_depth_image": 16, "photon_energy": 8800.0, "wavelength": 1.0, "detector_distance": 1.92, "x_pixel_size": 75e-6,
    "y_pixel_size": 76e-6, "beam_center_x": 12.5, "beam_center_y": 8.25, "frame_time": 0.01,
    "countrate_correction_count_cutoff": 60000, "flatfield_correction_applied": False,
}  # fmt: skip


def codec(**options: Any) -> DectrisV1Codec:
    made = CODECS["dectris-v1"](**options)
    assert isinstance(made, DectrisV1Codec)
    return made


def text(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def header(detail: str = "basic", series: int = 3, appendix: bytes | None = None, **changes: Any) -> list[bytes]:
    parts = [text(htype="dheader-1.0", series=series, header_detail=detail)]
    if detail != "none":
        parts.append(text(**{key: value for key, value in (CONFIGURATION | changes).items() if value is not None}))
    if detail == "all":
        flat, mask = np.full((16, 24), 1.5, "<f4"), np.zeros((16, 24), "<u4")
        mask[2, 5] = 1 << 31
        for htype, table in (
            ("dflatfield-1.0", flat), ("dpixelmask-1.0", mask), ("dcountrate_table-1.0", np.ones((2, 1000), "<f4"))
        ):  # fmt: skip
            parts += [text(htype=htype, shape=list(table.shape[::-1]), type=table.dtype.name), table.tobytes()]
    return [*parts, *([] if appendix is None else [appendix])]


def image(index: int, counts: NDArray[Any] | None = None, appendix: bytes | None = None, **changes: Any) -> list[bytes]:
    pixels = COUNTS[index] if counts is None else counts
    blob = changes.pop("blob", pixels.tobytes())
    head = {"htype": "dimage-1.0", "series": 3, "frame": index, "hash": changes.pop("hash", "")}
    shape = list(pixels.shape[::-1])
    description = {
        "htype": "dimage_d-1.0",
        "shape": shape,
        "type": pixels.dtype.name,
        "encoding": "<",
        "size": len(blob),
    }
    times = text(htype="dconfig-1.0", start_time=index * 10_000_000, stop_time=0, real_time=0)
    parts = [text(**head), text(**(description | changes)), blob, times]
    return [*parts, *([] if appendix is None else [appendix])]


END = [text(htype="dseries_end-1.0", series=3)]


def bslz4(array: NDArray[Any], dtype: str, block: int = 8192) -> bytes:
    """Packed with elements of another width than the pixels', by another library."""
    flat = array.reshape(-1).view(dtype)
    return HEADER.pack(array.nbytes, block) + bytes(bitshuffle.compress_lz4(flat, block // flat.itemsize))


def feed(reader: DectrisV1Codec, messages: Iterable[list[bytes]]) -> list[StreamItem]:
    items: list[StreamItem] = []
    for parts in messages:
        try:
            items += reader.parse([memoryview(part) for part in parts], 7)
        except CodecError as fault:
            items.append(fault)
    return items


def flat(messages: Iterable[list[bytes]]) -> list[list[bytes]]:
    return [[part] for parts in messages for part in parts]


def pixels(items: Iterable[StreamItem]) -> dict[int, NDArray[Any]]:
    return {item.index: item.decode().counts for item in items if isinstance(item, EncodedFrame)}


def unpack(item: StreamItem) -> NDArray[Any]:
    assert isinstance(item, EncodedFrame)
    return item.decode().counts


def one(reader: DectrisV1Codec, parts: list[bytes]) -> NDArray[Any]:
    (found,) = pixels(feed(reader, [parts])).values()
    return found


@pytest.mark.parametrize("is_flat", [False, True], ids=["multipart", "flattened"])
@pytest.mark.parametrize("detail", ["all", "basic", "none"])
def test_a_whole_series(detail: str, is_flat: bool) -> None:
    messages = [header(detail), *(image(i) for i in range(6)), END]
    items = feed(codec(), flat(messages) if is_flat else messages)
    assert isinstance(items[0], ScanStart)
    assert (items[0].scan_id, items[0].expected_frames) == ("3", None if detail == "none" else 6)
    assert [item.index for item in items[1:7] if isinstance(item, EncodedFrame)] == list(range(6))
    assert items[7:] == [ScanEnd("3")]
    assert all(np.array_equal(found, COUNTS[i]) for i, found in pixels(items).items())


def test_the_header_says_what_detector_and_beam_are() -> None:
    (start,) = feed(codec(), [header("all")])
    assert isinstance(start, ScanStart)
    known = start.geometry
    assert (known.photon_energy_eV, known.detector_distance_m, known.frame_time_s) == (8800.0, 1.92, 0.01)
    assert (known.detector_pixel_size_m, known.beam_center_px) == ((76e-6, 75e-6), (8.25, 12.5))
    assert (known.saturation, known.frame_shape, known.frame_dtype) == (60000, (16, 24), np.uint16)
    assert known.mask is not None
    assert np.argwhere(known.mask).tolist() == [[2, 5]]
    assert known.flatfield is not None
    assert known.flatfield.shape == (16, 24)
    assert np.all(known.flatfield == 1.5)


@pytest.mark.parametrize(
    ("changes", "energy_eV"),
    [({"photon_energy": None}, 12398.4198), ({"photon_energy": 0}, 12398.4198), ({"photon_energy": "8800"}, 12398.4198),
     ({"photon_energy": math.nan, "wavelength": math.inf}, None), ({"photon_energy": -1, "wavelength": None}, None)],
)  # fmt: skip
def test_numbers_that_mean_nothing_are_left_out(changes: dict[str, Any], energy_eV: float | None) -> None:
    (start,) = feed(codec(), [header(**changes)])
    assert isinstance(start, ScanStart)
    assert start.geometry.photon_energy_eV == pytest.approx(energy_eV)
    json.dumps(start.metadata, allow_nan=False)


def test_a_flat_field_that_the_detector_applies_is_not_given_on() -> None:
    for said in (True, None):
        (start,) = feed(codec(), [header("all", flatfield_correction_applied=said)])
        assert isinstance(start, ScanStart)
        assert start.geometry.flatfield is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({"trigger_mode": "inte", "nimages": 9}, 6), ({"trigger_mode": "exts", "nimages": 9}, 54),
     ({"trigger_mode": "ints", "ntrigger": 1, "nimages": 9}, 9), ({"trigger_mode": None}, 6), ({"ntrigger": None}, None),
     ({"ntrigger": 0}, None), ({"ntrigger": 2.0}, 2), ({"ntrigger": "2"}, None), ({"ntrigger": 10**30}, None),
     ({"ntrigger": True}, None)],
)  # fmt: skip
def test_expected_frames(changes: dict[str, Any], expected: int | None) -> None:
    (start,) = feed(codec(), [header(**changes)])
    assert isinstance(start, ScanStart)
    assert start.expected_frames == expected


@pytest.mark.parametrize("lost", range(2 + 4 * 4 + 1))
def test_a_relay_loses_any_one_part_and_no_other_frame_suffers(lost: int) -> None:
    parts = flat([header(), *(image(i) for i in range(4)), END])
    del parts[lost]
    items = feed(codec(), parts)
    hurt = (lost - 2) // 4 if 2 <= lost < 18 and (lost - 2) % 4 < 3 else None
    found = pixels(items)
    assert sorted(found) == [i for i in range(4) if i != hurt]
    assert all(np.array_equal(found[i], COUNTS[i]) for i in found)
    refused = [item for item in items if isinstance(item, CodecError) and item.reason == "incomplete"]
    is_number_known = hurt is not None and (lost - 2) % 4 > 0
    assert [(fault.scan_id, fault.index) for fault in refused] == ([("3", hurt)] if is_number_known else [])
    assert (ScanEnd("3") in items) == (lost != 18)


@pytest.mark.parametrize("lost", range(3))
def test_a_message_without_one_of_its_parts(lost: int) -> None:
    broken = image(1)
    del broken[lost]
    items = feed(codec(), [header(), image(0), broken, image(2)])
    assert sorted(pixels(items)) == [0, 2]
    refused = [item for item in items if isinstance(item, CodecError)]
    assert [(fault.reason, fault.index) for fault in refused] == (
        [("incomplete", 1)] if lost else [("incomplete", None)]
    )


def test_a_header_in_two_messages_and_images_of_four_parts() -> None:
    first, second = header()
    items = feed(codec(), [[first], [second], image(0), image(1), END])
    assert [type(item) for item in items] == [ScanStart, EncodedFrame, EncodedFrame, ScanEnd]
    assert isinstance(items[0], ScanStart)
    assert items[0].geometry.photon_energy_eV == 8800.0


@pytest.mark.parametrize("is_flat", [False, True])
def test_images_without_a_header(is_flat: bool) -> None:
    messages = [image(4), image(5), END]
    items = feed(codec(), flat(messages) if is_flat else messages)
    assert {item.scan_id for item in items if isinstance(item, EncodedFrame)} == {"3"}
    assert sorted(pixels(items)) == [4, 5]


def test_a_new_series_begins_while_an_image_is_unfinished() -> None:
    head, description, *_ = image(0)
    items = feed(codec(), [*flat([header()]), [head], [description], *flat([header(series=4)]), END])
    kinds = [type(item) for item in items]
    assert kinds == [ScanStart, CodecError, ScanStart, ScanEnd]
    assert isinstance(items[2], ScanStart)
    assert items[2].scan_id == "4"


WIDE = patterns(1, 40, dtype="uint32")[0]


@pytest.mark.parametrize(
    ("label", "blob"),
    [
        ("<", WIDE.tobytes()),
        ("raw", WIDE.tobytes()),
        ("", WIDE.tobytes()),
        (">", WIDE.astype(">u4").tobytes()),
        ("lz4<", lz4.block.compress(WIDE.tobytes(), store_size=False)),
        ("lz4>", lz4.block.compress(WIDE.astype(">u4").tobytes(), store_size=False)),
        ("bs32-lz4<", bslz4(WIDE, "u4")),
        ("bs32lz4<", bslz4(WIDE, "u4")),
        ("bs16-lz4<", bslz4(WIDE, "u2")),
        ("bs8-lz4<", bslz4(WIDE, "u1")),
        ("bs32-lz4<", bslz4(WIDE, "u4", 1024)),
        ("bs32-lz4<", bytes(12) + bslz4(WIDE, "u4")[12:]),  # as a simulator sends it
    ],
)
@pytest.mark.parametrize("is_flat", [False, True])
def test_encodings(label: str, blob: bytes, is_flat: bool) -> None:
    parts = image(0, WIDE, encoding=label, blob=blob)
    (found,) = pixels(feed(codec(), flat([parts]) if is_flat else [parts])).values()
    assert np.array_equal(found, WIDE)
    assert found.dtype == np.uint32


def test_a_large_frame_whose_elements_are_no_multiple_of_eight() -> None:
    frame = patterns(1, 1065, dtype="uint32")[0][:1030]
    assert frame.size % 8
    assert np.array_equal(one(codec(), image(0, frame, encoding="bs32-lz4<", blob=bslz4(frame, "u4"))), frame)


def test_lz4_is_one_bare_block_and_not_hdf5_framed() -> None:
    block = lz4.block.compress(WIDE.tobytes(), store_size=False)
    framed = HEADER.pack(WIDE.nbytes, WIDE.nbytes) + len(block).to_bytes(4, "big") + block
    with pytest.raises(CodecError) as refused:
        one(codec(), image(0, WIDE, encoding="lz4<", blob=framed))
    assert refused.value.reason == "corrupt"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"encoding": "bs24-lz4<"}, "encoding"), ({"encoding": "bs16<"}, "encoding"), ({"encoding": None}, "encoding"),
     ({"encoding": "jpeg"}, "encoding"), ({"type": "complex64"}, "dtype"), ({"type": ["uint16"]}, "dtype"),
     ({"shape": [24]}, "shape"), ({"shape": [24, 16, 3]}, "shape"), ({"shape": [24, 0]}, "shape"), ({"shape": "x"}, "shape"),
     ({"shape": [24.0, 16.0]}, "shape"), ({"shape": [2**40, 2**40]}, "too_large"), ({"shape": [2**63, 1]}, "too_large"),
     ({"blob": b"x"}, "corrupt"), ({"encoding": "lz4<"}, "corrupt"), ({"encoding": "bs16-lz4<"}, "corrupt")],
)  # fmt: skip
def test_descriptions_that_lie(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(CodecError) as refused:
        list(map(unpack, codec().parse(image(0, **changes), 0)))
    assert (refused.value.reason, refused.value.scan_id, refused.value.index) == (reason, "3", 0)


def test_a_bomb_is_stopped_at_the_size_of_the_frame() -> None:
    bomb = lz4.block.compress(bytes(2**26), store_size=False)
    (item,) = codec().parse(image(0, encoding="lz4<", blob=bomb), 0)
    assert isinstance(item, EncodedFrame)
    with pytest.raises(CodecError, match="cannot be unpacked"):
        item.decode()


def test_shapes_are_columns_by_rows_and_may_name_a_third() -> None:
    assert one(codec(), image(0)).shape == (16, 24)
    assert np.array_equal(one(codec(), image(0, shape=[24, 16, 1])), COUNTS[0])


def test_pixels_that_look_like_json() -> None:
    trap = np.frombuffer(b'{"htype": 3} \0\0\0', "<u2").reshape(2, 4)
    for messages in ([image(0, trap)], flat([image(0, trap)])):
        assert np.array_equal(pixels(feed(codec(), messages))[0], trap)


def test_the_digest_is_looked_at_when_asked_and_only_if_it_is_one() -> None:
    blob = COUNTS[0].tobytes()
    good, bad = hashlib.md5(blob).hexdigest(), hashlib.md5(b"").hexdigest()
    for digest in (good, good.upper(), "", "junk", None):
        assert np.array_equal(one(codec(check_hash=True), image(0, hash=digest)), COUNTS[0])
    with pytest.raises(CodecError, match="scan 3, frame 0: the pixels do not match the sender's hash") as refused:
        one(codec(check_hash=True), image(0, hash=bad))
    assert refused.value.reason == "hash"
    assert np.array_equal(one(codec(), image(0, hash=bad)), COUNTS[0])


def test_keys_and_parts_that_may_be_absent() -> None:
    head, description, blob, _ = image(0)
    short = {key: value for key, value in json.loads(description).items() if key != "size"}
    assert np.array_equal(one(codec(), [head, text(**short), blob]), COUNTS[0])


def test_the_time_of_exposure() -> None:
    (item,) = codec().parse(image(3), 0)
    assert isinstance(item, EncodedFrame)
    assert item.decode().exposed_s == pytest.approx(0.03)


@pytest.mark.parametrize("is_flat", [False, True])
def test_appendices_name_the_scan_and_give_positions(is_flat: bool) -> None:
    messages = [
        header(appendix=text(scan_id="star/7", user="x")),
        image(0, appendix=text(position_m=[1e-6, 2e-6])),
        image(1, appendix=b"free"),
        image(2, appendix=text(note=1)),
        END,
    ]
    items = feed(codec(), flat(messages) if is_flat else messages)
    assert {item.scan_id for item in items if not isinstance(item, CodecError)} == {"star_7"}
    places: dict[int, PositionM] = {}
    for item in items:
        if isinstance(item, Position | EncodedFrame) and item.position_m is not None:
            places[item.index] = item.position_m
    assert places == {0: PositionM(1e-6, 2e-6)}
    assert sorted(pixels(items)) == [0, 1, 2]


def test_tables_that_are_not_what_they_say_are_left_out() -> None:
    parts = header("all")
    parts[5] = parts[5][:-1]  # the mask
    (start,) = feed(codec(), [parts])
    assert isinstance(start, ScanStart)
    assert start.geometry.mask is None
    assert start.geometry.flatfield is not None


@pytest.mark.parametrize(
    "parts",
    [[b""], [b"{}"], [b"{"], [b"\xa1dtypeeimage"], [b"frame", b"x", b"y"], [text(htype="array-1.0"), b"x"],
     [text(htype="dimage-1.0", series=None, frame=0)], [text(htype="dseries_end-1.0")], [b'{"a":' * 5000]],
)  # fmt: skip
def test_what_is_no_dectris_v1_is_said_to_be_none(parts: list[bytes]) -> None:
    with pytest.raises(CodecError) as refused:
        codec().parse(parts, 0)
    assert refused.value.reason == "malformed"


@pytest.mark.parametrize("index", [-1, True, 1.0, 2**31, "1", None])
def test_frame_numbers_that_are_none(index: Any) -> None:
    head, *rest = image(0)
    with pytest.raises(CodecError) as refused:
        codec().parse([text(**(json.loads(head) | {"frame": index})), *rest], 0)
    assert refused.value.reason == "index"


def test_geometry_is_written_and_read() -> None:
    mask = np.zeros((16, 24), bool)
    mask[3, 4] = True
    sent = StreamGeometry(8800.0, 1.92, (76e-6, 75e-6), (8.0, 12.5), 60000.0, mask, np.full((16, 24), 2, np.float32))
    for name, has_tables in (("dectris-v1", True), ("dectris-v2", True), ("native", False)):
        writer = CODECS[name]()
        (start,) = writer.parse(writer.encode_start(ScanStart("1", 5, {}, sent), (16, 24), "uint16"), 0)
        assert isinstance(start, ScanStart)
        found = start.geometry
        for field in (
            "photon_energy_eV",
            "detector_distance_m",
            "detector_pixel_size_m",
            "beam_center_px",
            "saturation",
        ):
            assert getattr(found, field) == getattr(sent, field), (name, field)
        assert (found.frame_shape, found.frame_dtype) == ((16, 24), np.uint16)
        assert (found.mask is not None and np.array_equal(found.mask, mask)) == has_tables
        assert (found.flatfield is not None and bool(np.all(found.flatfield == 2))) == has_tables


def test_no_copy_of_pixels_before_they_are_unpacked() -> None:
    blob = bytearray(COUNTS[0].tobytes())
    head, description, _, times = image(0)
    (item,) = codec().parse([memoryview(part) for part in (head, description, blob, times)], 0)
    blob[0] ^= 0xFF
    assert isinstance(item, EncodedFrame)
    assert item.decode().counts.tobytes() == bytes(blob)


def test_any_order_of_parts_is_survived() -> None:
    """Whatever order parts come in, a later whole image is read."""
    for parts in itertools.permutations(image(0)):
        reader = codec()
        feed(reader, [header(), list(parts)])
        assert np.array_equal(one(reader, image(1)), COUNTS[1])
