"""Pixel payloads and arrays: plain, bit-shuffled LZ4 or Zstandard (``bslz4``, ``bszstd``), LZ4 as ``lz4`` and as one block.

``lz4`` is HDF5's filter framing. It, ``bslz4`` and ``bszstd`` start with the same 12 bytes, big-endian: uncompressed length
(64 bit), block size in bytes (32 bit). The length is compared with that of the expected shape before any byte is unpacked, so
a hostile header cannot make the decoder allocate more memory. A single LZ4 block (``lz4-block``) has no header; the expected
shape bounds its output.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from typing import Any

import bitshuffle
import lz4.block
import numpy as np
from dectris.compression import decompress
from numpy.typing import DTypeLike, NDArray

from streams.errors import CodecError
from streams.refusal_reasons import RefusalReason

__all__ = [
    "ENCODINGS",
    "HEADER",
    "decode",
    "decode_bslz4",
    "decode_bszstd",
    "decode_lz4",
    "decode_lz4_block",
    "decode_plain",
    "encode_bslz4",
    "encode_lz4_block",
]

HEADER = struct.Struct(">QI")
_BLOCK_BYTES = 8192
"""Block size of encoded payloads, and of payloads whose header is zero: the default of HDF5's bitshuffle filter."""
_NO_HEADER = bytes(HEADER.size)
_ELEMENT_SIZES = (1, 2, 4, 8)

Buffer = bytes | memoryview


def encode_bslz4(array: NDArray[Any]) -> bytes:
    """Bit-shuffle and LZ4-compress an array's elements, C order, behind the 12-byte header."""
    flat = np.ascontiguousarray(array).reshape(-1)
    body = bitshuffle.compress_lz4(flat, _BLOCK_BYTES // flat.itemsize)
    return HEADER.pack(flat.nbytes, _BLOCK_BYTES) + bytes(body)


def decode_bslz4(payload: Buffer, dtype: DTypeLike, shape: Sequence[int], elem_size: int | None = None) -> NDArray[Any]:
    """Unpack a ``bslz4`` payload to ``shape`` and ``dtype``, read-only.

    ``elem_size`` is the bit-shuffle's element size in bytes; it need not be the dtype's. A header of zeros, which some
    senders send, stands for the length of ``shape`` in blocks of 8192 bytes. Raises :class:`CodecError` ``corrupt``
    for any payload that does not unpack to exactly ``shape``.
    """
    wanted = np.dtype(dtype)
    size = _element_size("bslz4", wanted, elem_size)
    if payload[: HEADER.size] == _NO_HEADER:
        payload = HEADER.pack(math.prod(shape) * wanted.itemsize, _BLOCK_BYTES) + payload[HEADER.size :]
    return _decompress(payload, "bslz4", wanted, shape, size)


def decode_bszstd(
    payload: Buffer, dtype: DTypeLike, shape: Sequence[int], elem_size: int | None = None
) -> NDArray[Any]:
    """Unpack bit-shuffled Zstandard blocks to ``shape`` and ``dtype``, read-only; arguments as :func:`decode_bslz4`."""
    wanted = np.dtype(dtype)
    return _decompress(payload, "bszstd", wanted, shape, _element_size("bszstd", wanted, elem_size))


def decode_lz4(payload: Buffer, dtype: DTypeLike, shape: Sequence[int], elem_size: int | None = None) -> NDArray[Any]:
    """Unpack LZ4 in HDF5 filter framing to ``shape`` and ``dtype``, read-only; errors as :func:`decode_bslz4`."""
    del elem_size  # all encodings have the same signature
    wanted = np.dtype(dtype)
    return _decompress(payload, "lz4", wanted, shape, wanted.itemsize)


def encode_lz4_block(array: NDArray[Any]) -> bytes:
    """Compress an array's elements, C order, to one bare LZ4 block."""
    return bytes(lz4.block.compress(np.ascontiguousarray(array).reshape(-1).view(np.uint8), store_size=False))


def decode_lz4_block(
    payload: Buffer, dtype: DTypeLike, shape: Sequence[int], elem_size: int | None = None
) -> NDArray[Any]:
    """Unpack one bare LZ4 block to ``shape`` and ``dtype``, read-only; errors as :func:`decode_bslz4`."""
    del elem_size
    wanted = np.dtype(dtype)
    expected = math.prod(shape) * wanted.itemsize
    try:
        pixels = lz4.block.decompress(payload, uncompressed_size=expected)
    except (lz4.block.LZ4BlockError, ValueError, OverflowError, MemoryError) as error:
        raise CodecError(RefusalReason.CORRUPT, f"the LZ4 block cannot be unpacked: {str(error)[:80]}") from error
    return decode_plain(pixels, wanted, shape)


def decode_plain(payload: Buffer, dtype: DTypeLike, shape: Sequence[int], elem_size: int | None = None) -> NDArray[Any]:
    """View uncompressed pixels as ``shape`` and ``dtype`` without a copy; errors as :func:`decode_bslz4`."""
    del elem_size
    wanted = np.dtype(dtype)
    expected = math.prod(shape) * wanted.itemsize
    if len(payload) != expected:
        raise CodecError(RefusalReason.CORRUPT, f"{len(payload)} bytes of pixels, but {expected} are expected")
    return np.frombuffer(payload, wanted).reshape(tuple(shape))


ENCODINGS: dict[str, Callable[[Buffer, DTypeLike, Sequence[int], int | None], NDArray[Any]]] = {
    "": decode_plain,
    "bslz4": decode_bslz4,
    "bszstd": decode_bszstd,
    "lz4": decode_lz4,
    "lz4-block": decode_lz4_block,
}


def decode(
    encoding: str, payload: Buffer, dtype: DTypeLike, shape: Sequence[int], elem_size: int | None = None
) -> NDArray[Any]:
    """Unpack a payload of the named encoding. Raises :class:`CodecError` ``encoding`` for an unknown name."""
    decoder = ENCODINGS.get(encoding)
    if decoder is None:
        raise CodecError(RefusalReason.ENCODING, f"encoding {encoding[:40]!r} is not one of {sorted(ENCODINGS)}")
    return decoder(payload, dtype, shape, elem_size)


def _element_size(algorithm: str, dtype: np.dtype[Any], elem_size: int | None) -> int:
    size = dtype.itemsize if elem_size is None else elem_size
    if size not in _ELEMENT_SIZES:
        raise CodecError(RefusalReason.CORRUPT, f"{algorithm} element size {size} is not one of 1, 2, 4, 8")
    return size


def _decompress(
    payload: Buffer, algorithm: str, dtype: np.dtype[Any], shape: Sequence[int], elem_size: int
) -> NDArray[Any]:
    expected = math.prod(shape) * dtype.itemsize
    if len(payload) < HEADER.size:
        raise CodecError(RefusalReason.CORRUPT, f"{len(payload)} bytes are too few for a {algorithm} payload")
    length, _ = HEADER.unpack_from(payload)
    if length != expected:
        raise CodecError(
            RefusalReason.CORRUPT, f"{algorithm} header announces {length} bytes, but {expected} are expected"
        )
    try:
        pixels = decompress(payload, algorithm, elem_size=elem_size)
    except (Exception, MemoryError) as error:
        raise CodecError(RefusalReason.CORRUPT, f"{algorithm} payload cannot be unpacked: {error}") from error
    if len(pixels) != expected:
        raise CodecError(
            RefusalReason.CORRUPT, f"{algorithm} payload unpacks to {len(pixels)} bytes, but {expected} are expected"
        )
    return np.frombuffer(pixels, dtype).reshape(tuple(shape))
