"""The first record of a scan's journal: written by the keeper, read at the next start and by the command line."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from daemon.errors import JournalError
from daemon.journal.record import Kind, Plain, Record, StoredArray, plain_record, table_of
from streams.frame import ScanStart, StreamGeometry

_ARRAYS = ("mask", "flatfield")
_FIELDS = (
    "photon_energy_eV", "detector_distance_m", "detector_pixel_size_m", "beam_center_px", "saturation", "frame_shape",
    "frame_time_s",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class StoredStart:
    """The beginning of a scan: its own name, the time, and the message that opened it, if one was received."""

    scan_id: str
    started: str
    start: ScanStart
    was_heard: bool = True


def start_record(stored: StoredStart) -> Record:
    """Return the record of a scan's start."""
    start, geometry = stored.start, stored.start.geometry
    known = {name: getattr(geometry, name) for name in _FIELDS}
    arrays = {name: _array_map(getattr(geometry, name)) for name in _ARRAYS}
    dtype = None if geometry.frame_dtype is None else geometry.frame_dtype.str
    return plain_record(
        Kind.START,
        scan_id=stored.scan_id,
        wire_id=start.scan_id,
        expected_frames=start.expected_frames,
        started=stored.started,
        was_heard=stored.was_heard,
        time_ns=time.time_ns(),
        metadata=start.metadata,
        notes=list(start.notes),
        geometry={**known, **arrays, "frame_dtype": dtype},
    )


def stored_start(scan_id: str, record: Record) -> StoredStart:
    """Return the start in a record. Raises :class:`JournalError` if it cannot be read."""
    try:
        return _stored_start(scan_id, record.plain())
    except (KeyError, TypeError, ValueError, AttributeError, msgpack.UnpackException) as fault:
        raise JournalError(f"the start of scan {scan_id} in its journal cannot be read: {fault}") from fault


def _stored_start(scan_id: str, content: Plain) -> StoredStart:
    found = content.get("geometry", {})
    known: dict[str, Any] = {name: tuple(v) if isinstance(v := found.get(name), list) else v for name in _FIELDS}
    known |= {name: table_of(found.get(name)) for name in _ARRAYS}
    dtype = found.get("frame_dtype")
    geometry = StreamGeometry(**known, frame_dtype=None if dtype is None else np.dtype(dtype))
    wire_id = content["wire_id"]
    if not isinstance(wire_id, str):
        raise TypeError(f"wire_id {wire_id!r} is not text")
    notes = tuple(map(str, content.get("notes") or ()))
    start = ScanStart(wire_id, content.get("expected_frames"), content.get("metadata") or {}, geometry, notes)
    return StoredStart(scan_id, str(content.get("started", "")), start, bool(content.get("was_heard", True)))


def _array_map(array: NDArray[Any] | None) -> StoredArray | None:
    if array is None:
        return None
    return {"dtype": array.dtype.str, "shape": list(array.shape), "data": np.ascontiguousarray(array).tobytes()}
