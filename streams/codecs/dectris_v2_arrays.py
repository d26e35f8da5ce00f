"""Arrays of the DECTRIS stream, version 2: nested CBOR tags around bytes, packed or not.

Tag 40 (rows first) or 1040 (columns first) holds [dimensions, contents]; contents is a typed array, tags 64 to 87, whose
byte string may be packed by tag 56500 = [algorithm, element size, bytes].
"""

from __future__ import annotations

from typing import Any

import cbor2
import numpy as np
from numpy.typing import NDArray

from streams.codecs.base import Part, check_shape, is_count
from streams.codecs.cbor import Tagged
from streams.compression import decode, encode_bslz4
from streams.errors import CodecError
from streams.refusal_reasons import RefusalReason
from streams.untrusted import shown

__all__ = ["DATE_TAG", "TAG_OF", "array_parts", "tagged", "typed_parts", "unpacked"]

_ROW_MAJOR, _COLUMN_MAJOR, _PACKED, DATE_TAG = 40, 1040, 56500, 0
_TYPED_ARRAYS: dict[int, np.dtype[Any]] = {
    tag: np.dtype(name)
    for tag, name in {
        64: "u1", 65: ">u2", 66: ">u4", 67: ">u8", 68: "u1", 69: "<u2", 70: "<u4", 71: "<u8",
        72: "i1", 73: ">i2", 74: ">i4", 75: ">i8", 77: "<i2", 78: "<i4", 79: "<i8",
        80: ">f2", 81: ">f4", 82: ">f8", 84: "<f2", 85: "<f4", 86: "<f8",
    }.items()
}  # fmt: skip
TAG_OF = {dtype: tag for tag, dtype in _TYPED_ARRAYS.items() if tag != 68}
_SHUFFLED = ("bslz4", "bszstd")
_ENCODINGS = (*_SHUFFLED, "lz4")


def tagged(array: NDArray[Any], encoding: str = "bslz4") -> cbor2.CBORTag:
    """Return a little-endian array in the form of the stream."""
    body: Any = array.tobytes()
    if encoding:
        body = cbor2.CBORTag(_PACKED, [encoding, array.itemsize, encode_bslz4(array)])
    return cbor2.CBORTag(_ROW_MAJOR, [list(array.shape), cbor2.CBORTag(TAG_OF[array.dtype], body)])


def array_parts(value: object) -> tuple[bool, Any, Any]:
    """Return (column-major?, dimensions, contents) of a tagged array."""
    if isinstance(value, Tagged) and value.tag in (_ROW_MAJOR, _COLUMN_MAJOR):
        content = value.value
        if isinstance(content, list) and len(content) == 2:
            return value.tag == _COLUMN_MAJOR, content[0], content[1]
    raise CodecError(RefusalReason.MALFORMED, "the image is not a tagged array")


def typed_parts(value: object) -> tuple[np.dtype[Any], str, int | None, Part]:
    """Return (dtype, encoding, element size, payload) of a typed array, packed or not."""
    if not isinstance(value, Tagged):
        raise CodecError(RefusalReason.MALFORMED, "the image's pixels are not a typed array")
    dtype = _TYPED_ARRAYS.get(value.tag)
    if dtype is None:
        raise CodecError(RefusalReason.DTYPE, f"pixels with the CBOR tag {value.tag} are not supported")
    body = value.value
    if isinstance(body, memoryview):
        return dtype, "", None, body
    if not (isinstance(body, Tagged) and body.tag == _PACKED and isinstance(body.value, list) and len(body.value) == 3):
        raise CodecError(RefusalReason.MALFORMED, "the image's pixels are neither bytes nor packed bytes")
    algorithm, modifier, payload = body.value
    if not isinstance(payload, memoryview) or not is_count(modifier):
        raise CodecError(RefusalReason.MALFORMED, "the packed pixels are not [algorithm, number, bytes]")
    if algorithm not in _ENCODINGS:
        raise CodecError(
            RefusalReason.ENCODING, f"compression {shown(algorithm)} is not one of {', '.join(_ENCODINGS)}"
        )
    if algorithm in _SHUFFLED and modifier not in (1, 2, 4, 8):
        raise CodecError(RefusalReason.ENCODING, f"{algorithm} element size {modifier} is not one of 1, 2, 4, 8")
    return dtype, algorithm, modifier if algorithm in _SHUFFLED else None, payload


def unpacked(value: object, max_bytes: int) -> NDArray[Any]:
    """Return a tagged array as (rows, columns)."""
    column_major, dimensions, typed = array_parts(value)
    dtype, encoding, elem_size, payload = typed_parts(typed)
    shape = check_shape(dimensions, dtype, max_bytes, "start", 0)
    array = decode(encoding, payload, dtype, shape[::-1] if column_major else shape, elem_size)
    return array.T if column_major else array
