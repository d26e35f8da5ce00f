"""Packed pixels: what is written is read, what is damaged is refused."""

from __future__ import annotations

import struct
from typing import Any

import bitshuffle
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from streams.compression import HEADER, decode, decode_plain, encode_bslz4
from streams.errors import CodecError
from tests.support.stream_tools import patterns

DTYPES = st.sampled_from(["uint8", "uint16", "uint32", "uint64", "int32", "float32", "float64"])
ARRAYS = DTYPES.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=2, max_dims=2, max_side=50)))


def shuffled_zstd(array: NDArray[Any]) -> bytes:
    """Bit-shuffled Zstandard blocks, as bitshuffle itself writes them."""
    return HEADER.pack(array.nbytes, 8192) + bytes(bitshuffle.compress_zstd(array.reshape(-1), 8192 // array.itemsize))


def stored_lz4(data: bytes, block: int) -> bytes:
    """LZ4 in HDF5 filter framing, each block stored as it is."""
    pieces = [data[i : i + block] for i in range(0, len(data), block)]
    return HEADER.pack(len(data), block) + b"".join(struct.pack(">I", len(piece)) + piece for piece in pieces)


@settings(deadline=None)
@given(ARRAYS)
def test_bslz4_gives_back_every_bit(array: NDArray[Any]) -> None:
    found = decode("bslz4", encode_bslz4(array), array.dtype, array.shape)
    assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes())
    assert not found.flags.writeable


@settings(deadline=None)
@given(ARRAYS)
def test_bszstd_of_another_writer_gives_back_every_bit(array: NDArray[Any]) -> None:
    payload = shuffled_zstd(array)
    found = decode("bszstd", payload, array.dtype, array.shape)
    assert found.tobytes() == array.tobytes()
    with pytest.raises(CodecError):
        decode("bszstd", payload[:-1], array.dtype, array.shape)


def test_bslz4_of_a_view_and_of_views() -> None:
    array = patterns(1, 64)[0]
    payload = encode_bslz4(array.T[::2])
    assert np.array_equal(decode("bslz4", memoryview(payload), "uint16", (32, 64)), array.T[::2])


def test_bslz4_element_size_apart_from_the_dtype() -> None:
    array = patterns(1, 64, dtype="uint32")[0]
    payload = encode_bslz4(array.view(np.uint8))
    assert np.array_equal(decode("bslz4", payload, "uint32", (64, 64), 1), array)
    with pytest.raises(CodecError, match="element size 3"):
        decode("bslz4", payload, "uint32", (64, 64), 3)


@pytest.mark.parametrize("block", [512, 8192])
def test_lz4_in_filter_framing(block: int) -> None:
    array = np.random.default_rng(0).integers(0, 2**16, (64, 64), np.uint16)
    assert np.array_equal(decode("lz4", stored_lz4(array.tobytes(), block), "uint16", (64, 64)), array)


@pytest.mark.parametrize(
    ("encoding", "length"),
    [
        (encoding, length)
        for encoding in ("bslz4", "bszstd", "lz4")
        for length in (0, 1, 8191, 8193, 2**32, 2**63 - 1, 2**64 - 1)
    ],
)
def test_a_header_that_lies_about_the_length_is_refused_before_unpacking(encoding: str, length: int) -> None:
    payload = HEADER.pack(length, 8192) + encode_bslz4(patterns(1, 64)[0])[12:]
    with pytest.raises(CodecError, match=r"announces|too few") as refused:
        decode(encoding, payload, "uint16", (64, 64))
    assert refused.value.reason == "corrupt"


@settings(deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["bslz4", "bszstd", "lz4", ""]))
@example(0, "")
@example(12, "bslz4")
def test_a_cut_payload_is_refused(cut: int, encoding: str) -> None:
    array = patterns(1, 64)[0]
    whole = {
        "": array.tobytes(),
        "bslz4": encode_bslz4(array),
        "bszstd": shuffled_zstd(array),
        "lz4": stored_lz4(array.tobytes(), 8192),
    }[encoding]
    with pytest.raises(CodecError) as refused:
        decode(encoding, whole[: cut % len(whole)], "uint16", (64, 64))
    assert refused.value.reason == "corrupt"


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 10_000), st.integers(1, 255), st.sampled_from(["bslz4", "lz4"]))
def test_a_flipped_byte_gives_the_right_shape_or_is_refused(place: int, flip: int, encoding: str) -> None:
    array = patterns(1, 64)[0]
    payload = bytearray(encode_bslz4(array) if encoding == "bslz4" else stored_lz4(array.tobytes(), 8192))
    payload[place % len(payload)] ^= flip
    try:
        found = decode(encoding, bytes(payload), "uint16", (64, 64))
    except CodecError:
        return
    assert (found.shape, found.dtype) == ((64, 64), np.uint16)


def test_plain_pixels_are_a_view() -> None:
    data = bytearray(8)
    view = decode_plain(memoryview(data), "<u2", (2, 2))
    data[0] = 9
    assert view[0, 0] == 9


@pytest.mark.parametrize("size", [0, 7, 9])
def test_plain_pixels_of_another_size_are_refused(size: int) -> None:
    with pytest.raises(CodecError, match=f"{size} bytes of pixels, but 8 are expected"):
        decode("", bytes(size), "<u2", (2, 2))


def test_unknown_encoding() -> None:
    with pytest.raises(CodecError, match="encoding 'zip' is not one of") as refused:
        decode("zip", b"", "<u2", (2, 2))
    assert refused.value.reason == "encoding"
