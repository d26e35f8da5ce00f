"""Untrusted data of messages: reading, bounding and quoting it, for all codecs and position sources.

- :func:`read_json` and :func:`read_msgpack` read a message part; their text holds no lone surrogate.
- :func:`storable` keeps the values of a header that JSON, msgpack and HDF5 can hold, and names the others.
- :func:`shown` quotes a value for an error message.
- :func:`frame_count` reads the number of frames of a scan.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

import msgpack

__all__ = [
    "MAX_INDEX",
    "clean_text",
    "frame_count",
    "is_finite_number",
    "left_out_note",
    "read_json",
    "read_msgpack",
    "shown",
    "storable",
]

MAX_INDEX = 2**31 - 1
"""Largest frame index: a 32-bit whole number; at 10 kHz a scan reaches it after 59 hours."""
MIN_WHOLE, MAX_WHOLE = -(2**63), 2**64 - 1
"""Whole numbers that msgpack and HDF5 can hold."""
MAX_TEXT = 4096
"""Characters of one text of a header; an attribute of an HDF5 file holds 64 KiB in all."""
MAX_DEPTH = 8
"""Levels of nesting that are kept of a header; real ones have up to four."""
MAX_VALUES = 4096
"""Values that are kept of one header; arrays are sent as bytes, not as values."""
_MAX_DIGITS = 400
"""Longer whole numbers are read as infinite: Python takes quadratic time and refuses more than 4300 digits."""
_NAMED = 4
"""Values that a note names; the others are counted."""
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")

Buffer = bytes | memoryview


def clean_text(text: str) -> str:
    """Return a text with U+FFFD for each lone surrogate and control character, except tab and line ends."""
    return text if text.isprintable() else _UNFIT.sub("\ufffd", text)


def shown(value: object, limit: int = 40) -> str:
    """Return a short quotation of an untrusted value for an error message."""
    if isinstance(value, str):
        return clean_text(value[:limit])
    if isinstance(value, int) and value.bit_length() > 64:
        return "a number beyond 64 bits"
    if value is None or isinstance(value, bool | int | float):
        return str(value)[:limit]
    if isinstance(value, list | tuple | dict):
        return "a map" if isinstance(value, dict) else "a list"
    return "bytes" if isinstance(value, bytes | memoryview) else "something else"


def is_finite_number(value: object) -> bool:
    """Whether a value is a number, not a bool, that fits a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return value.bit_length() <= 1023 if isinstance(value, int) else math.isfinite(value)


def _whole(digits: str) -> float:
    return int(digits) if len(digits) <= _MAX_DIGITS else math.inf


_JSON = json.JSONDecoder()
_JSON_OF_LONG_NUMBERS = json.JSONDecoder(parse_int=_whole)
_LONG_NUMBER = re.compile(rf"\d{{{_MAX_DIGITS}}}")


def read_json(part: Buffer) -> Any:
    """Return the value in a part of JSON. Raises ``ValueError`` if it is not JSON.

    Bytes that are not UTF-8 become U+FFFD if the part ends like a map or a list.
    """
    try:
        text = str(part, "utf-8")
    except UnicodeDecodeError:
        if bytes(part[-16:]).rstrip()[-1:] not in (b"}", b"]"):
            raise
        text = str(part, "utf-8", "replace")
    try:
        value = _decoded(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return _cleaned(value, 0) if "\\" in text else value  # only an escape can produce what UTF-8 cannot hold


def _decoded(text: str) -> Any:
    try:
        return _JSON.decode(text)
    except ValueError:
        if _LONG_NUMBER.search(text) is None:
            raise
        return _JSON_OF_LONG_NUMBERS.decode(text)


def _cleaned(value: Any, depth: int) -> Any:
    """Return a tree with every text and key cleaned; deeper levels than any header has are cut off."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list | dict) and depth > 100:
        return None
    if isinstance(value, list):
        return [_cleaned(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {clean_text(key): _cleaned(item, depth + 1) for key, item in value.items()}
    return value


_MSGPACK: dict[str, Any] = {
    "unicode_errors": "replace",
    "strict_map_key": False,
    "ext_hook": lambda _code, _data: None,
}


def read_msgpack(part: Buffer) -> Any:
    """Return the value in a part of msgpack. Raises ``ValueError`` if it is not msgpack.

    Text that is not UTF-8 gets U+FFFD; an extension type, or a key that is a list or a map, is read as ``None``.
    """
    try:
        try:
            return msgpack.unpackb(part, **_MSGPACK)
        except TypeError:  # a key that cannot be hashed
            return msgpack.unpackb(part, object_pairs_hook=_hashable, **_MSGPACK)
    except (ValueError, TypeError, RecursionError, OverflowError, msgpack.UnpackException) as error:
        raise ValueError(shown(str(error), 80) or type(error).__name__) from error


def _hashable(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    return {None if isinstance(key, list | dict) else key: value for key, value in pairs}


def frame_count(value: object, notes: list[str]) -> int | None:
    """Return the number of frames in a header; ``None`` if it is 0 or missing, or, with a note, if it is impossible."""
    if value is None or value is False or value == 0:
        return None
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    if isinstance(number, int) and not isinstance(number, bool) and 0 < number <= MAX_INDEX + 1:
        return number
    notes.append(
        f"the stream's header announces {shown(value)} as number of frames, which is impossible; it is not used"
    )
    return None


def storable(value: object, name: str = "") -> tuple[Any, list[str]]:
    """Return a value as plain data of bounded size, and the names of the omitted values, ``name (cause)`` each.

    Plain data are text, finite numbers, bools, lists and text-keyed maps; an omitted value of a list becomes ``None``.
    """
    reader = _Storable()
    kept = reader.value(value, name, 0)
    return kept, reader.left_out


def left_out_note(left_out: list[str]) -> str:
    """Return the sentence that names the omitted values of a header."""
    more = len(left_out) - _NAMED
    tail = f" and {more} more" if more > 0 else ""
    return f"these values of the stream's header are not kept: {', '.join(left_out[:_NAMED])}{tail}"


class _Storable:
    def __init__(self) -> None:
        self.left_out: list[str] = []
        self._values = 0

    def value(self, value: object, name: str, depth: int) -> Any:
        self._values += 1
        if isinstance(value, str):
            return self._text(value, name)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return value if MIN_WHOLE <= value <= MAX_WHOLE else self._leave(name, "a number beyond 64 bits")
        if isinstance(value, float):
            return value if math.isfinite(value) else self._leave(name, "not a finite number")
        if not isinstance(value, list | tuple | dict):
            return self._leave(name, "not text, number, list or map")
        if depth >= MAX_DEPTH:
            return self._leave(name, f"nested deeper than {MAX_DEPTH} levels")
        if self._values + len(value) > MAX_VALUES:
            return self._leave(name, f"more than {MAX_VALUES} values")
        return self._map(value, name, depth) if isinstance(value, dict) else self._list(value, name, depth)

    def _list(self, items: list[Any] | tuple[Any, ...], name: str, depth: int) -> list[Any]:
        return [self.value(item, f"{name}[{number}]", depth + 1) for number, item in enumerate(items)]

    def _map(self, found: dict[Any, Any], name: str, depth: int) -> dict[str, object]:
        kept: dict[str, object] = {}
        for key, item in found.items():
            if not isinstance(key, str):
                self._leave(f"{name}.{shown(key)}".lstrip("."), "its key is not a string")
                continue
            whole_name = f"{name}.{shown(key)}" if name else shown(key)
            before = len(self.left_out)
            value = self.value(item, whole_name, depth + 1)
            if value is not None or len(self.left_out) == before:
                kept[clean_text(key)[:MAX_TEXT]] = value
        return kept

    def _text(self, text: str, name: str) -> str:
        if len(text) > MAX_TEXT:
            self._leave(name, f"all but the first {MAX_TEXT} characters")
        return clean_text(text[:MAX_TEXT])

    def _leave(self, name: str, why: str) -> None:
        self.left_out.append(f"{name[:80] or 'all of it'} ({why})")
