"""Bluesky documents over ZeroMQ: one part, ``PREFIX NAME DOCUMENT``, the document in JSON or msgpack.

A pickled document, the default of Bluesky's publisher, is refused and never loaded, since loading it would run code of the
sender. Arrays and numbers in msgpack may be those of ``msgpack_numpy``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.codecs.base import Part
from streams.errors import PositionError
from streams.untrusted import clean_text, read_json, read_msgpack, shown, storable

__all__ = ["MAX_SAMPLES", "about_run", "column", "first_number", "split_document", "stop_fault"]

MAX_SAMPLES = 1_000_000
"""Samples of one axis in a message or a range of a file: 8 MB."""
_MAX_MESSAGE_BYTES = 16 * 2**20
"""Size of one document; a page of a million samples in msgpack."""
_MAX_RUN_KEYS = 64
_MAX_RUN_BYTES = 16_384
"""Keys and characters that are kept of a start document, for the scan's record."""
_NAMES = ("start", "descriptor", "event", "event_page", "bulk_events", "resource", "datum", "datum_page",
          "stream_resource", "stream_datum", "stop")  # fmt: skip
_NUMBERS = frozenset((int, float))
_UNUSED = ("resource", "datum", "datum_page")


def split_document(part: Part) -> tuple[str, dict[str, object]]:
    """Return name and document of a message; ``{}`` for kinds that are not used. Raises :class:`PositionError`."""
    if len(part) > _MAX_MESSAGE_BYTES:
        raise PositionError(f"Bluesky message of {len(part)} bytes exceeds {_MAX_MESSAGE_BYTES}")
    pieces = bytes(part).split(b" ", 2)
    name = pieces[1].decode("ascii", "replace") if len(pieces) == 3 else ""
    if name not in _NAMES:
        raise PositionError(f"the message is not a Bluesky document (prefix, name, document): {bytes(part[:40])!r}")
    _refuse_pickle(name, pieces[2])
    if name in _UNUSED:
        return name, {}
    document = _read(pieces[2], name)
    if not isinstance(document, dict):
        raise PositionError(f"Bluesky {name} is not a map")
    return name, document


def _refuse_pickle(name: str, body: bytes) -> None:
    is_binary = len(body) > 1 and body[0] == 0x80  # in msgpack an empty map, after which nothing follows
    is_text = body[:1] in (b"(", b"c", b"}") and body.endswith(b".")
    if is_binary or is_text:
        raise PositionError(
            f"Bluesky {name} is pickled; pickles are never loaded. Give the Publisher serializer=msgpack.packb or JSON"
        )


def _read(body: bytes, name: str) -> Any:
    try:
        return read_json(body) if body[:1] == b"{" else read_msgpack(body)
    except ValueError as error:
        raise PositionError(f"Bluesky {name} is neither JSON nor msgpack: {str(error)[:80]}") from error


def column(value: object, is_page: bool, name: str) -> NDArray[np.float64]:
    """Return a data key's numbers ``(events,)``, or ``(events, samples)`` if each event has a list."""
    rows = _plain_rows(value)
    if not is_page:
        rows = [rows]
    if not isinstance(rows, list) or len(rows) > MAX_SAMPLES:
        raise PositionError(f"Bluesky {name} is not a list of at most {MAX_SAMPLES} events")
    if not _NUMBERS.issuperset(map(type, rows)):
        rows = [_plain_rows(row) for row in rows]
        flat = [item for row in rows for item in (row if isinstance(row, list) else [row])]
        if len(flat) > MAX_SAMPLES or not _NUMBERS.issuperset(map(type, flat)):
            raise PositionError(f"Bluesky {name} contains values that are not numbers; choose another key of the event")
    try:
        return np.array(rows, np.float64)
    except (ValueError, OverflowError) as error:
        raise PositionError(f"Bluesky {name}: {str(error)[:80]}") from error


def _plain_rows(value: object) -> object:
    """Return a number or array of ``msgpack_numpy`` as plain numbers; anything else unchanged."""
    if not isinstance(value, dict) or b"nd" not in value:
        return value
    kind, body, shape = str(value.get(b"type")), value.get(b"data"), value.get(b"shape", [])
    try:
        numbers = np.frombuffer(body if isinstance(body, bytes) else b"", np.dtype(kind))
        return numbers.reshape(shape).tolist() if numbers.dtype.kind in "iuf" else None
    except (TypeError, ValueError, OverflowError):
        return None


def first_number(numbers: object, count: int, is_page: bool) -> int:
    """Return the ``seq_num`` of the first event; those of a page must be consecutive."""
    found = numbers if is_page else [numbers]
    first = found[0] if isinstance(found, list) and found else None
    if not isinstance(first, int) or isinstance(first, bool) or first < 1 or not isinstance(found, list):
        raise PositionError("the Bluesky event has no seq_num from 1 on")
    if count != len(found) or found != list(range(first, first + count)):
        raise PositionError("the seq_num of a Bluesky event_page are not consecutive")
    return first


def about_run(document: dict[str, object]) -> dict[str, object]:
    """Return the content of a start document, as plain data of bounded size."""
    run: dict[str, object] = {}
    room = _MAX_RUN_BYTES
    for key, value in list(document.items())[:_MAX_RUN_KEYS]:
        kept, _ = storable(value)
        size = len(str(key)) + len(str(kept))
        if isinstance(key, str) and kept is not None and size <= room:
            run[clean_text(key)] = kept
            room -= size
    return run


def stop_fault(document: dict[str, object]) -> str | None:
    """Return the sentence for a run that failed; ``None`` for one that succeeded."""
    status = document.get("exit_status")
    if status in (None, "success"):
        return None
    reason = shown(document.get("reason") or "no reason given", 200)
    return f"the Bluesky run ended with {shown(status)}: {reason}"
