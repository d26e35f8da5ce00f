"""Bluesky documents over ZeroMQ: positions from the events of one stream, and what the run says of itself.

``start`` begins a run and ``stop`` ends it; runs may lie within one another, and each is followed for itself. A run has
several streams of events, such as ``baseline`` and monitors, that hold the same motors and count for themselves:
positions are taken from the stream of the configured name alone, ``primary`` by default, and an event's stream is known by its
descriptor. An event that comes before its descriptor waits for it.

Event ``seq_num`` k (from 1) holds sample k - 1 where the two data keys are numbers, or the next n samples where they are
lists of n. Where the keys are in a file (``stream_resource``, ``stream_datum``), the news say which samples are to be read,
and :meth:`BlueskyReader.fill` takes them.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.codecs.base import Part, is_count
from streams.errors import PositionError
from streams.frame import FileDataset, FileSamples, Position, PositionNews
from streams.position_sources.bluesky_documents import (
    MAX_SAMPLES,
    about_run,
    column,
    first_number,
    split_document,
    stop_fault,
)
from streams.position_sources.bluesky_files import read_resource
from streams.position_sources.bluesky_runs import Bounded, Run, Stream, listed
from streams.position_sources.samples import Sampler, SourceOptions

__all__ = ["BlueskyReader"]

_MAX_RUNS = 16
_MAX_DESCRIPTORS = 256
_MAX_RESOURCES = 256
_MAX_HELD_BYTES = 4 * 2**20
_FEW_HELD = 8
_SILENT = PositionNews(is_silent=True)

Held = list[tuple[str, dict[str, object]]]


class BlueskyReader:
    """Reads one stream of documents. Without ``options`` only runs are told, no positions.

    With ``may_resume``, until :meth:`resume` tells what an earlier process knew, the stop of an unknown run waits.
    """

    def __init__(self, options: SourceOptions | None, *, may_resume: bool = False) -> None:
        self._options = options
        self._early_stops: list[dict[str, object]] | None = [] if may_resume else None
        self._lock = threading.Lock()
        self._runs: Bounded[Run] = Bounded(_MAX_RUNS)
        self._streams: Bounded[Stream] = Bounded(_MAX_DESCRIPTORS)
        self._resources: Bounded[FileDataset | PositionError] = Bounded(_MAX_RESOURCES)
        self._held: Bounded[Held] = Bounded(_MAX_DESCRIPTORS)
        self._held_bytes = self._held_events = 0

    def parse(self, parts: Sequence[Part]) -> PositionNews:
        """Read one message. Raises :class:`PositionError` for one that is refused."""
        if len(parts) != 1:
            raise PositionError(f"a Bluesky message is one part, not {len(parts)}; check [positions] source")
        name, document = split_document(parts[0])
        with self._lock:
            if name == "start":
                return self._start(document)
            if name == "stop":
                return self._stop(document)
            if self._options is None:
                return _SILENT
            if name == "descriptor":
                return self._descriptor(document, self._options)
            if name == "stream_resource":
                return self._resource(document, self._options)
            if name == "bulk_events":
                return self._bulk(document)
            if name in ("event", "event_page", "stream_datum"):
                return self._hold_or_take(name, document, len(parts[0]))
        return _SILENT

    def resume(self, runs: Iterable[Mapping[str, Any]]) -> list[PositionNews]:
        """Go on with runs of before a restart; return the news of what came since the start.

        Each has ``run_id``, ``to_keep`` as the news had it, and ``frames``, those of which the position is known already.
        """
        with self._lock:
            try:
                news = [each for kept in runs for each in self._resume_run(kept)]
            finally:
                stops, self._early_stops = self._early_stops or [], None
            news += [self._stop(document) for document in stops]
        return [each for each in news if not each.is_silent]

    def _resume_run(self, kept: Mapping[str, Any]) -> list[PositionNews]:
        if self._options is None or kept["to_keep"] is None:
            return []
        run = self._run_of(kept["run_id"])
        run.resume(kept["to_keep"], kept["frames"])
        for uid, resource in run.resources.items():
            self._resources[uid] = resource
        news = []
        for uid, stream in run.streams.items():
            self._streams[uid] = stream
            try:
                news.append(self._take_held(uid, stream, self._options))
            except PositionError as fault:
                news.append(self._news(run, fault=str(fault)))
        return news

    def fill(self, wanted: FileSamples, values: NDArray[np.float64]) -> PositionNews:
        """Take samples ``(n,)`` that the news said were to be read; return the positions that are whole with them."""
        with self._lock:
            run = self._runs.get(wanted.run)
            if run is None:
                return _SILENT
            positions: list[Position] = []
            for first, pairs in run.columns.add(wanted.axis, wanted.first, values):
                positions += run.sampler.add(first, pairs, None)
            return self._told(run, positions=positions, ends=run.has_stopped)

    def give_up(self, wanted: FileSamples, why: str) -> PositionNews:
        """Say that samples cannot be read, and why."""
        with self._lock:
            run = self._runs.get(wanted.run)
            return _SILENT if run is None else self._told(run, fault=why, ends=run.has_stopped)

    def _start(self, document: dict[str, object]) -> PositionNews:
        run = self._run_of(document.get("uid"))
        run.about = about_run(document)
        is_within = any(other.has_positions and not other.has_stopped for other in self._runs.values())
        if is_within and self._options is not None:
            return _SILENT  # it is told once it has positions
        run.is_told = True
        return self._news(run, begins=True, run=run.about)

    def _stop(self, document: dict[str, object]) -> PositionNews:
        stops = self._early_stops
        if stops is not None and str(document.get("run_start")) not in self._runs and len(stops) < _MAX_RUNS:
            stops.append(document)
            return _SILENT
        run = self._run_of(document.get("run_start"))
        run.has_stopped = True
        held, self._held_events = self._held_events, 0
        self._held.clear()
        self._held_bytes = 0
        if not run.is_told and run.about is not None:
            return _SILENT
        return self._news(run, ends=True, fault=stop_fault(document) or self._why_none(run, held))

    def _why_none(self, run: Run, held: int) -> str | None:
        """Return why a run that has ended gave no positions."""
        if self._options is None or run.has_positions:
            return None
        return _unheard(held) if held else run.lacks(self._options.event_stream, self._options.channels)

    def _descriptor(self, document: dict[str, object], options: SourceOptions) -> PositionNews:
        uid, name, keys = document.get("uid"), document.get("name"), document.get("data_keys")
        if not isinstance(uid, str) or not isinstance(name, str):
            raise PositionError("a Bluesky descriptor without uid or name")
        keys = keys if isinstance(keys, dict) else {}
        run = self._run_of(document.get("run_start"))
        run.add_stream(name, [str(key) for key in keys])
        known = [keys[channel] for channel in options.channels if isinstance(keys.get(channel), dict)]
        external = [key for key in known if "external" in key]
        rows = [_rows(key) for key in known] if len(known) == 2 else [1, 1]
        stream = self._streams[uid] = Stream(run, name, bool(external), (rows[0], rows[1]))
        fault = None
        if name == options.event_stream:
            fault = _misfit(options.channels, keys, external)
        if len(known) == 2:
            run.use_stream(uid, stream)
        to_keep = run.to_keep() if run.is_told else None  # else it is told with the first positions
        news = [self._news(run, fault=fault, to_keep=to_keep)] if fault or to_keep else []
        return _joined([*news, self._take_held(uid, stream, options)])

    def _take_held(self, uid: str, stream: Stream, options: SourceOptions) -> PositionNews:
        """Take the events that have waited for their descriptor."""
        held = self._held.pop(uid, [])
        self._held_events = max(0, self._held_events - len(held))
        return _joined([self._take(kind, each, stream, options) for kind, each in held])

    def _resource(self, document: dict[str, object], options: SourceOptions) -> PositionNews:
        """Note a file; why it cannot be read is said when positions are in it."""
        try:
            found: FileDataset | PositionError = read_resource(document)
        except PositionError as fault:
            found = fault
        uid = str(document.get("uid"))
        self._resources[uid] = found
        if not isinstance(found, FileDataset) or found.key not in options.channels:
            return _SILENT
        for run in reversed(self._runs.values()):
            if not run.has_stopped and any(stream.is_external for stream in run.streams.values()):
                run.use_resource(uid, found)
                to_keep = run.to_keep() if run.is_told else None
                return self._news(run, to_keep=to_keep) if to_keep else _SILENT
        return _SILENT

    def _bulk(self, document: dict[str, object]) -> PositionNews:
        """Take lists of events by descriptor, as older versions send them."""
        rows = [row for some in document.values() if isinstance(some, list) for row in some if isinstance(row, dict)]
        return _joined([self._hold_or_take("event", row, 1024) for row in rows])

    def _hold_or_take(self, name: str, document: dict[str, object], size: int) -> PositionNews:
        options, uid = self._options, document.get("descriptor")
        if options is None:
            return _SILENT
        stream = self._streams.get(uid) if isinstance(uid, str) else None
        if stream is not None:
            return self._take(name, document, stream, options)
        data = document.get("data")
        if name != "stream_datum" and not isinstance(data, dict):
            raise PositionError("Bluesky event without data")
        if not isinstance(uid, str) or (isinstance(data, dict) and not all(key in data for key in options.channels)):
            return _SILENT
        return self._hold(uid, name, document, size)

    def _hold(self, uid: str, name: str, document: dict[str, object], size: int) -> PositionNews:
        """Keep an event until its descriptor comes."""
        self._held_events += 1
        self._held_bytes += size
        if self._held_bytes <= _MAX_HELD_BYTES:
            self._held.setdefault(uid, []).append((name, document))
        if self._held_events < _FEW_HELD or self._early_stops is not None:
            return _SILENT
        return PositionNews(fault=_unheard(self._held_events), samples_per_frame=self._per_frame)

    def _take(self, name: str, document: dict[str, object], stream: Stream, options: SourceOptions) -> PositionNews:
        """Read what belongs to a stream; one of another name than the configured one holds no positions."""
        if stream.name != options.event_stream:
            return _SILENT
        if name == "stream_datum":
            return self._datum(document, stream, options)
        return _SILENT if stream.is_external else self._event(document, stream, options, name == "event_page")

    def _event(
        self, document: dict[str, object], stream: Stream, options: SourceOptions, is_page: bool
    ) -> PositionNews:
        data, run = document.get("data"), stream.run
        if not isinstance(data, dict):
            raise PositionError("Bluesky event without data")
        missing = [name for name in options.channels if name not in data]
        if missing:
            return self._news(run, fault=_lacks(missing, list(data))) if len(missing) == 1 else _SILENT
        y, x = (column(data[name], is_page, name) for name in options.channels)
        if y.shape != x.shape:
            raise PositionError(f"Bluesky event: {' and '.join(options.channels)} are not of one length")
        first = first_number(document.get("seq_num"), len(y), is_page)
        size = run.size_of_event(math.prod(y.shape[1:]))
        before = run.sampler.repeated
        positions = run.sampler.add((first - 1) * size, np.array((y.reshape(-1), x.reshape(-1))).T, None)
        fault = None
        if run.sampler.repeated > before:
            fault = (
                f"event {first} of the Bluesky run came again, as after a pause, and its first positions hold; if the "
                "detector took that point again too, the frames after it are one point behind"
            )
        return self._told(run, positions=positions, fault=fault)

    def _datum(self, document: dict[str, object], stream: Stream, options: SourceOptions) -> PositionNews:
        """Say which samples are to be read from a file."""
        uid = str(document.get("stream_resource"))
        resource = self._resources.get(uid)
        if resource is None:
            return self._news(stream.run, fault="a Bluesky stream_datum came without its stream_resource")
        if isinstance(resource, PositionError):
            return self._news(stream.run, fault=str(resource))
        if resource.key not in options.channels:
            return _SILENT
        axis = options.channels.index(resource.key)
        stream.run.use_resource(uid, resource)
        start, stop = _span(document.get("indices"), 0)
        first, _ = _span(document.get("seq_nums"), 1)
        rows = stream.rows[axis]
        if (stop - start) * rows > MAX_SAMPLES:
            raise PositionError(f"a Bluesky stream_datum of {(stop - start) * rows} samples exceeds {MAX_SAMPLES}")
        wanted = FileSamples(stream.run.uid, axis, (first - 1) * rows, resource, start * rows, stop * rows)
        return self._told(stream.run, wanted=[wanted] if start < stop else [])

    def _run_of(self, uid: object) -> Run:
        """Return a run by its uid, or one that is not known yet."""
        name = uid if isinstance(uid, str) else ""
        run = self._runs.get(name)
        if run is None or (run.has_stopped and not name):
            run = self._runs[name] = Run(name, Sampler(self._options or SourceOptions(("", ""))))
        return run

    def _told(self, run: Run, /, **what: Any) -> PositionNews:
        """Return news of a run that has positions, with its beginning where that was not told."""
        run.has_positions = True
        what["to_keep"] = run.to_keep()
        if run.is_told or run.about is None:
            return self._news(run, **what)
        run.is_told = True
        return self._news(run, begins=True, run=run.about, **what)

    @property
    def _per_frame(self) -> int:
        return 1 if self._options is None else self._options.samples_per_frame

    def _news(self, run: Run, /, **what: Any) -> PositionNews:
        sampler = run.sampler
        return PositionNews(
            samples=sampler.samples,
            samples_lost=sampler.lost,
            samples_per_frame=self._per_frame,
            run_id=run.uid,
            **what,
        )


def _joined(news: list[PositionNews]) -> PositionNews:
    """Return several news of a run as one."""
    news = [each for each in news if not each.is_silent]
    return news[0].joined(news[1:]) if news else _SILENT


def _rows(key: dict[str, object]) -> int:
    """Return the rows of a file for each event: the first side of the data key's shape."""
    shape = key.get("shape")
    first = shape[0] if isinstance(shape, list) and shape else 1
    return first if is_count(first) and first else 1


def _span(value: object, least: int) -> tuple[int, int]:
    """Return start and stop of a range of ``indices`` or ``seq_nums``."""
    start, stop = (value.get("start"), value.get("stop")) if isinstance(value, dict) else (None, None)
    if not is_count(start) or not is_count(stop) or not least <= start <= stop or stop >= 2**40:
        raise PositionError("a Bluesky stream_datum without indices and seq_nums from start to stop")
    return start, stop


def _misfit(channels: tuple[str, str], keys: dict[str, object], external: list[Any]) -> str | None:
    """Return what is wrong with the data keys of the stream that should hold the positions."""
    missing = [name for name in channels if name not in keys]
    if len(missing) == 1:
        return _lacks(missing, list(keys))
    if any(not str(key.get("external")).startswith("STREAM:") for key in external):
        return f"the positions {' and '.join(channels)} are in files that resource and datum name, which are not read"
    if len(external) == 1:
        return f"of {' and '.join(channels)} one is in a file and the other in events; take two of one kind"
    return None


def _lacks(missing: list[str], there: list[Any]) -> str:
    return f"Bluesky events hold no {missing[0]}; correct [positions] channels to two of {listed(there)}"


def _unheard(count: int) -> str:
    return (
        f"{count} Bluesky events came whose descriptor was not heard, so that their stream is not known: this program came "
        "late; their frames have no position"
    )
