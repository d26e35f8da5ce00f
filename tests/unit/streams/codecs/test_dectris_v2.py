"""DECTRIS V2: what the start says of the detector, channels, and packed bytes wherever bytes may be."""

from __future__ import annotations

import struct
from typing import Any

import bitshuffle
import cbor2
import lz4.block
import numpy as np
import pytest
from numpy.typing import NDArray

from streams.codecs import CODECS, Codec, EncodedFrame
from streams.compression import encode_bslz4
from streams.errors import CodecError
from streams.frame import ScanStart
from tests.support.stream_tools import patterns

MASK = np.zeros((6, 8), "<u4")
MASK[1, 5] = 2
FLAT = np.linspace(0.5, 1.5, 48, dtype="<f4").reshape(6, 8)


def framed_lz4(data: bytes, block: int) -> bytes:
    """LZ4 as HDF5's filter frames it, blocks that do not shrink stored as they are."""
    out = struct.pack(">QI", len(data), block)
    for begin in range(0, len(data), block):
        piece = data[begin : begin + block]
        packed = lz4.block.compress(piece, store_size=False)
        packed = packed if len(packed) < len(piece) else piece
        out += struct.pack(">I", len(packed)) + packed
    return out


def array(pixels: NDArray[Any], tag: int, packing: str = "", outer: int = 40) -> cbor2.CBORTag:
    data = pixels.tobytes("F" if outer == 1040 else "C")
    body: Any = data
    if packing == "bslz4":
        body = cbor2.CBORTag(56500, ["bslz4", pixels.itemsize, encode_bslz4(np.frombuffer(data, pixels.dtype))])
    if packing == "bszstd":
        shuffled = bitshuffle.compress_zstd(np.frombuffer(data, pixels.dtype), 8192 // pixels.itemsize)
        header = struct.pack(">QI", len(data), 8192)
        body = cbor2.CBORTag(56500, ["bszstd", pixels.itemsize, header + bytes(shuffled)])
    if packing == "lz4":
        body = cbor2.CBORTag(56500, ["lz4", 0, framed_lz4(data, 64)])
    return cbor2.CBORTag(outer, [list(pixels.shape), cbor2.CBORTag(tag, body)])


def message(kind: str, **fields: Any) -> list[bytes]:
    return [cbor2.dumps({"type": kind, "series_id": 8, "series_unique_id": "u8"} | fields)]


def start(codec: Codec | None = None, **fields: Any) -> ScanStart:
    (item,) = (codec or CODECS["dectris-v2"]()).parse(message("start", **fields), 0)
    assert isinstance(item, ScanStart)
    return item


def image(codec: Codec, data: dict[str, Any], **fields: Any) -> EncodedFrame:
    (item,) = codec.parse(message("image", image_id=3, data=data, **fields), 0)
    assert isinstance(item, EncodedFrame)
    return item


def test_the_start_says_what_detector_and_beam_are() -> None:
    known = start(
        incident_energy=8800.0, detector_translation=[0.0, 0.0, -1.92], pixel_size_x=75e-6, pixel_size_y=76e-6,
        beam_center_x=4.5, beam_center_y=3.25, saturation_value=60000, frame_time=0.01, image_size_x=8, image_size_y=6,
        image_dtype="uint16", channels=["threshold_1"], pixel_mask={"threshold_1": array(MASK, 70)},
        flatfield={"threshold_1": array(FLAT, 85)}, flatfield_enabled=False,
    ).geometry  # fmt: skip
    assert (known.photon_energy_eV, known.detector_distance_m, known.frame_time_s) == (8800.0, 1.92, 0.01)
    assert (known.detector_pixel_size_m, known.beam_center_px) == ((76e-6, 75e-6), (3.25, 4.5))
    assert (known.saturation, known.frame_shape, known.frame_dtype) == (60000, (6, 8), np.uint16)
    assert known.mask is not None
    assert np.argwhere(known.mask).tolist() == [[1, 5]]
    assert known.flatfield is not None
    assert np.array_equal(known.flatfield, FLAT)


def test_what_is_null_odd_or_done_already_is_left_out() -> None:
    known = start(
        incident_energy=None, incident_wavelength=1.0, detector_translation=[1.0], pixel_size_x="75", pixel_size_y=75e-6,
        beam_center_x=0.0, beam_center_y=0.0, saturation_value=-1, frame_time=float("nan"), image_dtype="object",
        pixel_mask=None, flatfield={"threshold_1": array(FLAT, 85)}, flatfield_enabled=True,
    ).geometry  # fmt: skip
    assert known.photon_energy_eV == pytest.approx(12398.4198)
    found = (known.detector_distance_m, known.detector_pixel_size_m, known.beam_center_px, known.saturation,
             known.frame_time_s, known.frame_dtype, known.mask, known.flatfield)  # fmt: skip
    assert found == (None,) * 8


@pytest.mark.parametrize("packing", ["", "bslz4", "bszstd", "lz4"])
@pytest.mark.parametrize("outer", [40, 1040])
@pytest.mark.parametrize(("tag", "dtype"), [(70, "<u4"), (66, ">u4")])
def test_tables_in_every_form(packing: str, outer: int, tag: int, dtype: str) -> None:
    table = array(MASK.astype(dtype), tag, packing, outer)
    known = start(channels=["a", "b"], pixel_mask={"a": table, "b": None}).geometry
    assert known.mask is not None
    assert np.array_equal(known.mask, MASK != 0)


@pytest.mark.parametrize(
    "table", [b"x", array(MASK, 83), cbor2.CBORTag(40, [[6, 9], cbor2.CBORTag(70, bytes(3))]), [1]]
)
def test_tables_that_cannot_be_read_cost_only_themselves(table: Any) -> None:
    assert start(incident_energy=8800.0, pixel_mask={"threshold_1": table}).geometry.mask is None


@pytest.mark.parametrize("packing", ["", "bslz4", "bszstd", "lz4"])
@pytest.mark.parametrize("outer", [40, 1040])
@pytest.mark.parametrize(
    ("tag", "dtype"),
    [(64, "u1"), (68, "u1"), (65, ">u2"), (66, ">u4"), (67, ">u8"), (69, "<u2"), (70, "<u4"), (71, "<u8"), (72, "i1"),
     (73, ">i2"), (74, ">i4"), (75, ">i8"), (77, "<i2"), (78, "<i4"), (79, "<i8"), (80, ">f2"), (81, ">f4"), (82, ">f8"),
     (84, "<f2"), (85, "<f4"), (86, "<f8")],
)  # fmt: skip
def test_images_in_every_form(tag: int, dtype: str, outer: int, packing: str) -> None:
    counts = patterns(1, 8)[0][:6].astype(dtype)
    found = image(CODECS["dectris-v2"](), {"threshold_1": array(counts, tag, packing, outer)}).decode().counts
    assert np.array_equal(found, counts)
    assert (found.dtype, found.shape) == (np.dtype(dtype).newbyteorder("="), (6, 8))


def test_lz4_is_framed_and_not_one_bare_block() -> None:
    counts = np.zeros((6, 8), "<u2")
    bare = cbor2.CBORTag(56500, ["lz4", 0, lz4.block.compress(counts.tobytes(), store_size=False)])
    data = {"threshold_1": cbor2.CBORTag(40, [[6, 8], cbor2.CBORTag(69, bare)])}
    with pytest.raises(CodecError) as refused:
        image(CODECS["dectris-v2"](), data).decode()
    assert refused.value.reason == "corrupt"


def test_of_several_channels_only_the_wanted_one_is_looked_into() -> None:
    good, odd = (
        array(np.full((2, 2), 7, "<u2"), 69, "bslz4"),
        cbor2.CBORTag(56500, ["trpx", 2, b"packed some other way"]),
    )
    broken = cbor2.CBORTag(40, [[2, 2], cbor2.CBORTag(69, odd)])
    data = {"threshold_1": broken, "difference": good}
    codec = CODECS["dectris-v2"](channel="difference")
    start(codec, channels=["threshold_1", "difference"])
    assert image(codec, data).decode().counts.tolist() == [[7, 7], [7, 7]]
    with pytest.raises(CodecError, match="trpx"):
        image(CODECS["dectris-v2"](), data)


def test_no_copy_of_pixels_before_they_are_unpacked() -> None:
    counts = patterns(1, 8)[0]
    raw = bytearray(message("image", image_id=3, data={"threshold_1": array(counts, 69)})[0])
    (item,) = CODECS["dectris-v2"]().parse([memoryview(raw)], 0)
    assert isinstance(item, EncodedFrame)
    place = raw.index(counts.tobytes())
    raw[place] ^= 0xFF
    assert item.decode().counts.tobytes() == bytes(raw[place : place + counts.nbytes])


def test_the_time_of_exposure() -> None:
    data = {"threshold_1": array(np.zeros((2, 2), "<u2"), 69)}
    for time, exposed_s in (
        ([5_000_000, 50_000_000], 0.1),
        ([1, 0], None),
        ([2**64 - 1, 1], 2.0**63),
        ("x", None),
        ([1], None),
    ):
        assert image(CODECS["dectris-v2"](), data, start_time=time).decode().exposed_s == exposed_s


def test_factors_that_would_blow_counts_up_count_as_no_data() -> None:
    flat = FLAT.copy()
    flat[0, :4] = 0.0, -1.0, 3e38, np.nan
    found = start(flatfield={"threshold_1": array(flat, 85)}, flatfield_enabled=False)
    assert found.geometry.flatfield is not None
    assert np.argwhere(np.isnan(found.geometry.flatfield)).tolist() == [[0, column] for column in range(4)]
    (note,) = found.notes
    assert note.startswith("3 factors")
