"""Bluesky documents over ZeroMQ: positions from the events of one stream, and the description of the run.

``start`` begins a run and ``stop`` ends it; runs may lie within one another, and each is followed separately. A run has
several event streams, such as ``baseline`` and monitors, with the same motors and their own numbers: positions are taken only
from the stream with the configured name, ``primary`` by default. An event's descriptor tells its stream; an event that arrives
before its descriptor waits for it.

Event ``seq_num`` k (from 1) holds sample k - 1 if the two data keys are numbers, or the next n samples if they are lists of n.
If the keys are in a file (``stream_resource``, ``stream_datum``), the news name the samples to read, and
:meth:`BlueskyReader.fill` takes them.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.codecs.base import Part, is_count
from streams.errors import PositionError
from streams.frame import FileDataset, FileSamples, Position, PositionNews
from streams.join.source_run import ResumedRun
from streams.position_sources.bluesky_documents import (
    MAX_SAMPLES,
    about_run,
    column,
    first_number,
    split_document,
    stop_fault,
)
from streams.position_sources.bluesky_files import read_resource
from streams.position_sources.bluesky_runs import BlueskyRun, Bounded, EventStream, HeldEvents, listed
from streams.position_sources.samples import Sampler, SourceOptions, monitor_sampler

__all__ = ["BlueskyReader"]

_MAX_RUNS = 16
_MAX_DESCRIPTORS = 256
_MAX_RESOURCES = 256
"""Runs, descriptors and files that are remembered; a run has a few descriptors and files."""
_FEW_HELD = 8
"""Events that may wait without a warning: documents of one moment may arrive in another order."""
_BULK_ROW_BYTES = 1024
"""Assumed size of an event in a list of events, for the bound above."""
_SILENT = PositionNews(is_silent=True)


class BlueskyReader:
    """Reads one stream of documents. Without ``options`` it reports runs only, no positions.

    With ``may_resume`` the stop of an unknown run waits until :meth:`resume` gives the runs of the earlier process.
    """

    def __init__(self, options: SourceOptions | None, *, may_resume: bool = False) -> None:
        self._options = options
        self._early_stops: list[dict[str, object]] | None = [] if may_resume else None
        self._lock = threading.Lock()
        self._runs: Bounded[BlueskyRun] = Bounded(_MAX_RUNS)
        self._streams: Bounded[EventStream] = Bounded(_MAX_DESCRIPTORS)
        self._resources: Bounded[FileDataset | PositionError] = Bounded(_MAX_RESOURCES)
        self._held = HeldEvents(_MAX_DESCRIPTORS)

    def parse(self, parts: Sequence[Part]) -> PositionNews:
        """Read one message. Raises :class:`PositionError` for one that is refused."""
        if len(parts) != 1:
            raise PositionError(f"a Bluesky message has one part, not {len(parts)}; check [positions] source")
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

    def resume(self, runs: Iterable[ResumedRun]) -> list[PositionNews]:
        """Continue the runs from before a restart; return the news of documents received since the start.

        Each has ``run_id``, ``to_keep`` from its news, and ``frames``, the number of frames with a known position.
        """
        with self._lock:
            try:
                news = [each for kept in runs for each in self._resume_run(kept)]
            finally:
                stops, self._early_stops = self._early_stops or [], None
            news += [self._stop(document) for document in stops]
        return [each for each in news if not each.is_silent]

    def _resume_run(self, kept: ResumedRun) -> list[PositionNews]:
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
        """Take samples ``(n,)`` that the news asked for; return the positions that are complete with them."""
        with self._lock:
            run = self._runs.get(wanted.run)
            if run is None:
                return _SILENT
            positions: list[Position] = []
            for first, pairs in run.columns.add(wanted.axis, wanted.first, values):
                positions += run.sampler.add(first, pairs, None)
            return self._position_news(run, positions=positions, ends=run.has_stopped)

    def give_up(self, wanted: FileSamples, why: str) -> PositionNews:
        """Report that samples cannot be read, and why."""
        with self._lock:
            run = self._runs.get(wanted.run)
            return _SILENT if run is None else self._position_news(run, fault=why, ends=run.has_stopped)

    def _start(self, document: dict[str, object]) -> PositionNews:
        run = self._run_of(document.get("uid"))
        run.about = about_run(document)
        is_within = any(other.has_positions and not other.has_stopped for other in self._runs.values())
        if is_within and self._options is not None:
            return _SILENT  # it is reported once it has positions
        run.is_told = True
        return self._news(run, begins=True, run=run.about)

    def _stop(self, document: dict[str, object]) -> PositionNews:
        stops = self._early_stops
        if stops is not None and str(document.get("run_start")) not in self._runs and len(stops) < _MAX_RUNS:
            stops.append(document)
            return _SILENT
        run = self._run_of(document.get("run_start"))
        run.has_stopped = True
        held = self._held.clear()
        if not run.is_told and run.about is not None:
            return _SILENT
        return self._news(run, ends=True, fault=stop_fault(document) or _why_none(run, held, self._options))

    def _descriptor(self, document: dict[str, object], options: SourceOptions) -> PositionNews:
        uid, name, keys = document.get("uid"), document.get("name"), document.get("data_keys")
        if not isinstance(uid, str) or not isinstance(name, str):
            raise PositionError("the Bluesky descriptor has no uid or no name")
        keys = keys if isinstance(keys, dict) else {}
        run = self._run_of(document.get("run_start"))
        run.add_stream(name, [str(key) for key in keys])
        known = [keys[channel] for channel in options.channels if isinstance(keys.get(channel), dict)]
        external = [key for key in known if "external" in key]
        rows = [_rows(key) for key in known] if len(known) == 2 else [1, 1]
        stream = self._streams[uid] = EventStream(run, name, bool(external), (rows[0], rows[1]))
        fault = None
        if name == options.event_stream:
            fault = _fault_in_keys(options.channels, keys, external)
        if len(known) == 2:
            run.use_stream(uid, stream)
        to_keep = run.to_keep() if run.is_told else None  # otherwise with the first positions
        news = [self._news(run, fault=fault, to_keep=to_keep)] if fault or to_keep else []
        return _joined([*news, self._take_held(uid, stream, options)])

    def _take_held(self, uid: str, stream: EventStream, options: SourceOptions) -> PositionNews:
        """Take the events that waited for their descriptor."""
        return _joined([self._take(kind, each, stream, options) for kind, each in self._held.take(uid)])

    def _resource(self, document: dict[str, object], options: SourceOptions) -> PositionNews:
        """Note a file; a file that cannot be read is reported when it has positions."""
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
        """Take lists of events by descriptor, the form of older versions."""
        rows = [row for some in document.values() if isinstance(some, list) for row in some if isinstance(row, dict)]
        return _joined([self._hold_or_take("event", row, _BULK_ROW_BYTES) for row in rows])

    def _hold_or_take(self, name: str, document: dict[str, object], size: int) -> PositionNews:
        options, uid = self._options, document.get("descriptor")
        if options is None:
            return _SILENT
        stream = self._streams.get(uid) if isinstance(uid, str) else None
        if stream is not None:
            return self._take(name, document, stream, options)
        data = document.get("data")
        if name != "stream_datum" and not isinstance(data, dict):
            raise PositionError("the Bluesky event has no data")
        if not isinstance(uid, str) or (isinstance(data, dict) and not all(key in data for key in options.channels)):
            return _SILENT
        self._held.add(uid, name, document, size)
        if self._held.count < _FEW_HELD or self._early_stops is not None:
            return _SILENT
        return PositionNews(fault=_unknown_stream_sentence(self._held.count), samples_per_frame=self._per_frame)

    def _take(
        self, name: str, document: dict[str, object], stream: EventStream, options: SourceOptions
    ) -> PositionNews:
        """Read a document of a stream; only the stream with the configured name has positions."""
        if stream.name != options.event_stream:
            return _SILENT
        if name == "stream_datum":
            return self._datum(document, stream, options)
        return _SILENT if stream.is_external else self._event(document, stream, options, name == "event_page")

    def _event(
        self, document: dict[str, object], stream: EventStream, options: SourceOptions, is_page: bool
    ) -> PositionNews:
        data, run = document.get("data"), stream.run
        if not isinstance(data, dict):
            raise PositionError("the Bluesky event has no data")
        missing = [name for name in options.channels if name not in data]
        if missing:
            return self._news(run, fault=_missing_sentence(missing, list(data))) if len(missing) == 1 else _SILENT
        y, x = (column(data[name], is_page, name) for name in options.channels)
        if y.shape != x.shape:
            raise PositionError(f"Bluesky event: {' and '.join(options.channels)} have different lengths")
        first = first_number(document.get("seq_num"), len(y), is_page)
        before, begin = run.sampler.repeated, (first - 1) * run.size_of_event(math.prod(y.shape[1:]))
        positions = run.sampler.add(begin, np.array((y.reshape(-1), x.reshape(-1))).T, None)
        fault = _repeated_sentence(first) if run.sampler.repeated > before else None
        if options.monitor_channel is not None and not fault:
            lights, fault = _lights(data, options.monitor_channel, y.size, is_page=is_page)
            positions = run.with_light(positions, begin, lights)
        return self._position_news(run, positions=positions, fault=fault)

    def _datum(self, document: dict[str, object], stream: EventStream, options: SourceOptions) -> PositionNews:
        """Ask for samples of a file."""
        uid = str(document.get("stream_resource"))
        resource = self._resources.get(uid)
        if resource is None:
            return self._news(stream.run, fault="a Bluesky stream_datum arrived without its stream_resource")
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
        wanted = FileSamples(stream.run.uid, axis, (first - 1) * rows, resource, start=start * rows, stop=stop * rows)
        return self._position_news(stream.run, wanted=[wanted] if start < stop else [])

    def _run_of(self, uid: object) -> BlueskyRun:
        """Return the run of a uid, a new one if it is unknown."""
        name = uid if isinstance(uid, str) else ""
        run = self._runs.get(name)
        if run is None or (run.has_stopped and not name):
            options = self._options or SourceOptions(("", ""))
            run = self._runs[name] = BlueskyRun(name, Sampler(options), monitor_sampler(options))
        return run

    def _position_news(self, run: BlueskyRun, /, **what: Any) -> PositionNews:
        """Return news of a run with positions, with its beginning if that was not reported yet."""
        run.has_positions = True
        what["to_keep"] = run.to_keep()
        if run.is_told or run.about is None:
            return self._news(run, **what)
        run.is_told = True
        return self._news(run, begins=True, run=run.about, **what)

    @property
    def _per_frame(self) -> int:
        return 1 if self._options is None else self._options.samples_per_frame

    def _news(self, run: BlueskyRun, /, **what: Any) -> PositionNews:
        sampler = run.sampler
        return PositionNews(
            samples=sampler.samples,
            samples_lost=sampler.lost,
            samples_per_frame=self._per_frame,
            run_id=run.uid,
            **what,
        )


def _why_none(run: BlueskyRun, held: int, options: SourceOptions | None) -> str | None:
    """Return why an ended run has no positions, as a sentence; ``None`` if it has some."""
    if options is None or run.has_positions:
        return None
    return _unknown_stream_sentence(held) if held else run.lacks(options.event_stream, options.channels)


def _repeated_sentence(event: int) -> str:
    return (
        f"event {event} of the Bluesky run arrived again, as after a pause; its first positions are kept. If the "
        "detector repeated that point too, the later frames are one point behind"
    )


def _lights(
    data: dict[str, object], name: str, samples: int, *, is_page: bool
) -> tuple[NDArray[np.float64], str | None]:
    """Return the beam monitor's values ``(samples, 2)`` in an event, twice each, or none and what is wrong with them."""
    none = np.empty((0, 2))
    if name not in data:
        return none, f"the Bluesky event has no monitor {name}; its keys are {listed(list(map(str, data)))}"
    values = column(data[name], is_page, name).reshape(-1)
    if not len(values) or samples % len(values):
        return none, f"the monitor {name} of a Bluesky event has {len(values)} values for {samples} samples"
    return np.repeat(values, samples // len(values))[:, None].repeat(2, axis=1), None


def _joined(news: list[PositionNews]) -> PositionNews:
    """Return several news of a run as one item."""
    news = [each for each in news if not each.is_silent]
    return news[0].joined(news[1:]) if news else _SILENT


def _rows(key: dict[str, object]) -> int:
    """Return the rows of a file per event: the first side of the data key's shape."""
    shape = key.get("shape")
    first = shape[0] if isinstance(shape, list) and shape else 1
    return first if is_count(first) and first else 1


def _span(value: object, least: int) -> tuple[int, int]:
    """Return start and stop of a range of ``indices`` or ``seq_nums``."""
    start, stop = (value.get("start"), value.get("stop")) if isinstance(value, dict) else (None, None)
    if not is_count(start) or not is_count(stop) or not least <= start <= stop or stop >= 2**40:
        raise PositionError("the Bluesky stream_datum has no indices and seq_nums from start to stop")
    return start, stop


def _fault_in_keys(channels: tuple[str, str], keys: dict[str, object], external: list[Any]) -> str | None:
    """Return the fault in the data keys of the stream with the positions, as a sentence; ``None`` if there is none."""
    missing = [name for name in channels if name not in keys]
    if len(missing) == 1:
        return _missing_sentence(missing, list(keys))
    if any(not str(key.get("external")).startswith("STREAM:") for key in external):
        return (
            f"the positions {' and '.join(channels)} are in files of resource and datum documents, which cannot be read"
        )
    if len(external) == 1:
        return f"one of {' and '.join(channels)} is in a file and the other in events; choose two of the same kind"
    return None


def _missing_sentence(missing: list[str], there: list[Any]) -> str:
    return f"the Bluesky events have no {missing[0]}; set [positions] channels to two of {listed(there)}"


def _unknown_stream_sentence(count: int) -> str:
    return (
        f"the descriptor of {count} Bluesky events was not received, so their stream is unknown: this program was started "
        "late; their frames have no position"
    )
