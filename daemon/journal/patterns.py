"""Patterns as the journal stores them: the message's own bytes where nothing was changed, else bit-shuffled LZ4."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.codecs import EncodedFrame
from streams.compression import HEADER, decode, encode_bslz4
from streams.framed_log import Buffer

ENCODINGS = ("", "bslz4", "lz4")
"""By their number in a record."""
DTYPES = tuple(
    np.dtype(name).newbyteorder("<") for name in ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8")
)
"""By their number in a record."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A pattern ``(rows, columns)`` as it is stored."""

    payload: Buffer
    dtype: np.dtype[Any]
    shape: tuple[int, int]
    encoding: str
    elem_size: int = 0


def pack(counts: NDArray[Any], encoded: EncodedFrame | None = None) -> Packed:
    """Return a pattern as it is to be stored.

    Parameters
    ----------
    counts : (rows, columns)
        The pattern. A decoder's own array is read-only, a changed one is writeable: only the former is what ``encoded`` holds.
    encoded
        The message that it came in.
    """
    dtype = counts.dtype.newbyteorder("<")
    if encoded is not None and not counts.flags.writeable and _is_storable(encoded, counts):
        return Packed(encoded.payload, dtype, encoded.shape, encoded.encoding, encoded.elem_size or 0)
    rows, columns = counts.shape
    return Packed(encode_bslz4(counts), dtype, (rows, columns), "bslz4")


def unpack(packed: Packed) -> NDArray[Any]:
    """Return the pattern. Raises :class:`CodecError` if it does not unpack."""
    counts = decode(packed.encoding, packed.payload, packed.dtype, packed.shape, packed.elem_size or None)
    return counts.astype(packed.dtype.newbyteorder("="), copy=False)


def _is_storable(encoded: EncodedFrame, counts: NDArray[Any]) -> bool:
    """Whether a record can say everything that is needed to decode the message's bytes."""
    is_plain = encoded.shape == counts.shape and encoded.dtype == counts.dtype and not encoded.column_major
    if not is_plain or encoded.encoding not in ENCODINGS or encoded.dtype.newbyteorder("<") != encoded.dtype:
        return False
    if not encoded.encoding:
        return len(encoded.payload) == counts.nbytes
    return len(encoded.payload) > HEADER.size and HEADER.unpack_from(encoded.payload)[0] == counts.nbytes
