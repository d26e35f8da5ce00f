"""``array-1.0``, in which SLS, PSI and areaDetector's ADZMQ send frames, and its predecessor ``chunk-1.0``.

A frame is a JSON map and the pixels, in one message of two parts or, behind some relays, in two messages:

============== ======================================================================================================
``htype``      "array-1.0", "chunk-1.0"; as a list (ADZMQ before 1.4.0), or chunk-1.0: ``shape`` is reversed
``shape``      [..., rows, columns]; further sides are 1
``type``       NumPy's name
``frame``      number from 0
``encoding``   "" or left out: plain; "bslz4" or "bitshuffle_lz4"; "lz4-block"; in chunk-1.0 ``cmpr``
``endianness`` "little" or "big"; ``endianess`` is the same
============== ======================================================================================================

Other known keys are ``is_good_frame`` (false: the frame is refused, ``bad_frame``), ``source``, and those that this program
adds: ``scan_id``, ``expected_frames``, ``position_m`` [y, x].

The format has no scans. A new one begins with the first frame; after a silence; when ``scan_id`` changes; and when the frame
numbers restart: a number is repeated far below the highest one, or 0 is repeated with other pixels or after all expected
frames. A scan ends when the next begins, or when all expected frames have arrived.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from streams.codecs.base import (
    DEFAULT_OPTIONS,
    WIRE_DTYPES,
    CodecOptions,
    EncodedFrame,
    Part,
    SeriesForms,
    Shape,
    StreamItem,
    check_index,
    check_shape,
    is_count,
    read_position,
    sanitise_scan_id,
)
from streams.codecs.fields import make_geometry, read_json_map, size_2d
from streams.compression import encode_bslz4
from streams.errors import CodecError
from streams.frame import PositionM, ScanEnd, ScanStart
from streams.join.index_tables import IndexSet
from streams.refusal_reasons import RefusalReason
from streams.untrusted import frame_count, left_out_note, shown, storable

__all__ = ["Array1Codec"]

_HTYPES = ("array-1.0", "chunk-1.0")
_ENCODINGS = {"": "", "raw": "", "none": "", "bslz4": "bslz4", "bitshuffle_lz4": "bslz4", "lz4-block": "lz4-block"}
_FAR_BEHIND = 64
"""A repeated number this far below the highest one is a new scan; a relay reorders fewer frames."""
_ADVICE = {"R64": "a Merlin's raw counters; switch off its raw mode"}


class _OpenScan:
    """The open scan and its frames so far."""

    def __init__(self, scan_id: str, expected: int | None) -> None:
        self.scan_id = scan_id
        self.expected = expected
        self.seen = IndexSet()
        self.highest = 0
        self.first_digest = 0
        self.latest_ns = 0
        self.has_ended = False

    def restarts_at(self, index: int, digest: int) -> bool:
        """Whether a frame of this number belongs to another scan."""
        if index not in self.seen:
            return False
        if self.highest - index >= _FAR_BEHIND:
            return True
        return index == 0 and (self.has_ended or digest != self.first_digest)

    def note(self, index: int, digest: int, received_ns: int) -> None:
        """Note a frame."""
        self.latest_ns = received_ns
        self.highest = max(self.highest, index)
        if self.seen.add(index) and index == 0:
            self.first_digest = digest

    @property
    def is_complete(self) -> bool:
        """Whether all expected frames have arrived."""
        return self.expected is not None and len(self.seen) >= self.expected


class Array1Codec:
    """Reads and writes the format."""

    def __init__(self, options: CodecOptions = DEFAULT_OPTIONS) -> None:
        self._options = options
        self._forms = SeriesForms()
        self._scan: _OpenScan | None = None
        self._head: dict[str, object] | None = None
        self._written_expected: int | None = None

    def parse(self, parts: Sequence[Part], received_ns: int) -> list[StreamItem]:
        """Read one message, whole or a single part of one. Raises :class:`CodecError`."""
        waiting, self._head = self._head, None
        if len(parts) >= 2:
            head = _read_head(parts[0])
            if head is None:
                raise CodecError(
                    RefusalReason.MALFORMED,
                    "the message does not begin with an array-1.0 header; check [frames] format",
                )
            return self._frame(head, parts[1], received_ns)
        head = _read_head(parts[0]) if parts else None
        if head is not None:
            self._head = head
            if waiting is not None:
                raise CodecError(RefusalReason.INCOMPLETE, f"frame {shown(waiting.get('frame'))}: the pixels did not arrive",
                                 *self._place(waiting))  # fmt: skip
            return []
        if waiting is None:
            raise CodecError(
                RefusalReason.MALFORMED, "the part is neither the header nor the pixels of an array-1.0 message"
            )
        return self._frame(waiting, parts[0], received_ns)

    def encode_start(self, start: ScanStart, shape: Shape, dtype: DTypeLike) -> list[bytes]:
        """Return nothing, since the format has no start; each frame carries the number of frames."""
        del shape, dtype
        self._written_expected = start.expected_frames
        return []

    def encode_frame(
        self,
        scan_id: str,
        index: int,
        counts: NDArray[Any],
        position_m: PositionM | None = None,
        encoding: str = "bslz4",
    ) -> list[bytes]:
        """Write one frame, encoding "" or "bslz4"; an unsupported encoding or dtype raises ``CodecError``."""
        name = counts.dtype.name
        if name not in WIRE_DTYPES or encoding not in ("", "bslz4"):
            raise CodecError(
                RefusalReason.ENCODING,
                f"array-1.0 frames cannot be written as {name} with encoding {encoding!r}",
                scan_id,
            )
        head: dict[str, object] = {
            "htype": "array-1.0",
            "shape": list(counts.shape),
            "type": name,
            "frame": index,
            "encoding": encoding,
            "endianness": "little",
            "scan_id": scan_id,
        }
        if self._written_expected is not None:
            head["expected_frames"] = self._written_expected
        if position_m is not None:
            head["position_m"] = [float(position_m[0]), float(position_m[1])]
        pixels = np.ascontiguousarray(counts, WIRE_DTYPES[name])
        return [json.dumps(head).encode(), encode_bslz4(pixels) if encoding else pixels.tobytes()]

    def encode_end(self, scan_id: str) -> list[bytes]:
        """Return nothing, since the format has no end."""
        del scan_id
        return []

    def _place(self, head: dict[str, object]) -> tuple[str | None, int | None]:
        """Return scan and index of an incomplete frame, if they are known."""
        index = head.get("frame")
        return (None, None) if self._scan is None or not is_count(index) else (self._scan.scan_id, index)

    def _frame(self, head: dict[str, object], pixels: Part, received_ns: int) -> list[StreamItem]:
        scan_id = self._scan_id(head)
        index = check_index(head.get("frame"), scan_id)
        digest = zlib.crc32(pixels) if index == 0 else 0
        items = self._open(head, scan_id, index, digest, received_ns)
        scan = self._scan
        if scan is None:
            return items
        try:
            items.append(self._encoded(head, scan_id, index, pixels, received_ns))
        except CodecError as fault:
            items.append(fault)
        scan.note(index, digest, received_ns)
        if scan.is_complete and not scan.has_ended:
            scan.has_ended = True
            items.append(ScanEnd(scan_id))
        if len(items) == 1 and isinstance(items[0], CodecError):
            raise items[0]
        return items

    def _scan_id(self, head: dict[str, object]) -> str:
        name = head.get("scan_id")
        if isinstance(name, str) and name:
            return sanitise_scan_id(name)
        if self._scan is not None:
            return self._scan.scan_id
        source = head.get("source")
        return sanitise_scan_id(source) if isinstance(source, str) and source else "array"

    def _open(
        self, head: dict[str, object], scan_id: str, index: int, digest: int, received_ns: int
    ) -> list[StreamItem]:
        """Return the end of the open scan and the start of a new one if this frame begins it."""
        scan, items = self._scan, list[StreamItem]()
        if scan is not None:
            is_late = received_ns - scan.latest_ns > self._options.silence_s * 1e9
            if scan.scan_id == scan_id and not is_late and not scan.restarts_at(index, digest):
                return items
            if not scan.has_ended:
                items.append(ScanEnd(scan.scan_id))
        notes: list[str] = []
        expected = frame_count(head.get("expected_frames"), notes) or self._options.expected_frames
        self._scan = _OpenScan(scan_id, expected)
        self._forms.announce(scan_id, None)
        metadata, left_out = storable({key: head[key] for key in ("source", "tags") if isinstance(head.get(key), str)})
        notes += [left_out_note(left_out)] if left_out else []
        shape, dtype = _shape_and_dtype(head)
        geometry = make_geometry(notes, frame_shape=shape, frame_dtype=dtype)
        items.append(ScanStart(scan_id, expected, metadata, geometry, tuple(notes)))
        return items

    def _encoded(
        self, head: dict[str, object], scan_id: str, index: int, pixels: Part, received_ns: int
    ) -> EncodedFrame:
        if head.get("is_good_frame") is False:
            raise CodecError(RefusalReason.BAD_FRAME, f"scan {scan_id}, frame {index}: the detector marked it as bad",
                             scan_id, index)  # fmt: skip
        name = head.get("type")
        dtype = WIRE_DTYPES.get(name) if isinstance(name, str) else None
        if dtype is None:
            known = _ADVICE.get(str(name), f"not one of {', '.join(WIRE_DTYPES)}")
            message = f"scan {scan_id}, frame {index}: the pixels' type {shown(name)!r} is {known}"
            raise CodecError(RefusalReason.DTYPE, message, scan_id, index)
        if head.get("endianness", head.get("endianess")) == "big":
            dtype = dtype.newbyteorder(">")
        shape = check_shape(_sides(head), dtype, self._options.max_frame_bytes, scan_id, index)
        label = head.get("cmpr" if head["htype"] == "chunk-1.0" else "encoding") or ""
        encoding = _ENCODINGS.get(label) if isinstance(label, str) else None
        if encoding is None:
            message = f"scan {scan_id}, frame {index}: encoding {shown(label)!r} is not one of {', '.join(_ENCODINGS)}"
            raise CodecError(RefusalReason.ENCODING, message, scan_id, index)
        self._forms.check(scan_id, index, shape, dtype)
        position = head.get("position_m")
        position_m = None if position is None else read_position(position, scan_id, index)
        return EncodedFrame(
            scan_id, index, shape, dtype, pixels, encoding=encoding, received_ns=received_ns, position_m=position_m
        )


def _read_head(part: Part) -> dict[str, object] | None:
    """Return the header of a message of this format; ``None`` for anything else."""
    head = read_json_map(part)
    htype = None if head is None else head.get("htype")
    if head is not None and isinstance(htype, list) and len(htype) == 1:
        htype = htype[0]
        head["is_reversed"] = True
    if head is None or htype not in _HTYPES:
        return None
    return head | {"htype": htype}


def _sides(head: dict[str, object]) -> object:
    """Return [rows, columns] of a header, without other sides of 1."""
    shape = head.get("shape")
    if not isinstance(shape, list):
        return shape
    if head.get("is_reversed") is True or head["htype"] == "chunk-1.0":
        shape = shape[::-1]
    if len(shape) > 2 and all(side == 1 for side in shape[:-2]):
        return shape[-2:]
    long = [side for side in shape if side != 1]
    return long if len(shape) > 2 and len(long) == 2 else shape


def _shape_and_dtype(head: dict[str, object]) -> tuple[Shape | None, np.dtype[Any] | None]:
    name, sides = head.get("type"), _sides(head)
    dtype = WIRE_DTYPES.get(name) if isinstance(name, str) else None
    return (size_2d(*sides) if isinstance(sides, list) and len(sides) == 2 else None), dtype
