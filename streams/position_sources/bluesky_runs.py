"""The state of a Bluesky run and its event streams, for :mod:`streams.position_sources.bluesky`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from streams.errors import PositionError
from streams.frame import FileDataset, Position
from streams.position_sources.bluesky_files import FileColumns
from streams.position_sources.samples import Sampler
from streams.untrusted import shown

__all__ = ["Bounded", "BlueskyRun", "EventStream", "HeldEvents", "listed"]

_LISTED = 12
"""Names that a sentence lists."""
_MAX_STREAMS = 64
"""Event streams, and files, that are noted of one run."""
_MOST_UID_CHARS = 256
"""Longest uid that is kept; Bluesky's have 36 characters."""
_MAX_HELD_BYTES = 4 * 2**20
"""Size of all events that wait for their descriptor."""
T = TypeVar("T")


class Bounded(OrderedDict[str, T], Generic[T]):
    """A map of at most ``most`` entries; the oldest is dropped."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def __setitem__(self, key: str, value: T) -> None:
        super().__setitem__(key, value)
        if len(self) > self._most:
            self.popitem(last=False)


class HeldEvents:
    """Events that wait for their descriptor, by its uid. ``count`` includes those for which there was no room."""

    def __init__(self, most_descriptors: int) -> None:
        self._events: Bounded[list[tuple[str, dict[str, object]]]] = Bounded(most_descriptors)
        self._bytes = 0
        self.count = 0

    def add(self, uid: str, name: str, document: dict[str, object], size: int) -> None:
        """Keep an event, if there is room, until its descriptor arrives."""
        self.count += 1
        self._bytes += size
        if self._bytes <= _MAX_HELD_BYTES:
            self._events.setdefault(uid, []).append((name, document))

    def take(self, uid: str) -> list[tuple[str, dict[str, object]]]:
        """Return the (name, document) of the events of a descriptor."""
        events = self._events.pop(uid, [])
        self.count = max(0, self.count - len(events))
        return events

    def clear(self) -> int:
        """Drop all events; return their number."""
        count, self.count, self._bytes = self.count, 0, 0
        self._events.clear()
        return count


@dataclass(slots=True)
class BlueskyRun:
    """One run, from its start to its stop.

    ``is_told``: the join knows of it; ``has_positions``: some arrived; ``has_stopped``: its stop arrived. ``keys`` has the
    data keys of each stream by name. ``streams`` are those with both channels, ``resources`` the files with positions, by
    uid; ``has_more_to_keep``: they changed since :meth:`to_keep` was called.
    """

    uid: str
    sampler: Sampler
    monitor: Sampler
    about: dict[str, object] | None = None
    is_told: bool = False
    has_positions: bool = False
    has_stopped: bool = False
    keys: dict[str, list[str]] = field(default_factory=dict)
    columns: FileColumns = field(default_factory=FileColumns)
    event_size: int | None = None
    streams: dict[str, EventStream] = field(default_factory=dict)
    resources: dict[str, FileDataset] = field(default_factory=dict)
    has_more_to_keep: bool = False

    def use_stream(self, uid: str, stream: EventStream) -> None:
        """Note a stream with both channels."""
        if len(uid) <= _MOST_UID_CHARS and len(self.streams) < _MAX_STREAMS:
            self.streams[uid] = stream
            self.has_more_to_keep = True

    def use_resource(self, uid: str, resource: FileDataset) -> None:
        """Note a file with positions."""
        if uid not in self.resources and len(uid) <= _MOST_UID_CHARS and len(self.resources) < _MAX_STREAMS:
            self.resources[uid] = resource
            self.has_more_to_keep = True

    def with_light(self, positions: list[Position], first: int, lights: NDArray[np.float64]) -> list[Position]:
        """Return positions with the beam monitor's values ``(n, 2)``, of samples from number ``first`` on."""
        found = {p.index: p.position_m.y for p in self.monitor.add(first, lights, None)}
        return [replace(p, light=found[p.index]) if found.get(p.index, 0) > 0 else p for p in positions]

    def to_keep(self) -> dict[str, object] | None:
        """Return the facts needed to continue after a restart, as plain data; ``None`` if nothing is new."""
        if not self.has_more_to_keep:
            return None
        self.has_more_to_keep = False
        return {
            "streams": [[uid, s.name, s.is_external, list(s.rows)] for uid, s in self.streams.items()],
            "resources": [[uid, r.key, r.path, r.name] for uid, r in self.resources.items()],
        }

    def resume(self, kept: Mapping[str, Any], frames: int) -> None:
        """Continue from the facts of :meth:`to_keep`; the positions of the first ``frames`` frames are known."""
        for uid, name, is_external, (y, x) in kept["streams"]:
            self.streams[str(uid)] = EventStream(self, str(name), bool(is_external), (int(y), int(x)))
        for uid, key, path, name in kept["resources"]:
            self.resources[str(uid)] = FileDataset(str(key), str(path), str(name))
        self.is_told = self.has_positions = True
        self.sampler.resume(frames)
        self.monitor.resume(frames)

    def size_of_event(self, size: int) -> int:
        """Return the samples of one event, which must stay the same within a run."""
        if self.event_size is None:
            self.event_size = size
        if self.event_size != size:
            raise PositionError(f"the Bluesky event has {size} samples, but the others have {self.event_size}")
        return size

    def add_stream(self, name: str, keys: list[str]) -> None:
        """Note a stream and its data keys."""
        if len(self.keys) < _MAX_STREAMS or name in self.keys:
            self.keys[name] = keys

    def lacks(self, stream: str, channels: tuple[str, str]) -> str | None:
        """Return why there are no positions, as a sentence; ``None`` if the stream has a channel."""
        keys = self.keys.get(stream)
        if keys is None:
            there = f"its streams are {listed(list(self.keys))}" if self.keys else "none was received"
            return f"the Bluesky run has no stream {stream}: {there}; correct [positions] event_stream"
        if any(channel in keys for channel in channels):
            return None
        return (
            f"the Bluesky stream {stream} contains neither {channels[0]} nor {channels[1]}; set [positions] channels to "
            f"two of {listed(keys)}, or event_stream to one of {listed(list(self.keys))}"
        )


@dataclass(frozen=True, slots=True)
class EventStream:
    """The event stream of a descriptor; ``rows`` are the rows of a file per event, for each channel.

    ``is_external``: its positions are in files.
    """

    run: BlueskyRun
    name: str
    is_external: bool = False
    rows: tuple[int, int] = (1, 1)


def listed(names: list[str]) -> str:
    """Return some names as text of bounded length."""
    return ", ".join(shown(name) for name in names[:_LISTED])
