"""The native wire format, in parts: a kind, a msgpack header, and for frames the pixels.

======== =========================================================================================
part 1   header (msgpack map), further parts
======== =========================================================================================
``start`` ``schema_version`` 1, ``scan_id``, ``expected_frames``?, ``metadata``?, ``shape``?, ``dtype``?
``frame`` ``schema_version``, ``scan_id``, ``index``, ``shape`` [rows, columns], ``dtype``, ``encoding`` ("" or
          "bslz4"), ``position_m``? [y, x]; part 3 the pixels, little-endian, rows first
``end``   ``schema_version``, ``scan_id``
======== =========================================================================================

``metadata`` may hold ``photon_energy_eV``, ``detector_distance_m``, ``detector_pixel_size_m`` (a number, or [y, x]),
``beam_center_px`` [row, column], ``saturation``, ``frame_time_s``.
Unknown keys are ignored; another schema version is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgpack
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
    read_position,
    sanitise_scan_id,
)
from streams.codecs.fields import make_geometry, size_2d
from streams.compression import encode_bslz4
from streams.errors import CodecError
from streams.frame import PositionM, ScanEnd, ScanStart, StreamGeometry
from streams.refusal_reasons import RefusalReason
from streams.untrusted import frame_count, left_out_note, read_msgpack, shown, storable

__all__ = ["SCHEMA_VERSION", "NativeCodec", "read_map"]

SCHEMA_VERSION = 1
_MAX_KIND_BYTES = 16
"""Length of the first part; the longest kind is ``positions``."""
_MAX_HEADER_BYTES = 2**20
"""Size of a header: metadata of a start, or some 30,000 positions."""
_ENCODINGS = ("", "bslz4")


class NativeCodec:
    """Reads and writes the native format."""

    def __init__(self, options: CodecOptions = DEFAULT_OPTIONS) -> None:
        self._max_frame_bytes = options.max_frame_bytes
        self._forms = SeriesForms()

    def parse(self, parts: Sequence[Part], received_ns: int) -> list[StreamItem]:
        """Read one message. Raises :class:`CodecError` with scan and index if they could be read."""
        if len(parts) not in (2, 3) or len(parts[0]) > _MAX_KIND_BYTES:
            raise CodecError(
                RefusalReason.MALFORMED,
                f"a native message has a kind, a header and for frames the pixels, not {len(parts)} such parts",
            )
        kind = bytes(parts[0])
        header = read_map(parts[1])
        scan_id = _scan_id(header)
        if kind == b"frame" and len(parts) == 3:
            return [self._frame(header, scan_id, parts[2], received_ns)]
        if kind == b"start" and len(parts) == 2:
            return [self._start(header, scan_id)]
        if kind == b"end" and len(parts) == 2:
            return [ScanEnd(scan_id)]
        raise CodecError(RefusalReason.MALFORMED, f"native message of kind {kind!r} with {len(parts)} parts", scan_id)

    def encode_start(self, start: ScanStart, shape: Shape, dtype: DTypeLike) -> list[bytes]:
        """Write the start of a scan."""
        header: dict[str, object] = {"schema_version": SCHEMA_VERSION, "scan_id": start.scan_id}
        if start.expected_frames is not None:
            header["expected_frames"] = start.expected_frames
        metadata = _metadata_of(start.geometry) | start.metadata
        if metadata:
            header["metadata"] = metadata
        return [b"start", msgpack.packb(header | {"shape": list(shape), "dtype": np.dtype(dtype).name})]

    def encode_frame(
        self,
        scan_id: str,
        index: int,
        counts: NDArray[Any],
        position_m: PositionM | None = None,
        encoding: str = "bslz4",
    ) -> list[bytes]:
        """Write one frame, ``counts`` (rows, columns); an unsupported encoding or dtype raises ``CodecError``."""
        name = counts.dtype.name
        if name not in WIRE_DTYPES or encoding not in _ENCODINGS:
            raise CodecError(
                RefusalReason.ENCODING, f"the native format has no dtype {name} with encoding {encoding!r}", scan_id
            )
        header: dict[str, object] = {
            "schema_version": SCHEMA_VERSION,
            "scan_id": scan_id,
            "index": index,
            "shape": list(counts.shape),
            "dtype": name,
            "encoding": encoding,
        }
        if position_m is not None:
            header["position_m"] = [float(position_m[0]), float(position_m[1])]
        pixels = np.ascontiguousarray(counts, WIRE_DTYPES[name])
        return [b"frame", msgpack.packb(header), encode_bslz4(pixels) if encoding else pixels.tobytes()]

    def encode_end(self, scan_id: str) -> list[bytes]:
        """Write the end of a scan."""
        return [b"end", msgpack.packb({"schema_version": SCHEMA_VERSION, "scan_id": scan_id})]

    def _start(self, header: dict[str, object], scan_id: str) -> ScanStart:
        found = header.get("metadata")
        metadata, left_out = storable(found if isinstance(found, dict) else {"metadata": found} if found else {})
        notes = [left_out_note(left_out)] if left_out else []
        shape, dtype = self._announced_shape(header), _known_dtype(header.get("dtype"))
        self._forms.announce(scan_id, shape, dtype)
        geometry = _geometry(found if isinstance(found, dict) else {}, shape, dtype, notes)
        return ScanStart(scan_id, frame_count(header.get("expected_frames"), notes), metadata, geometry, tuple(notes))

    def _announced_shape(self, header: dict[str, object]) -> Shape | None:
        shape = header.get("shape")
        return size_2d(*shape) if isinstance(shape, list) and len(shape) == 2 else None

    def _frame(self, header: dict[str, object], scan_id: str, pixels: Part, received_ns: int) -> EncodedFrame:
        index = check_index(header.get("index"), scan_id)
        dtype = _known_dtype(header.get("dtype"))
        if dtype is None:
            raise CodecError(
                RefusalReason.DTYPE,
                f"scan {scan_id}, frame {index}: dtype is not one of {list(WIRE_DTYPES)}",
                scan_id,
                index,
            )
        shape = check_shape(header.get("shape"), dtype, self._max_frame_bytes, scan_id, index)
        encoding = header.get("encoding", "")
        if encoding not in _ENCODINGS:
            raise CodecError(
                RefusalReason.ENCODING, f"scan {scan_id}, frame {index}: encoding is not '' or 'bslz4'", scan_id, index
            )
        position = header.get("position_m")
        position_m = None if position is None else read_position(position, scan_id, index)
        self._forms.check(scan_id, index, shape, dtype)
        return EncodedFrame(
            scan_id, index, shape, dtype, pixels, encoding=encoding, received_ns=received_ns, position_m=position_m
        )


def read_map(part: Part) -> dict[str, object]:
    """Return a msgpack header of schema version 1; raise :class:`CodecError` ``malformed`` or ``schema_version``."""
    if len(part) > _MAX_HEADER_BYTES:
        raise CodecError(RefusalReason.TOO_LARGE, f"a header of {len(part)} bytes exceeds {_MAX_HEADER_BYTES}")
    try:
        header = read_msgpack(part)
    except ValueError as error:
        raise CodecError(RefusalReason.MALFORMED, f"the header is not msgpack: {error}") from error
    if not isinstance(header, dict):
        raise CodecError(RefusalReason.MALFORMED, "the header is not a map")
    version = header.get("schema_version")
    if type(version) is not int or version != SCHEMA_VERSION:
        message = f"schema_version {shown(version)} is not {SCHEMA_VERSION}; update the sender or this program"
        raise CodecError(RefusalReason.SCHEMA_VERSION, message)
    return header


def _geometry(
    metadata: dict[Any, Any], shape: Shape | None, dtype: np.dtype[Any] | None, notes: list[str]
) -> StreamGeometry:
    pixel = metadata.get("detector_pixel_size_m")
    return make_geometry(
        notes,
        energy_eV=metadata.get("photon_energy_eV"),
        distance_m=metadata.get("detector_distance_m"),
        saturation=metadata.get("saturation"),
        frame_time_s=metadata.get("frame_time_s"),
        pixel_size_m=_pair(pixel if isinstance(pixel, list) else [pixel, pixel]),
        beam_center_px=_pair(metadata.get("beam_center_px")),
        frame_shape=shape,
        frame_dtype=dtype,
    )


def _pair(value: object) -> tuple[object, object]:
    return (value[0], value[1]) if isinstance(value, list) and len(value) == 2 else (None, None)


def _metadata_of(known: StreamGeometry) -> dict[str, object]:
    """Return a geometry as metadata of this format."""
    metadata = {
        "photon_energy_eV": known.photon_energy_eV,
        "detector_distance_m": known.detector_distance_m,
        "detector_pixel_size_m": known.detector_pixel_size_m and list(known.detector_pixel_size_m),
        "beam_center_px": known.beam_center_px and list(known.beam_center_px),
        "saturation": known.saturation,
        "frame_time_s": known.frame_time_s,
    }
    return {key: value for key, value in metadata.items() if value is not None}


def _scan_id(header: dict[str, object]) -> str:
    scan_id = header.get("scan_id")
    if not isinstance(scan_id, str) or not scan_id:
        raise CodecError(RefusalReason.MALFORMED, "the header's scan_id is not a string")
    return sanitise_scan_id(scan_id)


def _known_dtype(name: object) -> np.dtype[Any] | None:
    return WIRE_DTYPES.get(name) if isinstance(name, str) else None
