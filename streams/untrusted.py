"""The border: what anybody may have sent is read, bounded and quoted here, once, for every codec and position source.

- :func:`read_json` and :func:`read_msgpack` read a message part; their text holds no lone surrogate.
- :func:`storable` keeps of a header what JSON, msgpack and HDF5 can hold, and names what it leaves out.
- :func:`shown` quotes a value in an error's sentence.
- :func:`frame_count` reads how many frames a scan has.
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
MIN_WHOLE, MAX_WHOLE = -(2**63), 2**64 - 1
"""Whole numbers that msgpack and HDF5 can hold."""
MAX_TEXT = 4096
"""Characters of one text of a header; an attribute of an HDF5 file holds 64 KiB in all."""
MAX_DEPTH = 8
MAX_VALUES = 4096
"""Values that are kept of one header; a header describes a scan, and arrays come as bytes."""
_MAX_DIGITS = 400
"""Longer whole numbers are read as infinite: Python refuses those of more than 4300 digits, in quadratic time."""
_NAMED = 4
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")

Buffer = bytes | memoryview


def clean_text(text: str) -> str:
    """Return a text with U+FFFD for each lone surrogate, NUL and control character but tab and line ends."""
    return text if text.isprintable() else _UNFIT.sub("\ufffd", text)


def shown(value: object, limit: int = 40) -> str:
    """Return a short quotation of a value from outside, fit for an error's sentence."""
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
    """Whether a value is a number, no bool, that a float holds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return value.bit_length() <= 1023 if isinstance(value, int) else math.isfinite(value)


def _whole(digits: str) -> float:
    return int(digits) if len(digits) <= _MAX_DIGITS else math.inf


_JSON = json.JSONDecoder()
_JSON_OF_LONG_NUMBERS = json.JSONDecoder(parse_int=_whole)
_LONG_NUMBER = re.compile(rf"\d{{{_MAX_DIGITS}}}")


def read_json(part: Buffer) -> Any:
    """Return what a part of JSON holds; raise ``ValueError`` where it is no JSON.

    Bytes that are not UTF-8 become U+FFFD, where the part ends as a map or a list does.
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
        raise ValueError("it is nested too deep") from error
    return _cleaned(value, 0) if "\\" in text else value  # an escape alone can make what UTF-8 cannot hold


def _decoded(text: str) -> Any:
    try:
        return _JSON.decode(text)
    except ValueError:
        if _LONG_NUMBER.search(text) is None:
            raise
        return _JSON_OF_LONG_NUMBERS.decode(text)


def _cleaned(value: Any, depth: int) -> Any:
    """Return a tree with every text clean, keys too; what is nested deeper than any header is cut off."""
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
    """Return what a part of msgpack holds; raise ``ValueError`` where it is none.

    Text that is not UTF-8 gets U+FFFD; an extension type, or a key that is a list or a map, is read as ``None``.
    """
    try:
        try:
            return msgpack.unpackb(part, **_MSGPACK)
        except TypeError:  # a key that no map can have
            return msgpack.unpackb(part, object_pairs_hook=_hashable, **_MSGPACK)
    except (ValueError, TypeError, RecursionError, OverflowError, msgpack.UnpackException) as error:
        raise ValueError(shown(str(error), 80) or type(error).__name__) from error


def _hashable(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    return {None if isinstance(key, list | dict) else key: value for key, value in pairs}


def frame_count(value: object, notes: list[str]) -> int | None:
    """Return how many frames a header announces; ``None`` where it says 0 or nothing, or, with a note, what cannot be."""
    if value is None or value is False or value == 0:
        return None
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    if isinstance(number, int) and not isinstance(number, bool) and 0 < number <= MAX_INDEX + 1:
        return number
    notes.append(f"the stream's header announces {shown(value)} as number of frames, which cannot be; it is not used")
    return None


def storable(value: object, name: str = "") -> tuple[Any, list[str]]:
    """Return a value as plain data of bounded size, and what was left out, ``name (why)`` each.

    Plain data are text, finite numbers, bools, lists and text-keyed maps, with ``None`` for what is left out of a list.
    """
    reader = _Storable()
    kept = reader.value(value, name, 0)
    return kept, reader.left_out


def left_out_note(left_out: list[str]) -> str:
    """Return the sentence that says what of a header is not kept."""
    more = len(left_out) - _NAMED
    tail = f" and {more} more" if more > 0 else ""
    return f"of the stream's header this is not kept: {', '.join(left_out[:_NAMED])}{tail}"


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
                self._leave(f"{name}.{shown(key)}".lstrip("."), "its key is not a text")
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
