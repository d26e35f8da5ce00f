"""The header of the DECTRIS stream, version 1: reading from its parts, and writing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from streams.codecs.base import Part, Shape, is_count, sanitise_scan_id
from streams.codecs.fields import bad_pixels, flat_factors, make_geometry, size_2d
from streams.frame import ScanStart, StreamGeometry
from streams.untrusted import frame_count, is_finite_number, left_out_note, storable

__all__ = ["HeaderParts", "header_parts"]

_TABLES = {"dflatfield-1.0": "float32", "dpixelmask-1.0": "uint32", "dcountrate_table-1.0": "float32"}
_ONE_FRAME_A_TRIGGER = ("exte", "inte")
"""Trigger modes in which ``nimages`` does not multiply the number of triggers."""


class _Table(NamedTuple):
    """The description of a detector table: its type, and its (columns, rows)."""

    htype: str
    sides: tuple[int, int]


class HeaderParts:
    """The parts of one header, in the order of arrival; a missing or invalid part is left out."""

    def __init__(self, head: dict[str, object], series: int | str) -> None:
        self.series = series
        self._notes: list[str] = []
        self._has_configuration = head.get("header_detail") != "none"
        self._configuration: dict[str, object] = {}
        self._tables: dict[str, NDArray[Any]] = {}
        self._appendix: object = None
        self._described: _Table | None = None

    def take(self, part: Part, message: dict[str, object] | None) -> None:
        """Take the next part; ``message`` is the JSON map in it, if there is one."""
        described, self._described = self._described, None
        htype = None if message is None else message.get("htype")
        if message is not None and isinstance(htype, str) and htype in _TABLES:
            self._described = _Table(htype, _sides(message.get("shape")))
        elif described is not None and htype is None:
            self._take_table(described, part)
        elif message is not None and htype is None and self._has_configuration and not self._configuration:
            self._configuration = message
        elif htype is None:
            self._appendix = message

    def scan_start(self) -> ScanStart:
        """Return the start of the scan, from the parts so far."""
        found = {key: value for key, value in self._configuration.items() if value is not None}
        scan_id = sanitise_scan_id(str(self.series))
        if isinstance(self._appendix, dict):
            found["header_appendix"] = self._appendix
            name = self._appendix.get("scan_id")
            scan_id = sanitise_scan_id(name) if isinstance(name, str) and name else scan_id
        metadata, left_out = storable(found)
        if left_out:
            self._notes.append(left_out_note(left_out))
        return ScanStart(scan_id, self._expected_frames(), metadata, self._geometry(), tuple(self._notes))

    def _take_table(self, described: _Table, blob: Part) -> None:
        dtype = np.dtype(_TABLES[described.htype]).newbyteorder("<")
        columns, rows = described.sides
        if not blob or len(blob) != dtype.itemsize * columns * rows:
            self._notes.append(
                f"the {described.htype} of the stream's header has {len(blob)} bytes, which does not match its description; "
                "it is not used"
            )
            return
        self._tables[described.htype] = np.frombuffer(blob, dtype).reshape(rows, columns).copy()

    def _expected_frames(self) -> int | None:
        triggers, images = self._configuration.get("ntrigger"), self._configuration.get("nimages")
        if self._configuration.get("trigger_mode") in _ONE_FRAME_A_TRIGGER:
            return frame_count(triggers, self._notes)
        if is_finite_number(triggers) and is_finite_number(images):
            return frame_count(triggers * images, self._notes)  # type: ignore[operator]
        return None

    def _geometry(self) -> StreamGeometry:
        known = self._configuration
        flatfield = self._tables.get("dflatfield-1.0")
        is_flat = known.get("flatfield_correction_applied") is not False
        bits = known.get("bit_depth_image")
        return make_geometry(
            self._notes,
            energy_eV=known.get("photon_energy"),
            wavelength_angstrom=known.get("wavelength"),
            distance_m=known.get("detector_distance"),
            saturation=known.get("countrate_correction_count_cutoff"),
            frame_time_s=known.get("frame_time"),
            pixel_size_m=(known.get("y_pixel_size"), known.get("x_pixel_size")),
            beam_center_px=(known.get("beam_center_y"), known.get("beam_center_x")),
            mask=bad_pixels(self._tables.get("dpixelmask-1.0")),
            flatfield=None if is_flat else flat_factors(flatfield, self._notes),
            frame_shape=size_2d(known.get("y_pixels_in_detector"), known.get("x_pixels_in_detector")),
            frame_dtype=np.dtype(f"uint{bits}") if bits in (8, 16, 32) else None,
        )


def _sides(value: object) -> tuple[int, int]:
    """Return the (columns, rows) of a table; (0, 0) if they are not two counts."""
    if isinstance(value, list) and len(value) == 2 and all(map(is_count, value)):
        return value[0], value[1]
    return 0, 0


def header_parts(start: ScanStart, series: int, shape: Shape, dtype: DTypeLike) -> list[bytes]:
    """Write a header, with tables if the geometry has a mask or a flat field that is not applied yet."""
    known = start.geometry
    configuration: dict[str, object] = {
        "trigger_mode": "exte",
        "nimages": 1,
        "ntrigger": start.expected_frames or 0,
        "x_pixels_in_detector": shape[1],
        "y_pixels_in_detector": shape[0],
        "bit_depth_image": 8 * np.dtype(dtype).itemsize,
        "compression": "bslz4",
        "flatfield_correction_applied": known.flatfield is None,
    }
    centre, pixel = known.beam_center_px or (None, None), known.detector_pixel_size_m or (None, None)
    optional = {
        "photon_energy": known.photon_energy_eV,
        "detector_distance": known.detector_distance_m,
        "countrate_correction_count_cutoff": known.saturation,
        "frame_time": known.frame_time_s,
        "y_pixel_size": pixel[0],
        "x_pixel_size": pixel[1],
        "beam_center_y": centre[0],
        "beam_center_x": centre[1],
    }
    configuration |= {key: value for key, value in optional.items() if value is not None}
    configuration = {
        key: value for key, value in start.metadata.items() if key not in (*configuration, "htype")
    } | configuration
    tables = [] if known.mask is None and known.flatfield is None else _tables(known, shape)
    head = {"htype": "dheader-1.0", "series": series, "header_detail": "all" if tables else "basic"}
    appendix = {"scan_id": start.scan_id}
    return [*map(_json, (head, configuration)), *tables, _json(appendix)]


def _tables(known: StreamGeometry, shape: Shape) -> list[bytes]:
    flatfield = np.ones(shape, "<f4") if known.flatfield is None else known.flatfield
    mask = np.zeros(shape, "<u4") if known.mask is None else known.mask
    arrays = (flatfield, mask, np.array([[0, 0], [1, 1]]))
    parts: list[bytes] = []
    for (htype, name), array in zip(_TABLES.items(), arrays, strict=True):
        parts.append(_json({"htype": htype, "shape": list(array.shape[::-1]), "type": name}))
        parts.append(np.ascontiguousarray(array, np.dtype(name).newbyteorder("<")).tobytes())
    return parts


def _json(value: Mapping[str, object]) -> bytes:
    return json.dumps(value).encode()
