"""One record of the journal: a header of 48 bytes with a checksum of its own, and a payload with another.

A file is records end to end. Everything is little-endian; ``deploy/docs/reference/journal.md`` has the table.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import isnan, nan
from pathlib import Path
from typing import Any, BinaryIO
from zlib import crc32

import msgpack
import numpy as np
from numpy.typing import NDArray

from daemon.errors import JournalError
from streams.codecs import EncodedFrame
from streams.compression import HEADER as PACKED_HEADER
from streams.compression import decode, encode_bslz4
from streams.frame import PositionM

MARK = b"Pj"
SCHEMA_VERSION = 1
HEADER = struct.Struct("<2sHBBBBHHIqddII")
MOST_PAYLOAD_BYTES = 1 << 30
_SEARCH_BYTES = 1 << 16
ENCODINGS = ("", "bslz4", "lz4")
DTYPES = tuple(
    np.dtype(name).newbyteorder("<")
    for name in ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8")
)  # fmt: skip
POSITION_ROW = np.dtype([("index", "<i8"), ("y_m", "<f8"), ("x_m", "<f8")])

Buffer = bytes | memoryview


class Kind(IntEnum):
    """What a record says."""

    START = 1
    FRAME = 2
    POSITIONS = 3
    REFUSED = 4
    END = 5
    NOTE = 6


_KINDS = frozenset(Kind)


@dataclass(frozen=True, slots=True)
class Packed:
    """A pattern ``(rows, columns)`` as it is stored."""

    payload: Buffer
    dtype: np.dtype[Any]
    shape: tuple[int, int]
    encoding: str
    elem_size: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """One record; ``index`` is -1 and ``position_m`` None where they mean nothing.

    ``payload`` is msgpack of ``plain()`` but for frames (see :class:`Packed`) and positions (rows of ``POSITION_ROW``).
    """

    kind: Kind
    payload: Buffer
    index: int = -1
    position_m: PositionM | None = None
    packed: Packed | None = None

    def buffers(self) -> list[Buffer]:
        """Return the bytes of the record: header, payload."""
        y, x = (nan, nan) if self.position_m is None else self.position_m
        dtype = encoding = elem_size = rows = columns = 0
        if self.packed is not None:
            dtype, encoding = DTYPES.index(self.packed.dtype), ENCODINGS.index(self.packed.encoding)
            elem_size, (rows, columns) = self.packed.elem_size, self.packed.shape
        head = HEADER.pack(
            MARK, SCHEMA_VERSION, self.kind, dtype, encoding, elem_size, rows, columns,
            len(self.payload), self.index, y, x, crc32(self.payload), 0,
        )[:-4]  # fmt: skip
        return [head + crc32(head).to_bytes(4, "little"), self.payload]

    def plain(self) -> dict[str, Any]:
        """Return the map of a record that is neither frame nor positions."""
        found = msgpack.unpackb(self.payload, strict_map_key=False)
        return found if isinstance(found, dict) else {}


def positions_of(payload: Buffer) -> list[tuple[int, PositionM]]:
    """Return what the payload of a record of positions holds."""
    return [(index, PositionM(y, x)) for index, y, x in np.frombuffer(payload, POSITION_ROW).tolist()]


def table_of(stored: dict[str, Any] | None) -> NDArray[Any] | None:
    """Return an array that a map of plain data holds: ``dtype``, ``shape``, ``data``."""
    if stored is None:
        return None
    return np.frombuffer(stored["data"], np.dtype(stored["dtype"])).reshape(stored["shape"])


def plain_record(kind: Kind, **content: Any) -> Record:
    """Return a record of plain data."""
    return Record(kind, msgpack.packb(content))


def positions_record(rows: Sequence[tuple[int, PositionM]]) -> Record:
    """Return a record of positions, metres."""
    table = np.array([(index, y, x) for index, (y, x) in rows], dtype=POSITION_ROW)
    return Record(Kind.POSITIONS, table.tobytes())


def frame_record(index: int, position_m: PositionM | None, packed: Packed) -> Record:
    """Return a frame's record; the position is the one that came in the frame's message, if one did."""
    return Record(Kind.FRAME, packed.payload, index, position_m, packed)


def pack(counts: NDArray[Any], encoded: EncodedFrame | None = None) -> Packed:
    """Return a pattern as it is to be stored: bit-shuffled LZ4, or its message's own bytes where nothing was changed.

    Parameters
    ----------
    counts : (rows, columns)
        The pattern. What a decoder gives is read-only, and what is made of it is not: that tells them apart.
    encoded
        The message that it came in.
    """
    dtype = counts.dtype.newbyteorder("<")
    if encoded is not None and not counts.flags.writeable and _is_storable(encoded, counts):
        return Packed(encoded.payload, dtype, encoded.shape, encoded.encoding, encoded.elem_size or 0)
    rows, columns = counts.shape
    return Packed(encode_bslz4(counts), dtype, (rows, columns), "bslz4")


def _is_storable(encoded: EncodedFrame, counts: NDArray[Any]) -> bool:
    """Whether the bytes of a message say all by themselves."""
    is_plain = encoded.shape == counts.shape and encoded.dtype == counts.dtype and not encoded.column_major
    if not is_plain or encoded.encoding not in ENCODINGS or encoded.dtype.newbyteorder("<") != encoded.dtype:
        return False
    if not encoded.encoding:
        return len(encoded.payload) == counts.nbytes
    return len(encoded.payload) > PACKED_HEADER.size and PACKED_HEADER.unpack_from(encoded.payload)[0] == counts.nbytes


def unpack(packed: Packed) -> NDArray[Any]:
    """Return the pattern. Raises :class:`CodecError` if it does not unpack."""
    counts = decode(packed.encoding, packed.payload, packed.dtype, packed.shape, packed.elem_size or None)
    return counts.astype(packed.dtype.newbyteorder("="), copy=False)


@dataclass(frozen=True, slots=True)
class Head:
    """A record's header, read and checked."""

    kind: Kind
    length: int
    index: int
    position_m: PositionM | None
    payload_crc: int
    dtype: np.dtype[Any]
    shape: tuple[int, int]
    encoding: str
    elem_size: int

    def record(self, payload: Buffer) -> Record:
        """Return the record with its payload. Raises :class:`JournalError` if that is not what was written."""
        if len(payload) != self.length or crc32(payload) != self.payload_crc:
            raise JournalError(f"the record of frame {self.index} is damaged")
        packed = None
        if self.kind == Kind.FRAME:
            packed = Packed(payload, self.dtype, self.shape, self.encoding, self.elem_size)
        return Record(self.kind, payload, self.index, self.position_m, packed)


def read_head(raw: bytes) -> Head | None:
    """Return what 48 bytes say, None if they are no header of this version."""
    if len(raw) < HEADER.size or crc32(raw[:-4]) != int.from_bytes(raw[-4:], "little"):
        return None
    mark, version, kind, dtype, encoding, elem_size, rows, columns, length, index, y, x, crc, _ = HEADER.unpack(raw)
    is_known = mark == MARK and version == SCHEMA_VERSION and kind in _KINDS and dtype < len(DTYPES)
    if not is_known or encoding >= len(ENCODINGS) or length > MOST_PAYLOAD_BYTES:
        return None
    position_m = None if isnan(y) and isnan(x) else PositionM(y, x)
    return Head(
        Kind(kind), length, index, position_m, crc, DTYPES[dtype], (rows, columns), ENCODINGS[encoding], elem_size
    )


def walk(file: BinaryIO, check_frames: bool = True) -> Iterator[tuple[int, Head, Record | None]]:
    """Yield (offset, head, record) of a file's whole records; what is damaged or cut off is passed over.

    Frames' payloads are not read, and their record is None, unless ``check_frames``; those of other kinds are always
    read, since they are needed and small.
    """
    size = file.seek(0, 2)
    offset = 0
    while offset + HEADER.size <= size:
        file.seek(offset)
        head = read_head(file.read(HEADER.size))
        if head is None or offset + HEADER.size + head.length > size:
            offset = _next_mark(file, offset + 1)
            continue
        is_whole, record = True, None
        if check_frames or head.kind != Kind.FRAME:
            try:
                record = head.record(file.read(head.length))
            except JournalError:
                is_whole = False
        if is_whole:
            yield offset, head, record
        offset += HEADER.size + head.length


def _next_mark(file: BinaryIO, offset: int) -> int:
    """Return the next place at or after ``offset`` where a whole header is, else the end of the file."""
    while True:
        file.seek(offset)
        block = file.read(_SEARCH_BYTES)
        place = block.find(MARK)
        while place >= 0:
            file.seek(offset + place)
            if read_head(file.read(HEADER.size)) is not None:
                return offset + place
            place = block.find(MARK, place + 1)
        if len(block) < _SEARCH_BYTES:
            return offset + len(block)
        offset += len(block) - len(MARK) + 1


def read_at(descriptor: int, offset: int, where: Path) -> Record:
    """Return the record at a place of an open file. Raises :class:`JournalError` naming file and place."""
    head = read_head(os.pread(descriptor, HEADER.size, offset))
    if head is None:
        raise JournalError(f"{where}: there is no record at byte {offset}")
    try:
        return head.record(os.pread(descriptor, head.length, offset + HEADER.size))
    except JournalError as fault:
        raise JournalError(f"{where}, byte {offset}: {fault}") from fault
