"""What is known of a Bluesky run and its streams of events, for :mod:`streams.position_sources.bluesky`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from streams.errors import PositionError
from streams.frame import FileDataset
from streams.position_sources.bluesky_files import Columns
from streams.position_sources.samples import Sampler
from streams.untrusted import shown

__all__ = ["Bounded", "Run", "Stream", "listed"]

_LISTED = 12
_MAX_STREAMS = 64
_MOST_UID_CHARS = 256
T = TypeVar("T")


class Bounded(OrderedDict[str, T], Generic[T]):
    """A map that forgets its oldest entry beyond ``most``."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def __setitem__(self, key: str, value: T) -> None:
        super().__setitem__(key, value)
        if len(self) > self._most:
            self.popitem(last=False)


@dataclass(slots=True)
class Run:
    """One run: from its start to its stop.

    ``is_told`` once the join knows of it; ``has_positions`` once any came; ``has_stopped`` after its stop. ``keys`` are
    the data keys of each stream by name. ``streams`` are those that hold both channels, ``resources`` those that
    positions come from, by uid; ``has_more_to_keep`` while they are more than what was last told.
    """

    uid: str
    sampler: Sampler
    about: dict[str, object] | None = None
    is_told: bool = False
    has_positions: bool = False
    has_stopped: bool = False
    keys: dict[str, list[str]] = field(default_factory=dict)
    columns: Columns = field(default_factory=Columns)
    event_size: int | None = None
    streams: dict[str, Stream] = field(default_factory=dict)
    resources: dict[str, FileDataset] = field(default_factory=dict)
    has_more_to_keep: bool = False

    def use_stream(self, uid: str, stream: Stream) -> None:
        """Note a stream that holds both channels."""
        if len(uid) <= _MOST_UID_CHARS and len(self.streams) < _MAX_STREAMS:
            self.streams[uid] = stream
            self.has_more_to_keep = True

    def use_resource(self, uid: str, resource: FileDataset) -> None:
        """Note a file that positions come from."""
        if uid not in self.resources and len(uid) <= _MOST_UID_CHARS and len(self.resources) < _MAX_STREAMS:
            self.resources[uid] = resource
            self.has_more_to_keep = True

    def to_keep(self) -> dict[str, object] | None:
        """Return what is needed to go on after a restart, as plain data; ``None`` where nothing is new."""
        if not self.has_more_to_keep:
            return None
        self.has_more_to_keep = False
        return {
            "streams": [[uid, s.name, s.is_external, list(s.rows)] for uid, s in self.streams.items()],
            "resources": [[uid, r.key, r.path, r.name] for uid, r in self.resources.items()],
        }

    def resume(self, kept: Mapping[str, Any], frames: int) -> None:
        """Go on from what :meth:`to_keep` gave, with the positions of the first ``frames`` frames known."""
        for uid, name, is_external, (y, x) in kept["streams"]:
            self.streams[str(uid)] = Stream(self, str(name), bool(is_external), (int(y), int(x)))
        for uid, key, path, name in kept["resources"]:
            self.resources[str(uid)] = FileDataset(str(key), str(path), str(name))
        self.is_told = self.has_positions = True
        self.sampler.resume(frames)

    def size_of_event(self, size: int) -> int:
        """Return the samples of one event, which must stay the same within a run."""
        if self.event_size is None:
            self.event_size = size
        if self.event_size != size:
            raise PositionError(f"Bluesky event with {size} samples where the others have {self.event_size}")
        return size

    def add_stream(self, name: str, keys: list[str]) -> None:
        """Note a stream and its data keys."""
        if len(self.keys) < _MAX_STREAMS or name in self.keys:
            self.keys[name] = keys

    def lacks(self, stream: str, channels: tuple[str, str]) -> str | None:
        """Return why no position came, in words; ``None`` if they were there to come."""
        keys = self.keys.get(stream)
        if keys is None:
            there = f"its streams are {listed(list(self.keys))}" if self.keys else "it has none that was heard"
            return f"the Bluesky run has no stream {stream}: {there}; correct [positions] event_stream"
        if any(channel in keys for channel in channels):
            return None
        return (
            f"the Bluesky stream {stream} holds neither {channels[0]} nor {channels[1]}; correct [positions] channels to "
            f"two of {listed(keys)}, or event_stream to one of {listed(list(self.keys))}"
        )


@dataclass(frozen=True, slots=True)
class Stream:
    """The stream of events that a descriptor belongs to; ``rows`` are the rows of a file for each event and channel.

    ``is_external`` where its positions are in files.
    """

    run: Run
    name: str
    is_external: bool = False
    rows: tuple[int, int] = (1, 1)


def listed(names: list[str]) -> str:
    """Return some names, as text of bounded length."""
    return ", ".join(shown(name) for name in names[:_LISTED])
