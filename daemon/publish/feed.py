"""From hub events to the messages of one viewer (or one socket of many viewers), in bounded memory.

A viewer that lags loses its queued deltas and gets a snapshot instead, so its picture may be late but is never wrong. It
lags if the queued deltas of a picture are larger than the picture.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from itertools import compress

from daemon.publish.hub import HubEvent, UpdateHub
from daemon.publish.snapshot import LayerUpdate
from daemon.publish.wire import Message

PIXEL_BYTES = 12  # object and weight

LayerKey = tuple[str, str]


class Feed:
    """A bounded inbox on the hub, emptied by ``messages()``.

    Parameters
    ----------
    wake
        Called from the publishing thread when the empty inbox gets its first event; must not wait.
    """

    def __init__(
        self, hub: UpdateHub, wake: Callable[[], None], max_events: int = 256, max_bytes: int = 64 << 20
    ) -> None:
        self._hub = hub
        self._wake = wake
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._events: deque[HubEvent] = deque()
        self._bytes = 0
        self._layer_bytes: dict[LayerKey, int] = {}
        self._stale: dict[LayerKey, None] = {}
        self._sent: dict[LayerKey, int] = {}
        self._greeted: set[int] = set()
        self.coalesced = 0
        hub.subscribe(self._put)

    @property
    def is_behind(self) -> bool:
        """Whether whole pictures are due; they take longer to make than deltas."""
        return bool(self._stale)

    def close(self) -> None:
        """Leave the hub and drop all queued events."""
        self._hub.unsubscribe(self._put)
        with self._lock:
            self._events.clear()

    def greeting(self) -> Iterator[Message]:
        """Yield the messages for a new viewer: last news of a scan, last status, whole picture of the current scan."""
        known = [event for event in (self._hub.last_scan, self._hub.last_status) if event is not None]
        self._greeted = {event.version for event in known}
        for event in known:
            yield from event.messages
        scan_id = self._hub.latest_scan_id
        if scan_id is not None:
            yield from self._snapshots(self._layers_of(scan_id))

    def messages(self) -> Iterator[Message]:
        """Yield all messages that are due, oldest first, snapshots last."""
        events, due = self._take()
        for event in events:
            if event.update is None:
                if event.version not in self._greeted:
                    yield from event.messages
                continue
            key = (event.scan_id, event.update.layer)
            if event.version <= self._sent.get(key, 0):
                continue
            if event.update.complete:
                due.update(self._layers_of(event.scan_id))
            if key not in self._sent:  # this viewer has no picture yet that the delta could change
                due[key] = None
                continue
            self._sent[key] = event.version
            yield from event.messages
        yield from self._snapshots(due)
        self._forget()

    def _layers_of(self, scan_id: str) -> dict[LayerKey, None]:
        return dict.fromkeys((scan_id, layer) for layer in self._hub.layers(scan_id))

    def _snapshots(self, keys: dict[LayerKey, None]) -> Iterator[Message]:
        for key in keys:
            found = self._hub.snapshot(*key)
            if found is not None:
                self._sent[key], message = found
                yield message

    def _put(self, event: HubEvent) -> None:
        with self._lock:
            was_empty = not self._events and not self._stale
            if event.update is None:
                self._events.append(event)
            else:
                self._put_update(event, event.update)
            if len(self._events) > self._max_events or self._bytes > self._max_bytes:
                self._coalesce()
        if was_empty:
            self._wake()

    def _put_update(self, event: HubEvent, update: LayerUpdate) -> None:
        key = (event.scan_id, update.layer)
        if key in self._stale:
            self.coalesced += 1
            return
        self._events.append(event)
        self._bytes += event.nbytes
        queued = self._layer_bytes[key] = self._layer_bytes.get(key, 0) + event.nbytes
        if queued > update.shape[0] * update.shape[1] * PIXEL_BYTES:
            self._drop_deltas(key)

    def _drop_deltas(self, key: LayerKey) -> None:
        """Replace the deltas of a layer by a snapshot."""
        is_kept = [event.update is None or (event.scan_id, event.update.layer) != key for event in self._events]
        self.coalesced += is_kept.count(False)
        self._events = deque(compress(self._events, is_kept))
        self._bytes -= self._layer_bytes.pop(key, 0)
        self._stale[key] = None

    def _coalesce(self) -> None:
        """Drop all deltas, and all but the newest status and news of scans."""
        for key in list(self._layer_bytes):
            self._drop_deltas(key)
        scans = deque([event for event in self._events if event.topic == "scan"], max(1, self._max_events // 2))
        status = [event for event in self._events if event.topic == "status"][-1:]
        self._events = deque([*scans, *status])

    def _take(self) -> tuple[deque[HubEvent], dict[LayerKey, None]]:
        with self._lock:
            events, self._events = self._events, deque()
            stale, self._stale = self._stale, {}
            self._bytes = 0
            self._layer_bytes.clear()
        return events, stale

    def _forget(self) -> None:
        """Drop the versions of old scans."""
        while len(self._sent) > 64:
            del self._sent[next(iter(self._sent))]
