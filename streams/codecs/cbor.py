"""A CBOR reader (RFC 8949) for hostile input: views in place of copies, everything bounded, unknown things passed over.

Byte strings come back as views into the message, so pixels are not copied; tags as :class:`Tagged`, uninterpreted, but
for the one that says "this is CBOR", which stands for nothing. What is of no use is ``SKIPPED`` and costs no memory: lists
and maps that are long or nested deep, and simple values without a meaning. Each value of the message's own map has
``MAX_VALUES`` of its own, so that a long one takes nothing from the next.
"""

from __future__ import annotations

import re
import struct
from enum import Enum
from typing import Any, Final, NamedTuple

__all__ = ["MAX_VALUES", "SELF_DESCRIBED", "SKIPPED", "CborError", "Skipped", "Tagged", "loads"]

SELF_DESCRIBED: Final = b"\xd9\xd9\xf7"
"""Tag 55799, with which every message of a real detector begins."""
MAX_VALUES = 4096
"""Values that are read of one value of the message; pixels and tables are one byte string each."""
_MAX_KEYS = 1024
_MAX_DEPTH = 16
_MAX_SKIPPED = 1_000_000
"""Values that are passed over in one message, about a second's work; a value of a long plain list counts a tenth."""
_MAX_LEVELS_SKIPPED = 10_000
_SELF_DESCRIBED_TAG = 55799
_BREAK = object()
_SIMPLE: dict[int, Any] = {20: False, 21: True, 22: None, 23: None}
_FLOATS = {25: struct.Struct(">e"), 26: struct.Struct(">f"), 27: struct.Struct(">d")}
_RUN = 1024
_NUMBER = r"[\x00-\x17\x20-\x37\xe0-\xf7]|[\x18\x38\xf8].|[\x19\x39\xf9]..|[\x1a\x3a\xfa].{4}|[\x1b\x3b\xfb].{8}"
_STRING = "|".join(rf"[\x{0x40 + size:02x}\x{0x60 + size:02x}].{{{size}}}" for size in range(24))
_ROW = "|".join(rf"\x{0x80 + size:02x}(?:{_NUMBER}){{{size}}}" for size in range(1, 5))
_VALUES = re.compile(f"(?s:{_NUMBER}|{_STRING}|{_ROW}){{{_RUN}}}+".encode())
"""So many numbers, short strings and short rows of numbers, which is what long lists are made of."""


class CborError(ValueError):
    """The bytes are no CBOR that this reader takes."""


class Skipped(Enum):
    """The type of ``SKIPPED``, which stands for a value, or a key, that was passed over."""

    SKIPPED = "skipped"


SKIPPED: Final = Skipped.SKIPPED


class Tagged(NamedTuple):
    """A tag and what it stands on."""

    tag: int
    value: Any


def loads(data: bytes | memoryview) -> Any:
    """Return the one item that ``data`` holds; raise :class:`CborError` for damage and for what exceeds every bound."""
    reader = _Reader(memoryview(data).cast("B"))
    value = reader.item(0)
    if reader.offset != len(reader.data):
        raise CborError(f"{len(reader.data) - reader.offset} bytes after the end")
    return value


class _Reader:
    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.offset = 0
        self._values = 0
        self._skipped = 0

    def item(self, depth: int, may_break: bool = False) -> Any:
        self._values += 1
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
        if major >= 4:
            return self._compound(major, argument, depth)
        if argument is None:
            return self._pieces(major)
        if major == 0:
            return argument
        if major == 1:
            return -1 - argument
        piece = self._take(argument)
        return piece if major == 2 else str(piece, "utf-8", "replace")

    def _compound(self, major: int, argument: int | None, depth: int) -> Any:
        """Return a list, a map or what a tag stands on."""
        if major == 6:
            if argument is None:
                raise CborError("a tag has no indefinite length")
            if depth >= _MAX_DEPTH:
                return self._pass_over(1)
            value = self.item(depth + 1)
            return value if argument == _SELF_DESCRIBED_TAG else Tagged(argument, value)
        count = None if argument is None else argument * (major - 3)
        if count is not None and count > len(self.data) - self.offset:
            raise CborError("the message breaks off")
        if depth >= _MAX_DEPTH or self._values + (count or 0) > MAX_VALUES:
            return self._pass_over(count)
        return self._list(count, depth) if major == 4 else self._map(argument, depth)

    def _list(self, count: int | None, depth: int) -> Any:
        if count is not None:
            return [self.item(depth + 1) for _ in range(count)]
        items, before = [], self._values
        while (value := self.item(depth + 1, may_break=True)) is not _BREAK:
            items.append(value)
            if self._values > MAX_VALUES:
                self._values = before
                return self._pass_over(None)
        return items

    def _map(self, count: int | None, depth: int) -> Any:
        result: dict[Any, Any] = {}
        pairs, before = 0, self._values
        while pairs != count:
            key = self.item(depth + 1, may_break=count is None)
            if key is _BREAK:
                break
            if type(key) not in (str, int):
                key = SKIPPED
            if depth == 0:
                self._values = 0
            result[key] = self.item(depth + 1)
            pairs += 1
            if depth == 0 and pairs > _MAX_KEYS:
                raise CborError(f"more than {_MAX_KEYS} keys")
            if count is None and depth and self._values > MAX_VALUES:
                self._values = before
                return self._pass_over(None)
        return result

    def _pieces(self, major: int) -> Any:
        """Return a string in pieces, put together."""
        if major < 2:
            raise CborError(f"major type {major} has no indefinite length")
        pieces: list[memoryview] = []
        while True:
            initial = self._take(1)[0]
            if initial == 0xFF:
                break
            length = self._argument(initial & 31) if initial & 31 >= 24 else initial & 31
            if initial >> 5 != major or length is None or len(pieces) >= MAX_VALUES:
                raise CborError("a string in pieces holds something else, or too many pieces")
            pieces.append(self._take(length))
        whole = b"".join(pieces)
        return memoryview(whole) if major == 2 else str(whole, "utf-8", "replace")

    def _simple(self, low: int) -> Any:
        if low in _SIMPLE:
            return _SIMPLE[low]
        layout = _FLOATS.get(low)
        if layout is not None:
            return layout.unpack(self._take(layout.size))[0]
        self._argument(low)  # of what this reader gives no meaning
        return SKIPPED

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

    def _pass_over(self, count: int | None) -> Skipped:
        """Pass over so many values, or up to the break, however deep they are, without keeping any."""
        due: list[int] = [-1 if count is None else count]  # of each level that is open; below 0: up to its break
        while due:
            if due[-1] == 0:
                due.pop()
            elif not self._pass_run(due):
                self._pass_one(due)
        return SKIPPED

    def _pass_run(self, due: list[int]) -> bool:
        """Pass over many simple values at once, where that many come."""
        if 0 <= due[-1] < _RUN or (found := _VALUES.match(self.data, self.offset)) is None:
            return False
        self.offset = found.end()
        self._spend(_RUN // 10)
        if due[-1] > 0:
            due[-1] -= _RUN
        return True

    def _pass_one(self, due: list[int]) -> None:
        """Pass over the beginning of one value; what is in it is due next."""
        self._spend(1)
        if len(due) > _MAX_LEVELS_SKIPPED:
            raise CborError(f"more than {_MAX_LEVELS_SKIPPED} levels")
        initial = self._take(1)[0]
        if initial == 0xFF:
            if due.pop() >= 0:
                raise CborError("a break without a beginning")
            return
        major, low = initial >> 5, initial & 31
        argument = self._argument(low)
        if major != 6 and due[-1] > 0:
            due[-1] -= 1
        if argument is None:
            if major in (0, 1, 6, 7):
                raise CborError(f"major type {major} has no indefinite length")
            due.append(-1)
        elif major in (2, 3):
            self._take(argument)
        elif major in (4, 5):
            due.append(argument * (major - 3))

    def _spend(self, values: int) -> None:
        self._skipped += values
        if self._skipped > _MAX_SKIPPED:
            raise CborError(f"more than {_MAX_SKIPPED} values without a use")
