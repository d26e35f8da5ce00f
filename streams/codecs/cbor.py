"""A CBOR reader (RFC 8949) for untrusted input: views instead of copies, all sizes bounded, unknown values skipped.

Byte strings are returned as views into the message, so pixels are not copied. Tags are returned as :class:`Tagged`; the tag
"this is CBOR" is removed. Long or deeply nested lists and maps, and unknown simple values, become ``SKIPPED`` and use no
memory. ``MAX_VALUES`` applies to each value of the message's map separately, so a long one does not shorten the next.
"""

from __future__ import annotations

import re
import struct
from enum import Enum
from typing import Any, Final, NamedTuple

__all__ = ["MAX_VALUES", "SELF_DESCRIBED", "SKIPPED", "CborError", "Skipped", "Tagged", "loads", "value_spans"]

SELF_DESCRIBED: Final = b"\xd9\xd9\xf7"
"""Tag 55799, with which every message of a real detector begins."""
MAX_VALUES = 4096
"""Values that are read within one value of the message; pixels and tables are one byte string each."""
_MAX_KEYS = 1024
"""Keys of the message's map; a detector's start message has about 50."""
_MAX_DEPTH = 16
"""Levels of nesting that are read; an image has six."""
_MAX_SKIPPED = 1_000_000
"""Values skipped in one message, about a second of work; a value in a long plain list counts as a tenth."""
_MAX_LEVELS_SKIPPED = 10_000
"""Levels of nesting in a skipped value; each takes 8 bytes of memory."""
_SELF_DESCRIBED_TAG = 55799
_BREAK = object()
_SIMPLE: dict[int, Any] = {20: False, 21: True, 22: None, 23: None}
_FLOATS = {25: struct.Struct(">e"), 26: struct.Struct(">f"), 27: struct.Struct(">d")}
_WHOLE = {24 + i: struct.Struct(f">{code}").unpack_from for i, code in enumerate("BHIQ")}
_SKIPPED_AT_ONCE = 1024
"""Values that one regular expression skips."""
_NUMBER = r"[\x00-\x17\x20-\x37\xe0-\xf7]|[\x18\x38\xf8].|[\x19\x39\xf9]..|[\x1a\x3a\xfa].{4}|[\x1b\x3b\xfb].{8}"
_STRING = "|".join(rf"[\x{0x40 + size:02x}\x{0x60 + size:02x}].{{{size}}}" for size in range(24))
_ROW = "|".join(rf"\x{0x80 + size:02x}(?:{_NUMBER}){{{size}}}" for size in range(1, 5))
_VALUES = re.compile(f"(?s:{_NUMBER}|{_STRING}|{_ROW}){{{_SKIPPED_AT_ONCE}}}+".encode())
"""That number of numbers, short strings or short rows of numbers: the content of long lists."""


class CborError(ValueError):
    """The bytes are not CBOR that this reader accepts."""


class Skipped(Enum):
    """The type of ``SKIPPED``, which replaces a skipped value or key."""

    SKIPPED = "skipped"


SKIPPED: Final = Skipped.SKIPPED


class Tagged(NamedTuple):
    """A tag and its value."""

    tag: int
    value: Any


def loads(data: bytes | memoryview) -> Any:
    """Return the one item in ``data``. Raises :class:`CborError` for damaged data and for data beyond all bounds."""
    reader = _Reader(memoryview(data).cast("B"))
    value = reader.item(0)
    if reader.offset != len(reader.data):
        raise CborError(f"{len(reader.data) - reader.offset} bytes after the end")
    return value


def value_spans(data: memoryview) -> dict[str, tuple[int, int]] | None:
    """Return where each value of a message's map begins and ends, by its key; None where a key is double or no text.

    ``data`` is a message that :func:`loads` has read.
    """
    reader = _Reader(data)
    if bytes(data[:3]) == SELF_DESCRIBED:
        reader.offset = 3
    initial = data[reader.offset]
    if not 0xA0 <= initial < 0xB8:
        return None
    reader.offset += 1
    spans: dict[str, tuple[int, int]] = {}
    for _ in range(initial & 31):
        key, begin = reader.item(1), reader.offset
        reader.item(1)
        if not isinstance(key, str) or key in spans:
            return None
        spans[key] = begin, reader.offset
    return spans


class _Reader:
    """Reads one message. ``item`` reads what is frequent in one piece: a receiver reads thousands of messages a second."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.offset = 0
        self._end = len(data)
        self._values = 0
        self._skipped = 0

    def item(self, depth: int, may_break: bool = False) -> Any:
        self._values += 1
        begin = self.offset
        if begin >= self._end:
            raise CborError("the message is cut off")
        initial = self.data[begin]
        self.offset = begin + 1
        if initial < 0x18:
            return initial
        if 0x60 <= initial < 0x78:
            stop = self.offset = begin + initial - 0x5F
            if stop > self._end:
                raise CborError("the message is cut off")
            return self.data[begin + 1 : stop].tobytes().decode("utf-8", "replace")
        if initial == 0xFF:
            if may_break:
                return _BREAK
            raise CborError("a break outside of a list or map")
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
        return piece if major == 2 else piece.tobytes().decode("utf-8", "replace")

    def _compound(self, major: int, argument: int | None, depth: int) -> Any:
        """Return a list, a map or a tagged value."""
        if major == 6:
            if argument is None:
                raise CborError("a tag has no indefinite length")
            if depth >= _MAX_DEPTH:
                return self._skip(1)
            value = self.item(depth + 1)
            return value if argument == _SELF_DESCRIBED_TAG else Tagged(argument, value)
        count = None if argument is None else argument * (major - 3)
        if count is not None and count > self._end - self.offset:
            raise CborError("the message is cut off")
        if depth >= _MAX_DEPTH or self._values + (count or 0) > MAX_VALUES:
            return self._skip(count)
        if argument is None:
            return self._open_list(depth) if major == 4 else self._open_map(depth)
        if major == 4:
            return [self.item(depth + 1) for _ in range(argument)]
        return self._map(argument, depth)

    def _open_list(self, depth: int) -> Any:
        """Return a list up to its break."""
        items, before = [], self._values
        while (value := self.item(depth + 1, may_break=True)) is not _BREAK:
            items.append(value)
            if self._values > MAX_VALUES:
                self._values = before
                return self._skip(None)
        return items

    def _map(self, count: int, depth: int) -> dict[Any, Any]:
        """Return a map of so many pairs."""
        if depth == 0 and count > _MAX_KEYS:
            raise CborError(f"more than {_MAX_KEYS} keys")
        result: dict[Any, Any] = {}
        for _ in range(count):
            key = self.item(depth + 1)
            if type(key) is not str and type(key) is not int:
                key = SKIPPED
            if depth == 0:
                self._values = 0
            result[key] = self.item(depth + 1)
        return result

    def _open_map(self, depth: int) -> Any:
        """Return a map up to its break."""
        result: dict[Any, Any] = {}
        pairs, before = 0, self._values
        while (key := self.item(depth + 1, may_break=True)) is not _BREAK:
            if type(key) is not str and type(key) is not int:
                key = SKIPPED
            if depth == 0:
                self._values = 0
            result[key] = self.item(depth + 1)
            pairs += 1
            if depth == 0 and pairs > _MAX_KEYS:
                raise CborError(f"more than {_MAX_KEYS} keys")
            if depth and self._values > MAX_VALUES:
                self._values = before
                return self._skip(None)
        return result

    def _pieces(self, major: int) -> Any:
        """Return a string that was sent in pieces."""
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
        self._argument(low)  # a value without a meaning here
        return SKIPPED

    def _argument(self, low: int) -> int | None:
        if low < 24:
            return low
        if low > 27:
            if low == 31:
                return None
            raise CborError(f"length code {low} is reserved")
        begin = self.offset
        stop = self.offset = begin + (1 << (low - 24))
        if stop > self._end:
            raise CborError("the message is cut off")
        number: int = _WHOLE[low](self.data, begin)[0]
        return number

    def _take(self, count: int) -> memoryview:
        begin = self.offset
        stop = self.offset = begin + count
        if stop > self._end:
            raise CborError("the message is cut off")
        return self.data[begin:stop]

    def _skip(self, count: int | None) -> Skipped:
        """Skip ``count`` values, or up to the break, at any depth, without keeping any."""
        due: list[int] = [-1 if count is None else count]  # values left in each open level; negative: up to its break
        while due:
            if due[-1] == 0:
                due.pop()
            elif not self._skip_many(due):
                self._skip_one(due)
        return SKIPPED

    def _skip_many(self, due: list[int]) -> bool:
        """Skip many simple values at once, if that many follow."""
        if 0 <= due[-1] < _SKIPPED_AT_ONCE or (found := _VALUES.match(self.data, self.offset)) is None:
            return False
        self.offset = found.end()
        self._spend(_SKIPPED_AT_ONCE // 10)
        if due[-1] > 0:
            due[-1] -= _SKIPPED_AT_ONCE
        return True

    def _skip_one(self, due: list[int]) -> None:
        """Skip the head of one value; its content is skipped next."""
        self._spend(1)
        if len(due) > _MAX_LEVELS_SKIPPED:
            raise CborError(f"more than {_MAX_LEVELS_SKIPPED} levels")
        initial = self._take(1)[0]
        if initial == 0xFF:
            if due.pop() >= 0:
                raise CborError("a break outside of a list or map")
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
            raise CborError(f"more than {_MAX_SKIPPED} values to skip")
