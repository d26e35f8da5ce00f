"""The DECTRIS stream, version 2: one message is one CBOR map, ``start``, ``image`` or ``end``.

Images are CBOR multi-dimensional arrays (tag 40 rows first, tag 1040 columns first; dimensions [rows, columns]) over
typed arrays (tags 64 to 87), whose byte string may be packed by DECTRIS' own tag 56500 = [algorithm, element size,
bytes]. Pixels stay packed, and uncopied, until a worker decodes them. A scan's name is ``series_unique_id``, or else
``series_id``. A sender that knows the position of an image may add it as ``user_data`` ``{"position_m": [y, x]}``.
"""

from __future__ import annotations

import math
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import cbor2
import numpy as np
from numpy.typing import DTypeLike, NDArray

from streams.codecs.base import (
    DEFAULT_MAX_FRAME_BYTES,
    EncodedFrame,
    Part,
    SeriesForms,
    Shape,
    check_index,
    check_shape,
    is_count,
    plain,
    read_position,
    sanitise_scan_id,
)
from streams.codecs.cbor import CborError, Tagged, loads
from streams.compression import encode_bslz4
from streams.errors import CodecError
from streams.frame import PositionM, ScanEnd, ScanStart

__all__ = ["DectrisV2Codec"]

_ROW_MAJOR, _COLUMN_MAJOR, _PACKED, _DATE = 40, 1040, 56500, 0
_WIDE_FLOATS = (83, 87)
_TYPED_ARRAYS: dict[int, np.dtype[Any]] = {
    tag: np.dtype(name)
    for tag, name in {
        64: "u1", 65: ">u2", 66: ">u4", 67: ">u8", 68: "u1", 69: "<u2", 70: "<u4", 71: "<u8",
        72: "i1", 73: ">i2", 74: ">i4", 75: ">i8", 77: "<i2", 78: "<i4", 79: "<i8",
        80: ">f2", 81: ">f4", 82: ">f8", 84: "<f2", 85: "<f4", 86: "<f8",
    }.items()
}  # fmt: skip
_TAG_OF = {dtype: tag for tag, dtype in _TYPED_ARRAYS.items() if tag != 68}
_KNOWN_TAGS = frozenset({_DATE, _ROW_MAJOR, _COLUMN_MAJOR, _PACKED, *_TYPED_ARRAYS, *_WIDE_FLOATS})
_ENCODINGS = ("bslz4", "lz4")
_KEPT_SERIES = 16
_METADATA = (
    "arm_date", "beam_center_x", "beam_center_y", "channels", "count_time", "detector_description",
    "detector_serial_number", "detector_translation", "frame_time", "image_dtype", "image_size_x", "image_size_y",
    "incident_energy", "incident_wavelength", "number_of_images", "pixel_size_x", "pixel_size_y", "saturation_value",
    "sensor_material", "sensor_thickness", "threshold_energy", "user_data",
)  # fmt: skip


class DectrisV2Codec:
    """Reads and writes the format.

    Parameters
    ----------
    channel
        Image channel to take, such as ``threshold_1``; by default the first that the start announces, or, where the
        images do not carry that one, the first that is sent.
    max_frame_bytes
        Greatest decoded size of an image.
    """

    def __init__(self, channel: str | None = None, max_frame_bytes: int = DEFAULT_MAX_FRAME_BYTES) -> None:
        self._channel = channel
        self._max_frame_bytes = max_frame_bytes
        self._forms = SeriesForms()
        self._scan_of_series: OrderedDict[int, str] = OrderedDict()
        self._announced_channel: str | None = None

    def parse(self, parts: Sequence[Part], received_ns: int) -> ScanStart | EncodedFrame | ScanEnd | None:
        """Read one message; unknown kinds give ``None``. Raises :class:`CodecError` with scan and index if known."""
        if len(parts) != 1:
            raise CodecError("malformed", f"a DECTRIS V2 message has one part, not {len(parts)}")
        try:
            message = loads(parts[0], _KNOWN_TAGS)
        except CborError as error:
            raise CodecError("malformed", f"the message is not CBOR as DECTRIS V2 has it: {error}") from error
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            raise CodecError("malformed", "the message is not a map with a type")
        kind = message["type"]
        if kind not in ("start", "image", "end"):
            return None
        scan_id = self._scan_id(message)
        if kind == "image":
            return self._image(message, scan_id, received_ns)
        return self._start(message, scan_id) if kind == "start" else ScanEnd(scan_id)

    def encode_start(self, start: ScanStart, shape: Shape, dtype: DTypeLike) -> list[bytes]:
        """Write ``start``; metadata under the format's own names goes there, the rest into ``user_data``."""
        message = _message("start", start.scan_id)
        message |= {key: value for key, value in start.metadata.items() if key in _METADATA}
        message |= {"image_size_x": shape[1], "image_size_y": shape[0], "image_dtype": np.dtype(dtype).name}
        message.setdefault("channels", [self._channel or "threshold_1"])
        if start.expected_frames is not None:
            message["number_of_images"] = start.expected_frames
        others = {key: value for key, value in start.metadata.items() if key not in _METADATA}
        if others:
            message.setdefault("user_data", others)
        return [cbor2.dumps(message)]

    def encode_frame(
        self,
        scan_id: str,
        index: int,
        counts: NDArray[Any],
        position_m: PositionM | None = None,
        encoding: str = "bslz4",
    ) -> list[bytes]:
        """Write ``image``, ``counts`` (rows, columns); an encoding or dtype the format lacks raises ``CodecError``."""
        little = counts.dtype.newbyteorder("<")
        tag = _TAG_OF.get(little)
        if tag is None or encoding not in ("", "bslz4"):
            raise CodecError("encoding", f"DECTRIS V2 has no {counts.dtype} with encoding {encoding!r} here", scan_id)
        pixels = np.ascontiguousarray(counts, little)
        body: Any = pixels.tobytes()
        if encoding:
            body = cbor2.CBORTag(_PACKED, [encoding, little.itemsize, encode_bslz4(pixels)])
        array = cbor2.CBORTag(_ROW_MAJOR, [list(counts.shape), cbor2.CBORTag(tag, body)])
        message = _message("image", scan_id) | {"image_id": index, "data": {self._channel or "threshold_1": array}}
        if position_m is not None:
            message["user_data"] = {"position_m": [float(position_m[0]), float(position_m[1])]}
        return [cbor2.dumps(message)]

    def encode_end(self, scan_id: str) -> list[bytes]:
        """Write ``end``."""
        return [cbor2.dumps(_message("end", scan_id))]

    def _scan_id(self, message: dict[Any, Any]) -> str:
        unique, series = message.get("series_unique_id"), message.get("series_id")
        number = series if isinstance(series, int) and not isinstance(series, bool) else None
        if isinstance(unique, str) and unique:
            scan_id = sanitise_scan_id(unique)
        elif number is not None:
            return self._scan_of_series.get(number) or sanitise_scan_id(str(number))
        else:
            raise CodecError("malformed", "the message names no series")
        if number is not None and message["type"] == "start":
            self._scan_of_series[number] = scan_id
            if len(self._scan_of_series) > _KEPT_SERIES:
                self._scan_of_series.popitem(last=False)
        return scan_id

    def _start(self, message: dict[Any, Any], scan_id: str) -> ScanStart:
        metadata = {key: plain(_bare(message[key])) for key in _METADATA if key in message}
        metadata = {key: value for key, value in metadata.items() if _is_worth_keeping(value)}
        channels = metadata.get("channels")
        has_name = isinstance(channels, list) and bool(channels) and isinstance(channels[0], str)
        self._announced_channel = channels[0] if has_name and channels else None
        rows, columns = metadata.get("image_size_y"), metadata.get("image_size_x")
        is_sized = is_count(rows) and is_count(columns) and bool(rows and columns)
        self._forms.announce(scan_id, (int(rows), int(columns)) if is_sized and rows and columns else None)
        expected = metadata.get("number_of_images")
        return ScanStart(scan_id, expected if is_count(expected) else None, metadata)

    def _image(self, message: dict[Any, Any], scan_id: str, received_ns: int) -> EncodedFrame:
        index = check_index(message.get("image_id"), scan_id)
        array = self._chosen(message.get("data"), scan_id, index)
        try:
            column_major, dimensions, typed = _array(array)
            dtype, encoding, elem_size, payload = _typed(typed)
        except CodecError as error:
            raise CodecError(error.reason, f"scan {scan_id}, frame {index}: {error}", scan_id, index) from None
        shape = check_shape(dimensions, dtype, self._max_frame_bytes, scan_id, index)
        self._forms.check(scan_id, index, shape, dtype)
        user_data = message.get("user_data")
        position = user_data.get("position_m") if isinstance(user_data, dict) else None
        position_m = None if position is None else read_position(position, scan_id, index)
        return EncodedFrame(
            scan_id, index, shape, dtype, payload, encoding, received_ns, position_m, elem_size, column_major
        )

    def _chosen(self, data: object, scan_id: str, index: int) -> object:
        if not isinstance(data, dict) or not data:
            raise CodecError("malformed", f"scan {scan_id}, frame {index} has no data", scan_id, index)
        if self._channel is None:
            announced = self._announced_channel
            return data[announced] if announced in data else next(iter(data.values()))
        if self._channel not in data:
            names = ", ".join(str(name)[:40] for name in list(data)[:8])
            message = f"scan {scan_id}, frame {index} has no channel {self._channel}, only {names}"
            raise CodecError("channel", message, scan_id, index)
        return data[self._channel]


def _message(kind: str, scan_id: str) -> dict[str, Any]:
    return {"type": kind, "series_id": zlib.crc32(scan_id.encode()), "series_unique_id": scan_id}


def _array(value: object) -> tuple[bool, Any, Any]:
    """Return (column-major?, dimensions, contents) of a tagged array."""
    if isinstance(value, Tagged) and value.tag in (_ROW_MAJOR, _COLUMN_MAJOR):
        content = value.value
        if isinstance(content, list) and len(content) == 2:
            return value.tag == _COLUMN_MAJOR, content[0], content[1]
    raise CodecError("malformed", "the image is not a tagged array")


def _typed(value: object) -> tuple[np.dtype[Any], str, int | None, Part]:
    """Return (dtype, encoding, element size, payload) of a typed array, packed or not."""
    if not isinstance(value, Tagged):
        raise CodecError("malformed", "the image's pixels are not a typed array")
    dtype = _TYPED_ARRAYS.get(value.tag)
    if dtype is None:
        raise CodecError("dtype", f"pixels of tag {value.tag} cannot be read")
    body = value.value
    if isinstance(body, memoryview):
        return dtype, "", None, body
    if not (isinstance(body, Tagged) and body.tag == _PACKED and isinstance(body.value, list) and len(body.value) == 3):
        raise CodecError("malformed", "the image's pixels are neither bytes nor packed bytes")
    algorithm, modifier, payload = body.value
    if not isinstance(payload, memoryview) or not is_count(modifier):
        raise CodecError("malformed", "the packed pixels are not [algorithm, number, bytes]")
    if algorithm not in _ENCODINGS:
        raise CodecError("encoding", f"compression {str(algorithm)[:40]} is none of {', '.join(_ENCODINGS)}")
    if algorithm == "bslz4" and modifier not in (1, 2, 4, 8):
        raise CodecError("encoding", f"bslz4 element size {modifier} is none of 1, 2, 4, 8")
    return dtype, algorithm, modifier if algorithm == "bslz4" else None, payload


def _bare(value: object) -> object:
    return value.value if isinstance(value, Tagged) and value.tag == _DATE else value


def _is_worth_keeping(value: object) -> bool:
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))
