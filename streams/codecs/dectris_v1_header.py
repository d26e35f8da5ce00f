"""The header of the DECTRIS stream, version 1: gathered from its parts, and written."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from streams.codecs.base import Part, Shape, is_count, sanitise_scan_id
from streams.codecs.fields import bad_pixels, flat_factors, make_geometry, size_2d
from streams.frame import ScanStart, StreamGeometry
from streams.untrusted import frame_count, is_finite_number, left_out_note, storable

__all__ = ["HeaderParts", "header_parts"]

_TABLES = {"dflatfield-1.0": "float32", "dpixelmask-1.0": "uint32", "dcountrate_table-1.0": "float32"}
_ONE_FRAME_A_TRIGGER = ("exte", "inte")


class HeaderParts:
    """The parts of one header, in the order of their coming; a part that is missing or odd leaves its place empty."""

    def __init__(self, head: dict[str, Any]) -> None:
        self.series: int | str = head["series"]
        self._notes: list[str] = []
        self._has_configuration = head.get("header_detail") != "none"
        self._configuration: dict[str, Any] = {}
        self._tables: dict[str, NDArray[Any]] = {}
        self._appendix: object = None
        self._described: dict[str, Any] | None = None

    def take(self, part: Part, message: dict[str, Any] | None) -> None:
        """Take the part that follows; ``message`` is what it holds as JSON."""
        described, self._described = self._described, None
        htype = None if message is None else message.get("htype")
        if message is not None and isinstance(htype, str) and htype in _TABLES:
            self._described = message
        elif described is not None and htype is None:
            self._take_table(described, part)
        elif message is not None and htype is None and self._has_configuration and not self._configuration:
            self._configuration = message
        elif htype is None:
            self._appendix = message

    def scan_start(self) -> ScanStart:
        """Return what the parts so far say."""
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

    def _take_table(self, described: dict[str, Any], blob: Part) -> None:
        htype = described["htype"]
        dtype = np.dtype(_TABLES[htype]).newbyteorder("<")
        sides = described.get("shape")
        if not isinstance(sides, list) or len(sides) != 2 or not all(map(is_count, sides)):
            sides = [0, 0]
        if not blob or len(blob) != dtype.itemsize * sides[0] * sides[1]:
            self._notes.append(
                f"the {htype} of the stream's header has {len(blob)} bytes, which is not what its description says; it is "
                "not used"
            )
            return
        self._tables[htype] = np.frombuffer(blob, dtype).reshape(sides[::-1]).copy()

    def _expected_frames(self) -> int | None:
        triggers, images = self._configuration.get("ntrigger"), self._configuration.get("nimages")
        if self._configuration.get("trigger_mode") in _ONE_FRAME_A_TRIGGER:
            return frame_count(triggers, self._notes)
        if is_finite_number(triggers) and is_finite_number(images):
            return frame_count(triggers * images, self._notes)  # type: ignore[operator]
        return None

    def _geometry(self) -> StreamGeometry:
        said = self._configuration
        flatfield = self._tables.get("dflatfield-1.0")
        is_flat = said.get("flatfield_correction_applied") is not False
        bits = said.get("bit_depth_image")
        return make_geometry(
            self._notes,
            energy_eV=said.get("photon_energy"),
            wavelength_angstrom=said.get("wavelength"),
            distance_m=said.get("detector_distance"),
            saturation=said.get("countrate_correction_count_cutoff"),
            frame_time_s=said.get("frame_time"),
            pixel_size_m=(said.get("y_pixel_size"), said.get("x_pixel_size")),
            beam_center_px=(said.get("beam_center_y"), said.get("beam_center_x")),
            mask=bad_pixels(self._tables.get("dpixelmask-1.0")),
            flatfield=None if is_flat else flat_factors(flatfield, self._notes),
            frame_shape=size_2d(said.get("y_pixels_in_detector"), said.get("x_pixels_in_detector")),
            frame_dtype=np.dtype(f"uint{bits}") if bits in (8, 16, 32) else None,
        )


def header_parts(start: ScanStart, series: int, shape: Shape, dtype: DTypeLike) -> list[bytes]:
    """Write a header; with the tables where the geometry has a mask or a flat field still to be applied."""
    known = start.geometry
    configuration: dict[str, Any] = {
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
    said = {
        "photon_energy": known.photon_energy_eV,
        "detector_distance": known.detector_distance_m,
        "countrate_correction_count_cutoff": known.saturation,
        "frame_time": known.frame_time_s,
        "y_pixel_size": pixel[0],
        "x_pixel_size": pixel[1],
        "beam_center_y": centre[0],
        "beam_center_x": centre[1],
    }
    configuration |= {key: value for key, value in said.items() if value is not None}
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


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode()
