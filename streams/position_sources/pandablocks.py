"""The data of a PandA's capture port (PandABlocks, TCP 8889) and the positions in it.

The byte stream is split into messages of two parts: ``header`` and its text, XML or plain; ``data`` and the bytes of a
block; ``end`` and its line. A capture is one run of the source.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from streams.codecs.base import Part
from streams.errors import PositionError
from streams.frame import PositionNews
from streams.position_sources.samples import Sampler, SourceOptions
from streams.untrusted import shown

__all__ = ["MAX_BLOCK_BYTES", "CaptureReader", "CaptureSplitter"]

_MAX_HEADER_BYTES = 65_536
"""Size of a capture's header; one field takes about 100 bytes."""
MAX_BLOCK_BYTES = 16 * 2**20
"""Size of one block of samples; a PandA sends some kilobytes."""
_MAX_LINE_BYTES = 1024
"""Length of the greeting and of the end line."""
_MAX_FIELDS = 256
"""Captured fields of one sample; a PandA has about 60 that can be captured."""
_MAX_DIGITS = 15
"""Digits of a whole number in a header, so that a float holds it exactly."""
_TYPES = {"int32": "<i4", "uint32": "<u4", "int64": "<i8", "double": "<f8"}
_FIELD = re.compile(r"\s+(?P<name>\S+) (?P<type>\S+) (?P<capture>\S+)(?: scale: .*)?")
_END = re.compile(r"END (?P<samples>\d{1,15}) (?P<reason>[\w ]{1,40})")
_GOOD_ENDS = ("Ok", "Disarmed")


class CaptureSplitter:
    """Splits the bytes of the port into messages; holds at most one block. ``is_open`` after the port's OK."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self.is_open = False
        self._in_data = False

    def feed(self, chunk: bytes) -> list[list[memoryview]]:
        """Return the messages that are complete now. Raises :class:`PositionError` for invalid bytes."""
        self._kept += chunk
        messages: list[list[memoryview]] = []
        while (message := self._next()) is not None:
            kind, body = message
            if kind:
                messages.append([memoryview(kind), memoryview(body)])
        return messages

    def _next(self) -> tuple[bytes, bytes] | None:
        if not self.is_open:
            return self._greeting()
        if not self._in_data:
            return self._header()
        if self._kept[:4] == b"BIN ":
            return self._block()
        if self._kept[:4] == b"BIN "[: len(self._kept)]:
            return None
        line = self._line(_MAX_LINE_BYTES)
        if line is None:
            return None
        if not line.startswith(b"END "):
            raise PositionError(f"the capture port sent {line[:40]!r} instead of a block or END")
        self._in_data = False
        return b"end", line

    def _greeting(self) -> tuple[bytes, bytes] | None:
        line = self._line(_MAX_LINE_BYTES)
        if line is None:
            return None
        if line != b"OK":
            raise PositionError(f"the capture port answered {line[:80]!r}; check that it is a PandA's data port (8889)")
        self.is_open = True
        return b"", b""

    def _header(self) -> tuple[bytes, bytes] | None:
        end = self._kept.find(b"\n\n", 0, _MAX_HEADER_BYTES)
        if end < 0:
            if len(self._kept) >= _MAX_HEADER_BYTES:
                raise PositionError(f"the capture port sent a header of more than {_MAX_HEADER_BYTES} bytes")
            return None
        self._in_data = True
        return b"header", self._cut(end + 2)

    def _block(self) -> tuple[bytes, bytes] | None:
        if len(self._kept) < 8:
            return None
        (length,) = struct.unpack_from("<I", self._kept, 4)
        if not 8 <= length <= MAX_BLOCK_BYTES:
            raise PositionError(
                f"the capture port announced a block of {length} bytes; 8 to {MAX_BLOCK_BYTES} are possible"
            )
        return (b"data", self._cut(length)[8:]) if len(self._kept) >= length else None

    def _line(self, most: int) -> bytes | None:
        end = self._kept.find(b"\n", 0, most)
        if end >= 0:
            return self._cut(end + 1)[:-1]
        if len(self._kept) >= most:
            raise PositionError(f"the capture port sent a line of more than {most} bytes")
        return None

    def _cut(self, count: int) -> bytes:
        piece = bytes(self._kept[:count])
        del self._kept[:count]
        return piece


class _CaptureHeader(NamedTuple):
    """The header of a capture: dtype of one sample, samples missed before the connection, time of arming."""

    dtype: np.dtype[np.void]
    missed: int
    armed: str


class CaptureReader:
    """Reads the messages of one port. Channels are ``NAME.CAPTURE``, or ``NAME`` if it is captured in only one way."""

    def __init__(self, options: SourceOptions) -> None:
        self._options = options
        self._sampler = Sampler(options)
        self._header: _CaptureHeader | None = None
        self._columns = ("", "")
        self._time: str | None = None
        self._next = 0
        self._kept = b""

    def parse(self, parts: Sequence[Part]) -> PositionNews:
        """Read one message. Raises :class:`PositionError` for one that is refused."""
        kind, body = (bytes(part) for part in parts) if len(parts) == 2 else (b"", b"")
        if kind == b"header":
            return self._begin(body)
        if kind == b"data":
            return self._data(body)
        if kind == b"end":
            return self._end(body)
        raise PositionError("the message is not one of a capture port; check [positions] source")

    def _begin(self, text: bytes) -> PositionNews:
        header = _read_header(text)
        self._columns = _chosen(header.dtype, self._options.channels)
        name = self._options.time_channel
        self._time = _match(header.dtype, name) if name else None
        continues = self._continues(header)
        if not continues:
            self._sampler.begin()
        self._header, self._next, self._kept = header, header.missed, b""
        return self._news(begins=not continues)

    def _continues(self, header: _CaptureHeader) -> bool:
        """Whether the connection was restored within the same capture."""
        known = self._header
        if known is None or header.missed < self._next or not header.missed:
            return False
        return header.dtype == known.dtype and header.armed == known.armed

    def _data(self, block: bytes) -> PositionNews:
        header = self._header
        if header is None:
            raise PositionError("the capture port sent data without a header")
        body = self._kept + block
        size = header.dtype.itemsize
        count = len(body) // size
        self._kept = body[count * size :]
        rows = np.frombuffer(body, header.dtype, count)
        values = np.stack([_numbers(rows, name) for name in self._columns], axis=-1)
        positions = self._sampler.add(self._next, values, None if self._time is None else _numbers(rows, self._time))
        self._next += count
        return self._news(positions=positions)

    def _end(self, line: bytes) -> PositionNews:
        found = _END.fullmatch(line.decode("ascii", "replace"))
        if found is None:
            raise PositionError(f"the capture port ended with {line[:60]!r}, not with END, a number and a reason")
        reason = found["reason"].strip()
        fault = (
            None if reason in _GOOD_ENDS else f"the PandA ended its capture: {shown(reason)}; samples may be missing"
        )
        self._header = None
        return self._news(ends=True, fault=fault)

    def _news(self, **what: Any) -> PositionNews:
        sampler, per_frame = self._sampler, self._options.samples_per_frame
        return PositionNews(samples=sampler.samples, samples_lost=sampler.lost, samples_per_frame=per_frame, **what)


def _read_header(text: bytes) -> _CaptureHeader:
    if len(text) > _MAX_HEADER_BYTES:
        raise PositionError(f"a capture header of {len(text)} bytes exceeds {_MAX_HEADER_BYTES}")
    about, fields = _xml(text) if text.lstrip().startswith(b"<") else _plain(text)
    if about.get("format", "").lower() != "framed":
        raise PositionError(
            f"the capture is {about.get('format', '')[:20]!r}, not Framed; this program asks for FRAMED"
        )
    if about.get("process", "Scaled").lower() != "scaled":
        raise PositionError(
            f"the capture is {shown(about['process'])}, not Scaled, so its unit is unknown; this program asks for SCALED"
        )
    if not 0 < len(fields) <= _MAX_FIELDS:
        raise PositionError(f"the capture has {len(fields)} fields; set CAPTURE of the encoders at the PandA")
    names = [f"{name}.{capture}" for name, _, capture in fields]
    unknown = [kind for _, kind, _ in fields if kind not in _TYPES]
    if unknown or len(set(names)) < len(names):
        raise PositionError(f"the capture's fields have unknown types {unknown[:4]}, or repeated names")
    dtype = np.dtype([(name, _TYPES[kind]) for name, (_, kind, _) in zip(names, fields, strict=True)])
    announced = _whole(about.get("sample_bytes", str(dtype.itemsize)), "sample_bytes")
    if announced != dtype.itemsize:
        raise PositionError(f"the capture's fields take {dtype.itemsize} bytes, but {announced} are announced")
    return _CaptureHeader(dtype, _whole(about.get("missed", "0"), "missed"), about.get("arm_time", ""))


def _xml(text: bytes) -> tuple[dict[str, str], list[tuple[str, str, str]]]:
    if b"<!" in text:
        raise PositionError("the capture header declares XML entities, which a PandA never does")
    try:
        root = ElementTree.fromstring(text.strip())
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        raise PositionError(f"the capture header is not XML: {error}") from error
    data = root.find("data")
    about = {} if data is None else dict(data.attrib)
    fields = [(f.get("name", ""), f.get("type", ""), f.get("capture", "")) for f in root.findall("fields/field")]
    return about, fields


def _plain(text: bytes) -> tuple[dict[str, str], list[tuple[str, str, str]]]:
    about: dict[str, str] = {}
    fields: list[tuple[str, str, str]] = []
    for line in text.decode("utf-8", "replace").splitlines():
        found = _FIELD.fullmatch(line)
        if found is not None:
            fields.append((found["name"], found["type"], found["capture"]))
        elif ": " in line:
            key, _, value = line.partition(": ")
            about[key.strip()] = value.strip()
    return about, fields


def _whole(text: str, what: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > _MAX_DIGITS:
        raise PositionError(f"the capture header's {what} is {text[:20]!r}, not a number")
    return int(text)


def _chosen(dtype: np.dtype[np.void], channels: tuple[str, str]) -> tuple[str, str]:
    found = [_match(dtype, channel) for channel in channels]
    for channel, name in zip(channels, found, strict=True):
        if name is None:
            there = ", ".join(str(field)[:40] for field in (dtype.names or ())[:12])
            raise PositionError(
                f"the PandA does not capture exactly one {channel}; set [positions] channels to two of {there}"
            )
    return str(found[0]), str(found[1])


def _match(dtype: np.dtype[np.void], channel: str) -> str | None:
    names = dtype.names or ()
    if channel in names:
        return channel
    found = [name for name in names if name.rpartition(".")[0] == channel]
    return found[0] if len(found) == 1 else None


def _numbers(rows: NDArray[np.void], name: str) -> NDArray[np.float64]:
    return np.asarray(rows[name], np.float64)
