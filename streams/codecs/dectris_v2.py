"""The DECTRIS stream, version 2: one message is one CBOR map, ``start``, ``image`` or ``end``.

Every message of a detector begins with the tag "this is CBOR", bytes D9 D9 F7; a message without it is accepted too.
Images are CBOR multi-dimensional arrays (tag 40 rows first, tag 1040 columns first; dimensions [rows, columns]) over
typed arrays (tags 64 to 87), whose byte string may be packed by DECTRIS' own tag 56500 = [algorithm, element size,
bytes]. Pixels stay packed, without a copy, until a worker decodes them. A scan's name is ``series_unique_id``, or otherwise
``series_id``. A sender that knows the position of an image may add it as ``user_data`` ``{"position_m": [y, x]}``.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import cbor2
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
from streams.codecs.cbor import SELF_DESCRIBED, CborError, Tagged, loads
from streams.codecs.dectris_v2_arrays import DATE_TAG, TAG_OF, array_parts, tagged, typed_parts, unpacked
from streams.codecs.dectris_v2_form import ImageForms, seconds
from streams.codecs.fields import bad_pixels, flat_factors, make_geometry, size_2d
from streams.errors import CodecError
from streams.frame import PositionM, ScanEnd, ScanStart, StreamGeometry
from streams.refusal_reasons import RefusalReason
from streams.untrusted import frame_count, left_out_note, shown, storable

__all__ = ["DectrisV2Codec"]

_KEPT_SERIES = 16
"""Series whose name is remembered for their images; late images come from the series before."""
_METADATA = (
    "arm_date", "beam_center_x", "beam_center_y", "channels", "count_time", "countrate_correction_enabled",
    "detector_description", "detector_serial_number", "detector_translation", "flatfield_enabled", "frame_time", "goniometer",
    "image_dtype", "image_size_x", "image_size_y", "incident_energy", "incident_wavelength", "number_of_images",
    "pixel_mask_enabled", "pixel_size_x", "pixel_size_y", "saturation_value", "sensor_material", "sensor_thickness",
    "threshold_energy", "user_data", "virtual_pixel_interpolation_enabled",
)  # fmt: skip


class DectrisV2Codec:
    """Reads and writes the format.

    Without a ``channel`` it uses the first announced one, or the first in the image if the image does not contain that.
    """

    def __init__(self, options: CodecOptions = DEFAULT_OPTIONS) -> None:
        self._channel = options.channel
        self._max_frame_bytes = options.max_frame_bytes
        self._forms = SeriesForms()
        self._scan_of_series: OrderedDict[int, str] = OrderedDict()
        self._announced_channel: str | None = None
        self._image_forms = ImageForms()

    def parse(self, parts: Sequence[Part], received_ns: int) -> list[StreamItem]:
        """Read one message; unknown kinds are ignored. Raises :class:`CodecError` with scan and index if known."""
        if len(parts) != 1:
            raise CodecError(RefusalReason.MALFORMED, f"a DECTRIS V2 message has one part, not {len(parts)}")
        known = self._image_forms.read(parts[0], received_ns)
        if known is not None:
            return [known]
        try:
            message = loads(parts[0])
        except CborError as error:
            raise CodecError(
                RefusalReason.MALFORMED, f"the message is not valid CBOR of DECTRIS V2: {error}"
            ) from error
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            raise CodecError(RefusalReason.MALFORMED, "the message is not a map with a type")
        kind = message["type"]
        if kind not in ("start", "image", "end"):
            return []
        scan_id = self._scan_id(message)
        if kind == "image":
            image = self._image(message, scan_id, received_ns)
            self._image_forms.learn(parts[0], image)
            return [image]
        self._image_forms.forget()
        return [self._start(message, scan_id) if kind == "start" else ScanEnd(scan_id)]

    def encode_start(self, start: ScanStart, shape: Shape, dtype: DTypeLike) -> list[bytes]:
        """Write ``start``; metadata that the format does not name goes into ``user_data``."""
        message = _message("start", start.scan_id)
        message |= {key: value for key, value in start.metadata.items() if key in _METADATA} | _metadata_of(
            start.geometry
        )
        message |= {"image_size_x": shape[1], "image_size_y": shape[0], "image_dtype": np.dtype(dtype).name}
        message.setdefault("channels", [self._channel or "threshold_1"])
        if start.expected_frames is not None:
            message["number_of_images"] = start.expected_frames
        others = {key: value for key, value in start.metadata.items() if key not in _METADATA}
        if others:
            message.setdefault("user_data", others)
        return [_packed(message)]

    def encode_frame(
        self,
        scan_id: str,
        index: int,
        counts: NDArray[Any],
        position_m: PositionM | None = None,
        encoding: str = "bslz4",
    ) -> list[bytes]:
        """Write ``image``, ``counts`` (rows, columns); an unsupported encoding or dtype raises ``CodecError``."""
        little = counts.dtype.newbyteorder("<")
        if little not in TAG_OF or encoding not in ("", "bslz4"):
            raise CodecError(
                RefusalReason.ENCODING,
                f"DECTRIS V2 images cannot be written as {counts.dtype} with encoding {encoding!r}",
                scan_id,
            )
        array = tagged(np.ascontiguousarray(counts, little), encoding)
        message = _message("image", scan_id) | {"image_id": index, "data": {self._channel or "threshold_1": array}}
        if position_m is not None:
            message["user_data"] = {"position_m": [float(position_m[0]), float(position_m[1])]}
        return [_packed(message)]

    def encode_end(self, scan_id: str) -> list[bytes]:
        """Write ``end``."""
        return [_packed(_message("end", scan_id))]

    def _scan_id(self, message: dict[Any, Any]) -> str:
        unique, series = message.get("series_unique_id"), message.get("series_id")
        number = series if isinstance(series, int) and not isinstance(series, bool) else None
        if isinstance(unique, str) and unique:
            scan_id = sanitise_scan_id(unique)
        elif number is not None:
            return self._scan_of_series.get(number) or sanitise_scan_id(str(number))
        else:
            raise CodecError(RefusalReason.MALFORMED, "the message has no series")
        if number is not None and message["type"] == "start":
            self._scan_of_series[number] = scan_id
            if len(self._scan_of_series) > _KEPT_SERIES:
                self._scan_of_series.popitem(last=False)
        return scan_id

    def _start(self, message: dict[Any, Any], scan_id: str) -> ScanStart:
        found = {key: _without_date_tag(message[key]) for key in _METADATA if message.get(key) is not None}
        metadata, left_out = storable(found)
        notes = [left_out_note(left_out)] if left_out else []
        channels = metadata.get("channels")
        has_name = isinstance(channels, list) and bool(channels) and isinstance(channels[0], str)
        self._announced_channel = channels[0] if has_name and channels else None
        geometry = self._geometry(message, notes)
        self._forms.announce(scan_id, geometry.frame_shape)
        return ScanStart(scan_id, frame_count(message.get("number_of_images"), notes), metadata, geometry, tuple(notes))

    def _geometry(self, message: dict[Any, Any], notes: list[str]) -> StreamGeometry:
        translation, name = message.get("detector_translation"), message.get("image_dtype")
        distance = translation[2] if isinstance(translation, list) and len(translation) == 3 else None
        flatfield = None
        if message.get("flatfield_enabled") is False:
            flatfield = self._table("flatfield", message, notes)
        return make_geometry(
            notes,
            energy_eV=message.get("incident_energy"),
            wavelength_angstrom=message.get("incident_wavelength"),
            distance_m=abs(distance) if isinstance(distance, int | float) else None,
            saturation=message.get("saturation_value"),
            frame_time_s=message.get("frame_time"),
            pixel_size_m=(message.get("pixel_size_y"), message.get("pixel_size_x")),
            beam_center_px=(message.get("beam_center_y"), message.get("beam_center_x")),
            mask=bad_pixels(self._table("pixel_mask", message, notes)),
            flatfield=flat_factors(flatfield, notes),
            frame_shape=size_2d(message.get("image_size_y"), message.get("image_size_x")),
            frame_dtype=WIRE_DTYPES.get(name) if isinstance(name, str) else None,
        )

    def _table(self, name: str, message: dict[Any, Any], notes: list[str]) -> NDArray[Any] | None:
        """Return the channel's array ``(rows, columns)`` of a map of tables, or the only one; ``None`` if it is invalid."""
        tables = message.get(name)
        if not isinstance(tables, dict) or not tables:
            return None
        wanted = self._channel or self._announced_channel
        array = tables.get(wanted) if wanted in tables or len(tables) > 1 else next(iter(tables.values()))
        if array is None:
            return None
        try:
            return unpacked(array, self._max_frame_bytes)
        except CodecError as fault:
            notes.append(f"the {name} of the stream's header cannot be read and is not used: {fault}")
            return None

    def _image(self, message: dict[Any, Any], scan_id: str, received_ns: int) -> EncodedFrame:
        index = check_index(message.get("image_id"), scan_id)
        array = self._channel_of(message.get("data"), scan_id, index)
        try:
            column_major, dimensions, typed = array_parts(array)
            dtype, encoding, elem_size, payload = typed_parts(typed)
        except CodecError as error:
            raise CodecError(error.reason, f"scan {scan_id}, frame {index}: {error}", scan_id, index) from None
        shape = check_shape(dimensions, dtype, self._max_frame_bytes, scan_id, index)
        self._forms.check(scan_id, index, shape, dtype)
        user_data = message.get("user_data")
        position = user_data.get("position_m") if isinstance(user_data, dict) else None
        position_m = None if position is None else read_position(position, scan_id, index)
        return EncodedFrame(
            scan_id,
            index,
            shape,
            dtype,
            payload,
            encoding=encoding,
            received_ns=received_ns,
            position_m=position_m,
            elem_size=elem_size,
            column_major=column_major,
            exposed_s=_exposed_s(message),
        )

    def _channel_of(self, data: object, scan_id: str, index: int) -> object:
        if not isinstance(data, dict) or not data:
            raise CodecError(RefusalReason.MALFORMED, f"scan {scan_id}, frame {index} has no data", scan_id, index)
        if self._channel is None:
            announced = self._announced_channel
            return data[announced] if announced in data else next(iter(data.values()))
        if self._channel not in data:
            names = ", ".join(shown(name) for name in list(data)[:8])
            message = f"scan {scan_id}, frame {index} has no channel {self._channel}, only {names}"
            raise CodecError(RefusalReason.CHANNEL, message, scan_id, index)
        return data[self._channel]


def _message(kind: str, scan_id: str) -> dict[str, object]:
    return {"type": kind, "series_id": zlib.crc32(scan_id.encode()), "series_unique_id": scan_id}


def _packed(message: dict[str, object]) -> bytes:
    return SELF_DESCRIBED + cbor2.dumps(message)


def _metadata_of(known: StreamGeometry) -> dict[str, object]:
    """Return a geometry under the names of the format."""
    centre, pixel = known.beam_center_px or (None, None), known.detector_pixel_size_m or (None, None)
    metadata = {
        "incident_energy": known.photon_energy_eV,
        "detector_translation": None if known.detector_distance_m is None else [0.0, 0.0, known.detector_distance_m],
        "saturation_value": None if known.saturation is None else int(known.saturation),
        "frame_time": known.frame_time_s,
        "pixel_size_y": pixel[0],
        "pixel_size_x": pixel[1],
        "beam_center_y": centre[0],
        "beam_center_x": centre[1],
        "pixel_mask": None if known.mask is None else {"threshold_1": tagged(known.mask.astype("<u4"))},
        "flatfield": None if known.flatfield is None else {"threshold_1": tagged(known.flatfield.astype("<f4"))},
        "flatfield_enabled": known.flatfield is None,
    }
    return {key: value for key, value in metadata.items() if value is not None}


def _exposed_s(message: dict[Any, Any]) -> float | None:
    """Return the start of an exposure, seconds on the detector's clock, from numerator and denominator."""
    time = message.get("start_time")
    if isinstance(time, list) and len(time) == 2 and all(map(is_count, time)):
        return seconds(*time)
    return None


def _without_date_tag(value: object) -> object:
    return value.value if isinstance(value, Tagged) and value.tag == DATE_TAG else value
