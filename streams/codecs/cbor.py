"""A strict CBOR reader (RFC 8949) for hostile input: views in place of copies, known tags only, everything bounded.

Byte strings come back as views into the message, so pixels are not copied; tags as :class:`Tagged`, uninterpreted.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from typing import Any, NamedTuple

__all__ = ["CborError", "Tagged", "loads"]

_MAX_DEPTH = 16
_MAX_ITEMS = 50_000
_BREAK = object()
_SIMPLE: dict[int, Any] = {20: False, 21: True, 22: None, 23: None}
_FLOATS = {25: struct.Struct(">e"), 26: struct.Struct(">f"), 27: struct.Struct(">d")}


class CborError(ValueError):
    """The bytes are no CBOR that this reader takes."""


class Tagged(NamedTuple):
    """A tag and what it stands on."""

    tag: int
    value: Any


def loads(data: bytes | memoryview, tags: Collection[int]) -> Any:
    """Return the one item that ``data`` holds, with no other tags than ``tags``; raise :class:`CborError`."""
    reader = _Reader(memoryview(data).cast("B"), tags)
    value = reader.item(0)
    if reader.offset != len(reader.data):
        raise CborError(f"{len(reader.data) - reader.offset} bytes after the end")
    return value


class _Reader:
    def __init__(self, data: memoryview, tags: Collection[int]) -> None:
        self.data = data
        self.offset = 0
        self._tags = tags
        self._items = 0

    def item(self, depth: int, may_break: bool = False) -> Any:
        self._items += 1
        if depth > _MAX_DEPTH or self._items > _MAX_ITEMS:
            raise CborError(f"more than {_MAX_DEPTH} levels or {_MAX_ITEMS} items")
        offset = self.offset
        if offset >= len(self.data):
            raise CborError("the message breaks off")
        initial = self.data[offset]
        self.offset = offset + 1
        if initial == 0xFF:
            if may_break:
                return _BREAK
            raise CborError("a break without a beginning")
        major, low = initial >> 5, initial & 31
        if major == 7:
            return self._simple(low)
        argument = low if low < 24 else self._argument(low)
        if argument is None:
            return self._indefinite(major, depth)
        return self._definite(major, argument, depth)

    def _definite(self, major: int, argument: int, depth: int) -> Any:
        if major == 0:
            return argument
        if major == 1:
            return -1 - argument
        if major == 2:
            return self._take(argument)
        if major == 3:
            return self._text(self._take(argument))
        if major == 4:
            self._check_room(argument)
            return [self.item(depth + 1) for _ in range(argument)]
        if major == 5:
            self._check_room(2 * argument)
            result: dict[str | int, Any] = {}
            for _ in range(argument):
                self._pair(result, self.item(depth + 1), depth)
            return result
        if argument not in self._tags:
            raise CborError(f"tag {argument} has no meaning here")
        return Tagged(argument, self.item(depth + 1))

    def _indefinite(self, major: int, depth: int) -> Any:
        if major in (2, 3):
            chunks = self._chunks(major)
            return chunks if major == 2 else self._text(chunks)
        if major == 4:
            items = []
            while (value := self.item(depth + 1, may_break=True)) is not _BREAK:
                items.append(value)
            return items
        if major == 5:
            result: dict[str | int, Any] = {}
            while (key := self.item(depth + 1, may_break=True)) is not _BREAK:
                self._pair(result, key, depth)
            return result
        raise CborError(f"major type {major} has no indefinite length")

    def _chunks(self, major: int) -> memoryview:
        chunks: list[memoryview] = []
        while True:
            self._items += 1
            initial = self._take(1)[0]
            if initial == 0xFF:
                return memoryview(b"".join(chunks))
            length = self._argument(initial & 31) if initial & 31 >= 24 else initial & 31
            if initial >> 5 != major or length is None or self._items > _MAX_ITEMS:
                raise CborError("a string in pieces holds something else")
            chunks.append(self._take(length))

    def _pair(self, result: dict[str | int, Any], key: Any, depth: int) -> None:
        if type(key) not in (str, int) or key in result:
            raise CborError("a map key is neither text nor number, or comes twice")
        result[key] = self.item(depth + 1)

    def _simple(self, low: int) -> Any:
        if low in _SIMPLE:
            return _SIMPLE[low]
        layout = _FLOATS.get(low)
        if layout is None:
            raise CborError(f"simple value {low} has no meaning here")
        return layout.unpack(self._take(layout.size))[0]

    def _argument(self, low: int) -> int | None:
        if low == 31:
            return None
        if low > 27:
            raise CborError(f"length code {low} is reserved")
        if low < 24:
            return low
        return int.from_bytes(self._take(1 << (low - 24)), "big")

    def _take(self, count: int) -> memoryview:
        start, stop = self.offset, self.offset + count
        if stop > len(self.data):
            raise CborError("the message breaks off")
        self.offset = stop
        return self.data[start:stop]

    def _check_room(self, items: int) -> None:
        if items > len(self.data) - self.offset:
            raise CborError("the message breaks off")

    def _text(self, view: memoryview) -> str:
        try:
            return str(view, "utf-8")
        except UnicodeDecodeError as error:
            raise CborError("a text is not UTF-8") from error
