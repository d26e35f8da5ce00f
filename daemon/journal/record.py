"""A record of the journal: what the fields and the payload of a log entry mean.

``deploy/docs/reference/journal.md`` has the table of the 48 bytes of a head. Everything is little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import isnan, nan
from pathlib import Path
from typing import Any, TypedDict

import msgpack
import numpy as np
from numpy.typing import NDArray

from daemon.errors import JournalError
from daemon.journal.patterns import DTYPES, ENCODINGS, Packed
from streams.errors import LogError
from streams.frame import PositionM
from streams.framed_log import Buffer, Entry, Fields, LogFormat, LogReader

MARK = b"Pj"
SCHEMA_VERSION = 1
HEADER = struct.Struct("<4sBBBBHHIqddII")
"""Mark with version, kind, dtype, encoding, element size, rows, columns, length, index, y, x, two checksums."""
LOG = LogFormat(
    mark=MARK + SCHEMA_VERSION.to_bytes(2, "little"),
    head=HEADER,
    length_index=6,
    max_body_bytes=1 << 30,  # 1 GiB, far more than any detector's frame
)
Plain = Mapping[str, Any]
"""The map of a record: this program, or a later version of it, wrote it; each reader knows its own keys."""


class StoredArray(TypedDict):
    """An array in the map of a record."""

    dtype: str
    shape: list[int]
    data: bytes


POSITION_ROW = np.dtype([("index", "<i8"), ("y_m", "<f8"), ("x_m", "<f8")])


class Kind(IntEnum):
    """The kind of a record."""

    START = 1
    FRAME = 2
    POSITIONS = 3
    REFUSED = 4
    END = 5
    NOTE = 6


_KINDS = {int(kind): kind for kind in Kind}


@dataclass(slots=True)
class Record:
    """One record; ``index`` is -1 and ``position_m`` None where they mean nothing.

    ``payload`` is msgpack of ``plain()`` but for frames (see :class:`Packed`) and positions (rows of ``POSITION_ROW``). A
    frame that was read without its pixels has an empty payload and no ``packed``.
    """

    kind: Kind
    payload: Buffer
    index: int = -1
    position_m: PositionM | None = None
    packed: Packed | None = None

    def buffers(self) -> list[Buffer]:
        """Return the bytes of the record: head, payload."""
        y, x = (nan, nan) if self.position_m is None else self.position_m
        dtype = encoding = elem_size = rows = columns = 0
        if self.packed is not None:
            dtype, encoding = DTYPES.index(self.packed.dtype), ENCODINGS.index(self.packed.encoding)
            elem_size, (rows, columns) = self.packed.elem_size, self.packed.shape
        before = (self.kind, dtype, encoding, elem_size, rows, columns)
        return LOG.encode(before, (self.index, y, x), (self.payload,))

    def plain(self) -> Plain:
        """Return the map of a record that is neither frame nor positions."""
        found = msgpack.unpackb(self.payload, strict_map_key=False)
        return found if isinstance(found, dict) else {}


def record_of(entry: Entry) -> Record | None:
    """Return the record in an entry of the log; None for one of a kind, dtype or encoding that this version does not know."""
    kind, dtype, encoding, elem_size, rows, columns, _, index, y, x = entry.fields
    if kind not in _KINDS or dtype >= len(DTYPES) or encoding >= len(ENCODINGS):
        return None
    position_m = None if isnan(y) and isnan(x) else PositionM(y, x)
    packed = None
    if kind == Kind.FRAME and entry.body is not None:
        packed = Packed(entry.body, DTYPES[dtype], (rows, columns), ENCODINGS[encoding], elem_size)
    return Record(_KINDS[kind], entry.body or b"", index, position_m, packed)


def read_records(path: Path, *, pixels: bool) -> Iterator[tuple[int, Record]]:
    """Yield (place, record) of a segment's whole records. Raises ``OSError``.

    Parameters
    ----------
    pixels
        Whether frames are read and checked with their pixels; other records always are, they are needed and small.
    """
    with path.open("rb", buffering=0) as file:
        reader = LogReader(file.fileno(), LOG)
        for entry in reader.entries(None if pixels else _is_not_frame):
            record = record_of(entry)
            if record is not None:
                yield entry.place, record


def read_at(descriptor: int, place: int, path: Path) -> Record:
    """Return the record at a place of the open file ``path``. Raises :class:`JournalError` naming both."""
    try:
        record = record_of(LOG.entry_at(descriptor, place))
    except LogError as fault:
        raise JournalError(f"{path}: {fault}") from fault
    if record is None:
        raise JournalError(f"{path}: the record at byte {place} is of a newer version")
    return record


def _is_not_frame(fields: Fields) -> bool:
    return bool(fields[0] != Kind.FRAME)


def positions_of(payload: Buffer) -> list[tuple[int, PositionM]]:
    """Return the frame indexes and positions in the payload of a record of positions."""
    return [(index, PositionM(y, x)) for index, y, x in np.frombuffer(payload, POSITION_ROW).tolist()]


def table_of(stored: StoredArray | None) -> NDArray[Any] | None:
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
