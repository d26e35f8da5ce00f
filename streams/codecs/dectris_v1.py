"""The DECTRIS stream, version 1: JSON and binary parts; one message for the header, each image and the end.

======== ===================================================================================================
header   ``dheader-1.0``; detector configuration (no htype; missing with ``header_detail`` none); with ``all`` a
         description and a blob of each ``dflatfield-1.0``, ``dpixelmask-1.0``, ``dcountrate_table-1.0``; appendix
image    ``dimage-1.0``; ``dimage_d-1.0`` with shape [columns, rows], type, encoding; blob; ``dconfig-1.0``; appendix
end      ``dseries_end-1.0``
======== ===================================================================================================

Some relays send each part as its own message and lose some, so the parts are read one by one; the first part of the next
header, image or end ends an incomplete one. The end of a message of several parts shows at once which part is missing. A
header whose parts arrived as single messages is complete when another kind of part follows.

A scan's name is the ``series`` number, or ``scan_id`` in a header appendix that is a JSON map. An image appendix that is a
JSON map may hold ``position_m`` [y, x].
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache
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
    read_position,
    sanitise_scan_id,
)
from streams.codecs.dectris_v1_header import HeaderParts, header_parts
from streams.codecs.fields import read_json_map
from streams.compression import encode_bslz4, encode_lz4_block
from streams.errors import CodecError
from streams.frame import Position, PositionM, ScanEnd, ScanStart
from streams.refusal_reasons import RefusalReason
from streams.untrusted import shown

__all__ = ["DectrisV1Codec"]

_ENCODING = re.compile(r"(?:bs(8|16|32|64)-?lz4|(lz4)|raw)?([<>]?)")
_PACK: dict[str, Callable[[NDArray[Any]], bytes]] = {
    "": lambda pixels: pixels.tobytes(),
    "bslz4": encode_bslz4,
    "lz4": encode_lz4_block,
}
_MD5 = re.compile(r"[0-9a-fA-F]{32}")
_KEPT_SERIES = 16
"""Series whose name is remembered for their images; late images come from the series before."""


class _Image:
    """One image while its parts arrive."""

    def __init__(self, head: dict[str, object], scan_id: str, received_ns: int) -> None:
        self.scan_id = scan_id
        self.index = check_index(head.get("frame"), scan_id)
        self.hash = head.get("hash")
        self.received_ns = received_ns
        self.description: dict[str, object] | None = None
        self.blob: Part | None = None
        self.exposed_s: float | None = None
        self.position_m: PositionM | None = None

    def incomplete(self, missing: str) -> CodecError:
        """Return the refusal for a missing part."""
        message = f"scan {self.scan_id}, frame {self.index}: {missing} did not arrive"
        return CodecError(RefusalReason.INCOMPLETE, message, self.scan_id, self.index)

    def take(self, part: Part, message: dict[str, object] | None) -> None:
        """Take the next part. Raises :class:`CodecError` if another part is expected."""
        htype = None if message is None else message.get("htype")
        if self.description is None:
            if message is None or htype != "dimage_d-1.0":
                raise self.incomplete("the description of the pixels")
            self.description = message
        elif self.blob is None:
            if htype is not None:
                raise self.incomplete("the pixels")
            self.blob = part
        elif message is not None and htype == "dconfig-1.0":
            start_ns = message.get("start_time")
            self.exposed_s = start_ns / 1e9 if type(start_ns) is int and 0 <= start_ns < 2**63 else None
        elif message is not None and "position_m" in message:
            self.position_m = read_position(message["position_m"], self.scan_id, self.index)


class DectrisV1Codec:
    """Reads and writes the format."""

    def __init__(self, options: CodecOptions = DEFAULT_OPTIONS) -> None:
        self._max_frame_bytes = options.max_frame_bytes
        self._check_hash = options.check_hash
        self._forms = SeriesForms()
        self._names: OrderedDict[object, str] = OrderedDict()
        self._header: HeaderParts | None = None
        self._image: _Image | None = None
        self._last: tuple[str, int] | None = None
        self._is_known = False

    def parse(self, parts: Sequence[Part], received_ns: int) -> list[StreamItem]:
        """Read one message, whole or a single part of one. Raises :class:`CodecError`."""
        items: list[StreamItem] = []
        is_whole = len(parts) > 1
        for part in parts:
            try:
                self._take(part, received_ns, items)
                if not is_whole and self._image is not None and self._image.blob is not None:
                    items.append(self._finish_image(self._image))
            except CodecError as fault:
                self._image = None
                items.append(fault)
                if fault.reason is RefusalReason.MALFORMED:
                    break
        if is_whole:
            if not items and self._image is None and self._header is None:
                raise CodecError(RefusalReason.INCOMPLETE, "the first part of a DECTRIS V1 message is missing")
            self._finish_message(items)
        if len(items) == 1 and isinstance(items[0], CodecError):
            raise items[0]
        return items

    def encode_start(self, start: ScanStart, shape: Shape, dtype: DTypeLike) -> list[bytes]:
        """Write the header, with the detector's tables if the geometry has any."""
        return header_parts(start, _series(start.scan_id), shape, dtype)

    def encode_frame(
        self,
        scan_id: str,
        index: int,
        counts: NDArray[Any],
        position_m: PositionM | None = None,
        encoding: str = "bslz4",
    ) -> list[bytes]:
        """Write an image, encoding "", "bslz4" or "lz4"; an unsupported encoding or dtype raises ``CodecError``."""
        name = counts.dtype.name
        if name not in WIRE_DTYPES or encoding not in _PACK:
            raise CodecError(
                RefusalReason.ENCODING,
                f"DECTRIS V1 images cannot be written as {name} with encoding {encoding!r}",
                scan_id,
            )
        pixels = np.ascontiguousarray(counts, WIRE_DTYPES[name])
        blob = _PACK[encoding](pixels)
        label = f"bs{8 * pixels.itemsize}-lz4<" if encoding == "bslz4" else f"{encoding}<"
        digest = hashlib.md5(blob, usedforsecurity=False).hexdigest()
        head = {"htype": "dimage-1.0", "series": _series(scan_id), "frame": index, "hash": digest}
        description = {
            "htype": "dimage_d-1.0",
            "shape": list(counts.shape[::-1]),
            "type": name,
            "encoding": label,
            "size": len(blob),
        }
        parts = [_json(head), _json(description), blob, _json({"htype": "dconfig-1.0"})]
        if position_m is not None:
            parts.append(_json({"position_m": [float(position_m[0]), float(position_m[1])]}))
        return parts

    def encode_end(self, scan_id: str) -> list[bytes]:
        """Write the end."""
        return [_json({"htype": "dseries_end-1.0", "series": _series(scan_id)})]

    def _take(self, part: Part, received_ns: int, items: list[StreamItem]) -> None:
        """Take one part; append the items that it completes."""
        message = read_json_map(part)
        htype = None if message is None else message.get("htype")
        if message is not None and htype in ("dheader-1.0", "dimage-1.0", "dseries_end-1.0"):
            self._begin(str(htype), message, received_ns, items)
        elif self._image is not None:
            self._image.take(part, message)
        elif self._header is not None:
            self._header.take(part, message)
        elif self._last is not None and message is not None and "position_m" in message:
            scan_id, index = self._last
            items.append(Position(scan_id, index, read_position(message["position_m"], scan_id, index)))
        elif not self._is_known:
            raise CodecError(
                RefusalReason.MALFORMED, "the part is not a header, image or end of DECTRIS V1; check [frames] format"
            )

    def _begin(self, htype: str, message: dict[str, object], received_ns: int, items: list[StreamItem]) -> None:
        if self._image is not None:
            items.append(self._image.incomplete("the rest"))
            self._image = None
        self._open_scan(items)
        self._last = None
        series = message.get("series")
        if type(series) is not int and not (isinstance(series, str) and series):
            raise CodecError(RefusalReason.MALFORMED, f"the DECTRIS V1 part {htype} has no series")
        self._is_known = True
        if htype == "dheader-1.0":
            self._header = HeaderParts(message, series)
        elif htype == "dimage-1.0":
            self._image = _Image(message, self._scan_id(series), received_ns)
        else:
            items.append(ScanEnd(self._scan_id(series)))
            self._is_known = False

    def _finish_message(self, items: list[StreamItem]) -> None:
        """Complete the header or image at the end of a message of several parts."""
        self._open_scan(items)
        if self._image is None:
            return
        try:
            items.append(self._finish_image(self._image))
        except CodecError as fault:
            items.append(fault)
        self._image = None

    def _open_scan(self, items: list[StreamItem]) -> None:
        header, self._header = self._header, None
        if header is None:
            return
        start = header.scan_start()
        self._names[header.series] = start.scan_id
        self._names.move_to_end(header.series)
        if len(self._names) > _KEPT_SERIES:
            self._names.popitem(last=False)
        self._forms.announce(start.scan_id, None)
        items.append(start)

    def _finish_image(self, image: _Image) -> EncodedFrame:
        self._image = None
        scan_id, index = image.scan_id, image.index
        if image.description is None or image.blob is None:
            raise image.incomplete("the pixels")
        encoding, elem_size, order = _encoding(image.description.get("encoding"), scan_id, index)
        name = image.description.get("type")
        dtype = WIRE_DTYPES.get(name) if isinstance(name, str) else None
        if dtype is None:
            raise CodecError(RefusalReason.DTYPE, f"scan {scan_id}, frame {index}: type is not one of {list(WIRE_DTYPES)}",
                             scan_id, index)  # fmt: skip
        if order == ">":
            dtype = dtype.newbyteorder(">")
        wanted = image.description.get("shape")
        if isinstance(wanted, list) and len(wanted) == 3 and wanted[2] == 1:
            wanted = wanted[:2]
        shape = check_shape(wanted[::-1] if isinstance(wanted, list) else wanted, dtype, self._max_frame_bytes,
                            scan_id, index)  # fmt: skip
        self._forms.check(scan_id, index, shape, dtype)
        digest = None
        if self._check_hash and isinstance(image.hash, str) and _MD5.fullmatch(image.hash):
            digest = image.hash.lower()
        self._last = (scan_id, index)
        return EncodedFrame(
            scan_id,
            index,
            shape,
            dtype,
            image.blob,
            encoding=encoding,
            received_ns=image.received_ns,
            position_m=image.position_m,
            elem_size=elem_size,
            exposed_s=image.exposed_s,
            digest=digest,
        )

    def _scan_id(self, series: int | str) -> str:
        return self._names.get(series) or sanitise_scan_id(str(series))


@lru_cache(maxsize=64)
def _known_encoding(text: str) -> tuple[str, int | None, str] | None:
    """Return (encoding, bit-shuffle element in bytes, byte order) of a label such as ``bs16-lz4<``."""
    found = _ENCODING.fullmatch(text)
    if found is None:
        return None
    bits, block, order = found.groups()
    if bits:
        return "bslz4", int(bits) // 8, order
    return ("lz4-block" if block else ""), None, order


def _encoding(label: object, scan_id: str, index: int) -> tuple[str, int | None, str]:
    known = _known_encoding(label) if isinstance(label, str) and len(label) < 16 else None
    if known is None:
        names = "<, lz4<, bs8-lz4<, bs16-lz4<, bs32-lz4<"
        message = f"scan {scan_id}, frame {index}: encoding {shown(label)!r} is not one of {names}"
        raise CodecError(RefusalReason.ENCODING, message, scan_id, index)
    return known


def _series(scan_id: str) -> int:
    """Return the series number of a scan: its name if that is a number, otherwise a digest of it."""
    return int(scan_id) if re.fullmatch(r"[1-9]\d{0,8}|0", scan_id) else zlib.crc32(scan_id.encode())


def _json(value: dict[str, object]) -> bytes:
    return json.dumps(value).encode()
