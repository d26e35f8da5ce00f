"""DECTRIS streams as real detectors send them, recorded by others."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import cbor2
import numpy as np
import pytest

from streams.codecs import CODECS, Codec, EncodedFrame, StreamItem
from streams.codecs.cbor import SELF_DESCRIBED
from streams.errors import CodecError
from streams.frame import ScanEnd, ScanStart
from tests.support.recorded import SHAPE, dectris_v1, dectris_v1_pixels, dectris_v2

SCAN = "01HBV3JPF9T4ZDPADX6EMK6XMZ"


def one(codec: Codec, message: bytes) -> StreamItem:
    (item,) = codec.parse([memoryview(message)], 7)
    return item


def test_a_v2_series() -> None:
    codec = CODECS["dectris-v2"]()
    start, image, end = (one(codec, dectris_v2(kind)) for kind in ("start", "image", "end"))
    assert isinstance(start, ScanStart)
    assert (start.scan_id, start.expected_frames) == (SCAN, 1)
    known = start.geometry
    assert (known.photon_energy_eV, known.detector_distance_m) == pytest.approx((13500.2998, 0.2371592))
    assert (known.detector_pixel_size_m, known.frame_shape, known.saturation) == ((75e-6, 75e-6), SHAPE, 21517)
    assert known.beam_center_px == pytest.approx((2163.621, 2049.384))
    assert known.frame_time_s == pytest.approx(0.00431757)
    assert start.metadata["goniometer"]["omega"] == {"increment": 0.1, "start": 0.0}
    assert start.metadata["threshold_energy"].keys() == {"threshold_1", "threshold_2"}
    assert start.metadata["arm_date"] == "2023-10-03T17:47:48.329000+02:00"
    assert isinstance(image, EncodedFrame)
    assert (image.scan_id, image.index, image.encoding, image.exposed_s) == (SCAN, 0, "bslz4", 0.0)
    counts = image.decode().counts
    assert (counts.shape, counts.dtype) == (SHAPE, np.uint16)
    is_dead = counts == 65535
    assert (int(is_dead.sum()), int(counts[~is_dead].max())) == (1253075, 6504)
    assert end == ScanEnd(SCAN)


def test_tables_that_were_taken_out_of_the_start_are_missed_aloud() -> None:
    start = one(CODECS["dectris-v2"](), dectris_v2("start"))
    assert isinstance(start, ScanStart)
    assert start.geometry.mask is None
    assert ["pixel_mask" in note for note in start.notes] == [True]


@pytest.mark.parametrize("kind", ["image", "end"])
def test_v2_messages_are_taken_with_and_without_their_signature(kind: str) -> None:
    message = dectris_v2(kind)
    assert message.startswith(SELF_DESCRIBED)
    with_it, without = (one(CODECS["dectris-v2"](), m) for m in (message, message[len(SELF_DESCRIBED) :]))
    assert with_it == without


@pytest.mark.parametrize("name", ["start", "frame", "end"])
def test_what_this_program_sends_has_the_signature(name: str) -> None:
    codec = CODECS["dectris-v2"]()
    messages = {
        "start": codec.encode_start(ScanStart("s"), (2, 2), "uint16"),
        "frame": codec.encode_frame("s", 0, np.zeros((2, 2), "uint16")),
        "end": codec.encode_end("s"),
    }
    assert messages[name][0].startswith(SELF_DESCRIBED)


ODD: dict[str, Any] = {
    "a tag": cbor2.CBORTag(4, [-2, 27315]),
    "a tag on a map": cbor2.CBORTag(43000, {"x": 1}),
    "a big integer": -(2**90),
    "a whole number beyond 63 bits": -(2**64),
    "a simple value": cbor2.CBORSimpleValue(99),
    "keys that are no text": {1.5: 1, 3: 2, None: 3, True: 4, (1, 2): 5, b"k": 6},
    "a long list": list(range(1_000_000)),
    "a long list of rows": [[0.5, 1.5]] * 20_000,
    "deep nesting": b"\x81" * 5000 + b"\x00",
    "an endless list": b"\x9f" + b"\x01" * 9000 + b"\xff",
    "an endless text": b"\x7f\x61a\x61b\xff",
    "a key that comes twice": b"\xa2\x61a\x01\x61a\x02",
    "a text that is not UTF-8": b"\x62\xc3\x28",
}


def with_key(kind: str, key: str, value: Any) -> bytes:
    """A recorded message with one more key, in front of all that is needed."""
    message = dectris_v2(kind).removeprefix(SELF_DESCRIBED)
    size, rest = (message[0] & 31, message[1:]) if message[0] != 0xB8 else (message[1], message[2:])
    item = value if isinstance(value, bytes) else cbor2.dumps(value)
    return SELF_DESCRIBED + b"\xb8" + bytes([size + 1]) + cbor2.dumps(key) + item + rest


@pytest.mark.parametrize("key", ["user_data", "key_of_newer_firmware"])
@pytest.mark.parametrize("odd", ODD)
def test_v2_values_that_nobody_knows_are_passed_over(odd: str, key: str) -> None:
    codec = CODECS["dectris-v2"]()
    plain, start = (one(codec, m) for m in (dectris_v2("start"), with_key("start", key, ODD[odd])))
    assert isinstance(plain, ScanStart)
    assert isinstance(start, ScanStart)
    assert start.geometry == plain.geometry or start.geometry.photon_energy_eV == plain.geometry.photon_energy_eV
    json.dumps(start.metadata, allow_nan=False)
    without = {name: value for name, value in start.metadata.items() if name != "user_data"}
    assert without == plain.metadata
    assert one(codec, with_key("end", key, ODD[odd])) == ScanEnd(SCAN)
    image = one(codec, with_key("image", key, ODD[odd]))
    assert isinstance(image, EncodedFrame)
    assert image.nbytes == 513082


def test_a_v1_series_with_all_its_header() -> None:
    codec = CODECS["dectris-v1"](check_hash=True)
    items = [item for message in dectris_v1() for item in codec.parse(message, 7)]
    start, images, end = items[0], items[1:-1], items[-1]
    assert isinstance(start, ScanStart)
    assert (start.scan_id, start.expected_frames) == ("6", 3)
    known = start.geometry
    assert (known.photon_energy_eV, known.frame_shape, known.frame_dtype) == (8041.0, (3262, 3108), np.uint32)
    assert (known.saturation, known.frame_time_s, known.detector_pixel_size_m) == (83270, 0.01, (75e-6, 75e-6))
    assert (known.detector_distance_m, known.beam_center_px) == (None, None)  # sent as 0: nobody has set them
    assert start.metadata["header_appendix"]["collect_dict"]["exp_type"] == "test"
    assert ["dpixelmask" in note or "dflatfield" in note for note in start.notes] == [True, True]
    times = []
    for index, image in enumerate(images):
        assert isinstance(image, EncodedFrame)
        assert (image.scan_id, image.index, image.shape, image.elem_size) == ("6", index, (3262, 3108), 4)
        times.append(image.exposed_s)
        with pytest.raises(CodecError) as refused:
            image.decode()  # its publishers cut it short
        assert (refused.value.reason, refused.value.index) == ("hash", index)
    assert [after - before for before, after in pairwise(times)] == pytest.approx([0.01, 0.01])
    assert end == ScanEnd("6")


def test_v1_parts_one_by_one() -> None:
    codec = CODECS["dectris-v1"]()
    items = [item for message in dectris_v1() for part in message for item in codec.parse([part], 7)]
    assert [type(item) for item in items] == [ScanStart, EncodedFrame, EncodedFrame, EncodedFrame, ScanEnd]


def test_the_pixels_of_a_v1_image() -> None:
    blob = dectris_v1_pixels()
    head = {"htype": "dimage-1.0", "series": 6, "frame": 2, "hash": ""}
    about = {
        "htype": "dimage_d-1.0",
        "shape": SHAPE[::-1],
        "type": "uint16",
        "encoding": "bs16-lz4<",
        "size": len(blob),
    }
    message = [json.dumps(head).encode(), json.dumps(about).encode(), blob, b'{"htype":"dconfig-1.0"}', b"{}"]
    (image,) = CODECS["dectris-v1"]().parse(message, 7)
    assert isinstance(image, EncodedFrame)
    counts = image.decode().counts
    assert counts.shape == SHAPE
    assert 0.05 < (counts == 65535).mean() < 0.08
