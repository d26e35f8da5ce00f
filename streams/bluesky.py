"""Bluesky documents over ZeroMQ: positions from events, and what the run says of itself.

A message is one part: ``PREFIX NAME DOCUMENT``, the document in JSON or msgpack. A pickled one, which is what Bluesky's
publisher makes by default, is refused by name and never loaded, since loading it would run whatever the sender likes.

``start`` begins a run and ``stop`` ends it. Event ``seq_num`` k (from 1) holds sample k - 1 where the two data keys are
numbers, or the next n samples where they are lists of n. Events of other streams, without the two keys, are passed over.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from streams.codecs.base import Part, plain
from streams.errors import PositionError
from streams.frame import PositionNews
from streams.samples import Sampler, SourceOptions

__all__ = ["BlueskyReader", "split_document"]

_MAX_MESSAGE_BYTES = 16 * 2**20
_MAX_SAMPLES = 1_000_000
_MAX_DESCRIPTORS = 64
_MAX_RUN_KEYS = 64
_MAX_RUN_BYTES = 16_384
_NAMES = ("start", "descriptor", "event", "event_page", "bulk_events", "resource", "datum", "datum_page",
          "stream_resource", "stream_datum", "stop")  # fmt: skip
_USED = ("start", "descriptor", "event", "event_page", "stop")


class BlueskyReader:
    """Reads one stream of documents. Without ``options`` only runs are told, no positions."""

    def __init__(self, options: SourceOptions | None) -> None:
        self._options = options
        self._sampler = Sampler(options or SourceOptions(("", "")))
        self._sizes: OrderedDict[str, int] = OrderedDict()

    def parse(self, parts: Sequence[Part]) -> PositionNews:
        """Read one message. Raises :class:`PositionError` for one that is refused."""
        if len(parts) != 1:
            raise PositionError(f"a Bluesky message is one part, not {len(parts)}; check [positions] source")
        name, document = split_document(parts[0])
        if name == "start":
            self._sampler.begin()
            self._sizes.clear()
            return self._news(begins=True, run=_run(document))
        if name == "stop":
            return self._news(ends=True, fault=_failure(document))
        if name in ("event", "event_page") and self._options is not None:
            return self._event(document, is_page=name == "event_page")
        return self._news()

    def _event(self, document: dict[str, Any], is_page: bool) -> PositionNews:
        data, numbers, options = document.get("data"), document.get("seq_num"), self._options
        if not isinstance(data, dict) or options is None:
            raise PositionError("Bluesky event without data")
        missing = [name for name in options.channels if name not in data]
        if missing:
            return self._news(fault=self._lacks(missing, data))
        y, x = (_column(data[name], is_page, name) for name in options.channels)
        if y.shape != x.shape:
            raise PositionError(f"Bluesky event: {' and '.join(options.channels)} are not of one length")
        first = _first_number(numbers, len(y), is_page)
        size = self._size_of(document, y)
        positions = self._sampler.add((first - 1) * size, np.stack([y.reshape(-1), x.reshape(-1)], axis=-1), None)
        return self._news(positions=positions)

    def _size_of(self, document: dict[str, Any], column: NDArray[np.float64]) -> int:
        """Return the samples of one event, which must stay the same within a stream of events."""
        size = int(np.prod(column.shape[1:]))
        stream = str(document.get("descriptor"))[:64]
        if self._sizes.setdefault(stream, size) != size:
            raise PositionError(f"Bluesky event with {size} samples where the others have {self._sizes[stream]}")
        if len(self._sizes) > _MAX_DESCRIPTORS:
            self._sizes.popitem(last=False)
        return size

    def _lacks(self, missing: list[str], data: dict[str, Any]) -> str | None:
        """Return what is wrong if an event has one key but not the other; one with neither is of another stream."""
        if len(missing) == 2:
            return None
        there = ", ".join(str(key)[:40] for key in list(data)[:12])
        return f"Bluesky events hold no {missing[0]}; correct [positions] channels to two of {there}"

    def _news(self, **what: Any) -> PositionNews:
        sampler = self._sampler
        per_frame = 1 if self._options is None else self._options.samples_per_frame
        return PositionNews(samples=sampler.samples, samples_lost=sampler.lost, samples_per_frame=per_frame, **what)


def split_document(part: Part) -> tuple[str, dict[str, Any]]:
    """Return name and document of a message; ``{}`` for kinds that mean nothing here. Raises :class:`PositionError`."""
    if len(part) > _MAX_MESSAGE_BYTES:
        raise PositionError(f"Bluesky message of {len(part)} bytes exceeds {_MAX_MESSAGE_BYTES}")
    pieces = bytes(part).split(b" ", 2)
    name = pieces[1].decode("ascii", "replace") if len(pieces) == 3 else ""
    if name not in _NAMES:
        raise PositionError(f"a message is no Bluesky document (prefix, name, document): {bytes(part[:40])!r}")
    _refuse_pickle(name, pieces[2])
    if name not in _USED:
        return name, {}
    document = _read(pieces[2], name)
    if not isinstance(document, dict):
        raise PositionError(f"Bluesky {name} is not a map")
    return name, document


def _refuse_pickle(name: str, body: bytes) -> None:
    is_binary = len(body) > 1 and body[0] == 0x80  # in msgpack an empty map, which nothing follows
    is_text = body[:1] in (b"(", b"c", b"}") and body.endswith(b".")
    if is_binary or is_text:
        raise PositionError(
            f"Bluesky {name} is pickled, which is never loaded; give the Publisher serializer=msgpack.packb or JSON"
        )


def _read(body: bytes, name: str) -> Any:
    try:
        if body[:1] == b"{":
            return json.loads(body)
        return msgpack.unpackb(body, max_ext_len=0)
    except (ValueError, TypeError, RecursionError, OverflowError, msgpack.UnpackException) as error:
        raise PositionError(f"Bluesky {name} is neither JSON nor msgpack: {str(error)[:80]}") from error


def _column(value: object, is_page: bool, name: str) -> NDArray[np.float64]:
    """Return a data key's numbers ``(events,)``, or ``(events, samples)`` where each event holds a list."""
    rows = value if is_page else [value]
    if not isinstance(rows, list) or len(rows) > _MAX_SAMPLES:
        raise PositionError(f"Bluesky {name} is not a list of at most {_MAX_SAMPLES} events")
    flat = [item for row in rows for item in (row if isinstance(row, list) else [row])]
    if len(flat) > _MAX_SAMPLES or not all(type(item) in (int, float) for item in flat):
        raise PositionError(f"Bluesky {name} holds something else than numbers; take another of the event's keys")
    try:
        return np.array(rows, np.float64)
    except (ValueError, OverflowError) as error:
        raise PositionError(f"Bluesky {name}: {str(error)[:80]}") from error


def _first_number(numbers: object, count: int, is_page: bool) -> int:
    """Return the ``seq_num`` of the first event; those of a page follow one another."""
    found = numbers if is_page else [numbers]
    first = found[0] if isinstance(found, list) and found else None
    if not isinstance(first, int) or isinstance(first, bool) or first < 1 or not isinstance(found, list):
        raise PositionError("Bluesky event without a seq_num from 1")
    if count != len(found) or any(number != first + k for k, number in enumerate(found)):
        raise PositionError("Bluesky event_page whose seq_num do not follow one another")
    return first


def _run(document: dict[str, Any]) -> dict[str, Any]:
    """Return what a start says, as plain data of bounded size."""
    run: dict[str, Any] = {}
    room = _MAX_RUN_BYTES
    for key, value in list(document.items())[:_MAX_RUN_KEYS]:
        kept = plain(value)
        size = len(str(key)) + len(str(kept))
        if isinstance(key, str) and kept is not None and size <= room:
            run[key] = kept
            room -= size
    return run


def _failure(document: dict[str, Any]) -> str | None:
    status = document.get("exit_status")
    if status in (None, "success"):
        return None
    reason = str(document.get("reason") or "no reason given")[:200]
    return f"the Bluesky run ended with {str(status)[:40]}: {reason}"
