"""Shared by all wire formats: the codec interface, the encoded frame, and checks of untrusted headers."""

from __future__ import annotations

import hashlib
import math
import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard

import numpy as np
from numpy.typing import DTypeLike, NDArray

from streams.compression import decode
from streams.errors import CodecError
from streams.frame import Frame, Position, PositionM, ScanEnd, ScanStart
from streams.refusal_reasons import RefusalReason
from streams.untrusted import MAX_INDEX, shown

__all__ = [
    "DEFAULT_MAX_FRAME_BYTES",
    "MAX_INDEX",
    "Codec",
    "EncodedFrame",
    "CodecOptions",
    "SeriesForms",
    "StreamItem",
    "WIRE_DTYPES",
    "check_index",
    "check_shape",
    "is_count",
    "read_position",
    "sanitise_scan_id",
]

DEFAULT_MAX_FRAME_BYTES = 256 * 2**20
"""Decoded bytes of one frame; the largest detectors send about 70 MB."""
WIRE_DTYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(name).newbyteorder("<")
    for name in ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float32", "float64")
}
_MAX_ID_LENGTH = 64
"""Characters of a scan id, which is also the name of a folder and a label."""
_ID_DIGEST_CHARS = 12
"""Hexadecimal digits at the end of a shortened id: two of 10^6 ids agree with a probability of 0.2 %."""
_FORBIDDEN_IN_ID = re.compile(r"[^A-Za-z0-9._-]")

Part = memoryview | bytes
Shape = tuple[int, int]


@dataclass(frozen=True, slots=True)
class CodecOptions:
    """Options of a codec; each codec uses those that its format needs.

    Attributes
    ----------
    channel
        Image channel to use, such as ``threshold_1``.
    max_frame_bytes
        Largest decoded size of a frame.
    check_hash
        Compare pixels with the hash in the message, if it has one.
    expected_frames
        Frames of a scan, for a format that does not announce them.
    silence_s
        After this time without a frame the next one opens a new scan, for a format without scans.
    """

    channel: str | None = None
    max_frame_bytes: int = DEFAULT_MAX_FRAME_BYTES
    check_hash: bool = False
    expected_frames: int | None = None
    silence_s: float = 30.0


DEFAULT_OPTIONS = CodecOptions()


@dataclass(slots=True)
class EncodedFrame:
    """One received frame: header read and checked, pixels still packed in ``payload``.

    ``shape`` is (rows, columns); ``elem_size`` is the bit-shuffle element in bytes if the message gives it;
    ``column_major`` pixels run down the columns first; ``digest`` is the MD5 that ``payload`` must have, in hex;
    ``exposed_s`` as in :class:`Frame`.
    """

    scan_id: str
    index: int
    shape: Shape
    dtype: np.dtype[Any]
    payload: Part
    encoding: str
    received_ns: int
    position_m: PositionM | None = None
    elem_size: int | None = None
    column_major: bool = False
    exposed_s: float | None = None
    digest: str | None = None

    @property
    def nbytes(self) -> int:
        """Size of the packed payload in memory, bytes."""
        return len(self.payload)

    @property
    def decoded_nbytes(self) -> int:
        """Size of the decoded pixels, bytes."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    def decode(self) -> Frame:
        """Return the frame, unpacked; errors as :meth:`unpack`."""
        return Frame(
            self.scan_id, self.index, self.unpack(), self.received_ns, self.position_m, exposed_s=self.exposed_s
        )

    def unpack(self) -> NDArray[Any]:
        """Return the counts ``(rows, columns)`` in native byte order. Raises :class:`CodecError` naming scan and index."""
        wire_shape = self.shape[::-1] if self.column_major else self.shape
        try:
            self._check_digest()
            counts = decode(self.encoding, self.payload, self.dtype, wire_shape, self.elem_size)
        except CodecError as error:
            message = f"scan {self.scan_id}, frame {self.index}: {error}"
            raise CodecError(error.reason, message, self.scan_id, self.index) from error
        if self.column_major:
            counts = np.ascontiguousarray(counts.T)
        if not self.dtype.isnative:
            counts = counts.astype(self.dtype.newbyteorder("="))
        return counts

    def _check_digest(self) -> None:
        if self.digest is not None and hashlib.md5(self.payload, usedforsecurity=False).hexdigest() != self.digest:
            raise CodecError(RefusalReason.HASH, "the pixels do not match the sender's hash; the stream damages data")


StreamItem = ScanStart | EncodedFrame | ScanEnd | Position | CodecError


class Codec(Protocol):
    """One wire format: reads a receiver's messages and writes a sender's.

    An object serves one stream, since it may remember the running series. ``parse`` is cheap and runs in the receiving
    thread; :meth:`EncodedFrame.decode` does the work in other threads.
    """

    def parse(self, parts: Sequence[Part], received_ns: int) -> list[StreamItem]:
        """Read one message; return its items in order, mostly one; an item may be the refusal of a single frame.

        Raises :class:`CodecError` for a message that is refused as a whole.
        """

    def encode_start(self, start: ScanStart, shape: Shape, dtype: DTypeLike) -> list[bytes]:
        """Write the message that opens a scan of frames of this shape (rows, columns) and dtype."""

    def encode_frame(
        self,
        scan_id: str,
        index: int,
        counts: NDArray[Any],
        position_m: PositionM | None = None,
        encoding: str = "bslz4",
    ) -> list[bytes]:
        """Write one frame; ``counts`` (rows, columns), ``encoding`` ``""`` or ``"bslz4"``."""

    def encode_end(self, scan_id: str) -> list[bytes]:
        """Write the message that ends a scan."""


class SeriesForms:
    """Shape and dtype of the latest series; a frame with another shape or dtype is refused."""

    def __init__(self, capacity: int = 16) -> None:
        self._capacity = capacity
        self._forms: OrderedDict[str, tuple[Shape | None, np.dtype[Any] | None]] = OrderedDict()

    def announce(self, scan_id: str, shape: Shape | None, dtype: np.dtype[Any] | None = None) -> None:
        """Note the shape and dtype that a scan's start announces; the first frame gives the missing ones."""
        self._forms[scan_id] = (shape, dtype)
        self._forms.move_to_end(scan_id)
        while len(self._forms) > self._capacity:
            self._forms.popitem(last=False)

    def check(self, scan_id: str, index: int, shape: Shape, dtype: np.dtype[Any]) -> None:
        """Raise :class:`CodecError` ``shape`` for a frame that differs from the others of its scan."""
        known = self._forms.get(scan_id, (None, None))
        wanted = (known[0] or shape, known[1] or dtype)
        if wanted != (shape, dtype):
            message = (
                f"scan {scan_id}, frame {index} is {shape[0]} x {shape[1]} {dtype}, "
                f"but the scan's frames are {wanted[0][0]} x {wanted[0][1]} {wanted[1]}"
            )
            raise CodecError(RefusalReason.SHAPE, message, scan_id, index)
        if known != wanted:
            self.announce(scan_id, *wanted)


def sanitise_scan_id(text: str) -> str:
    """Return an id of 1 to 64 characters ``[A-Za-z0-9._-]``, fit for paths and labels.

    Other characters become ``_``; so does a leading dot, since this program uses such names for its own hidden files. A
    longer id keeps its beginning and gets a digest as its end, so that two long ids stay different.
    """
    clean = _FORBIDDEN_IN_ID.sub("_", text)
    if len(clean) > _MAX_ID_LENGTH:
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_ID_DIGEST_CHARS]
        clean = f"{clean[: _MAX_ID_LENGTH - _ID_DIGEST_CHARS - 1]}-{digest}"
    name = clean.lstrip(".")
    return "_" * (len(clean) - len(name)) + name or "_"


def is_count(value: object) -> TypeGuard[int]:
    """Whether the value is a whole number of 0 or more (a bool is not)."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def check_index(value: object, scan_id: str) -> int:
    """Return a frame index, 0 to ``MAX_INDEX``; raise :class:`CodecError` ``index`` otherwise."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_INDEX:
        return value
    raise CodecError(
        RefusalReason.INDEX, f"scan {scan_id}: frame index {shown(value)} is not 0 to {MAX_INDEX}", scan_id
    )


def check_shape(value: object, dtype: np.dtype[Any], max_frame_bytes: int, scan_id: str, index: int) -> Shape:
    """Return (rows, columns) if both are positive and the decoded frame has at most ``max_frame_bytes``.

    Raises :class:`CodecError` ``shape`` or ``too_large`` otherwise.
    """
    if not (isinstance(value, list | tuple) and len(value) == 2 and all(is_count(side) and side for side in value)):
        sides = f"[{', '.join(map(shown, value[:6]))}]" if isinstance(value, list | tuple) else shown(value)
        message = f"scan {scan_id}, frame {index}: the shape {sides} is not [rows, columns] of one grey image"
        raise CodecError(RefusalReason.SHAPE, message, scan_id, index)
    rows, columns = int(value[0]), int(value[1])
    if rows * columns * dtype.itemsize > max_frame_bytes:
        message = f"scan {scan_id}, frame {index}: {rows} x {columns} {dtype} exceeds {max_frame_bytes} bytes"
        raise CodecError(RefusalReason.TOO_LARGE, message, scan_id, index)
    return rows, columns


def read_position(value: object, scan_id: str | None = None, index: int | None = None) -> PositionM:
    """Return the position ``[y, x]``, metres, which need not be finite: the join checks that.

    ``None`` stands for NaN, which JSON does not have. Raises :class:`CodecError` ``position`` for anything else.
    """
    if isinstance(value, list | tuple) and len(value) == 2:
        y, x = (math.nan if coordinate is None else coordinate for coordinate in value)
        if type(y) in (int, float) and type(x) in (int, float):
            try:
                return PositionM(float(y), float(x))
            except OverflowError:
                return PositionM(math.inf, math.inf)
    raise CodecError(RefusalReason.POSITION, f"scan {scan_id}, frame {index}: position_m is not [y, x]", scan_id, index)
