"""The hub: takes pictures, status and news of scans, and passes them to all publishers.

The engine calls ``publish_*`` and returns at once: an event is numbered, handed to the listeners (which only queue it)
and noted. The host copy of the canvas is updated later, by the next thread that needs it. ``LayerCanvas.version`` is the
number of the newest event in it, so a viewer that got a canvas skips older deltas that are still queued.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from daemon.messages import ScanNews, Status
from daemon.publish import wire
from daemon.publish.earlier_pictures import EarlierPictures
from daemon.publish.snapshot import LayerCanvas, LayerUpdate, apply_update, copied, regrow

Body = TypeVar("Body", ScanNews, Status)


@dataclass(frozen=True, eq=False)
class HubEvent:
    """One thing that happened, by topic: news of a scan, a status, or the update of a layer."""

    topic: Literal["scan", "status", "layer"]
    version: int
    scan_id: str
    scan: ScanNews | None = None
    status: Status | None = None
    update: LayerUpdate | None = None

    @cached_property
    def messages(self) -> tuple[wire.Message, ...]:
        """The event as messages for viewers, made once for all of them."""
        if self.update is not None:
            return tuple(wire.delta_messages(self.update))
        if self.scan is not None:
            return (wire.Message("scan", self.scan),)
        return () if self.status is None else (wire.Message("status", self.status),)

    @property
    def nbytes(self) -> int:
        """Size of its arrays."""
        return 0 if self.update is None else self.update.nbytes


Listener = Callable[[HubEvent], None]


@dataclass(slots=True, eq=False)
class ScanPictures:
    """The pictures of one scan: the newest of each layer, and the earlier ones that the history keeps."""

    scan_id: str
    layers: dict[str, LayerCanvas] = field(default_factory=dict)
    earlier: dict[str, EarlierPictures] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Size of the newest pictures."""
        return sum(canvas.nbytes for canvas in self.layers.values())


class UpdateHub:
    """Takes updates from any thread and keeps the newest pictures for late viewers.

    Parameters
    ----------
    keep_scans
        Number of scans kept, the newest included.
    keep_bytes
        Older scans are dropped earlier if all canvases together exceed this size.
    """

    def __init__(self, keep_scans: int = 4, keep_bytes: int = 2 << 30) -> None:
        self._keep_scans = max(1, keep_scans)
        self._keep_bytes = keep_bytes
        self._order = threading.Lock()  # numbering, pending, listeners: held for microseconds
        self._canvases = threading.Lock()  # the host copies: held while pixels are copied
        self._pending: deque[HubEvent] = deque()
        self._kept: list[ScanPictures] = []  # the oldest first, a few
        self._forgotten: deque[str] = deque(maxlen=1000)
        self._known: deque[str] = deque(maxlen=1000)
        self._snapshots: dict[str, tuple[LayerCanvas, wire.Message]] = {}
        self._listeners: list[Listener] = []
        self._version = 0
        self._latest_scan_id: str | None = None
        self._last_scan: HubEvent | None = None
        self._last_status: HubEvent | None = None

    @property
    def latest_scan_id(self) -> str | None:
        """The scan that started last, or None before the first."""
        return self._latest_scan_id

    @property
    def last_scan(self) -> HubEvent | None:
        """Newest ``scan`` event."""
        return self._last_scan

    @property
    def last_status(self) -> HubEvent | None:
        """Newest ``status`` event."""
        return self._last_status

    def publish_layer(self, update: LayerUpdate) -> None:
        """Publish an update of a picture; its arrays belong to the hub from now on."""
        self._publish(lambda version: HubEvent("layer", version, update.scan_id, update=update))
        if self._canvases.acquire(blocking=False):
            try:
                self._settle()
            finally:
                self._canvases.release()

    def publish_scan(self, news: ScanNews) -> None:
        """Publish the start or the end of a scan."""
        scan_id = str(news.get("scan_id") or "")
        body = _timed(news, scan_id)
        self._publish(lambda version: HubEvent("scan", version, scan_id, scan=body))

    def publish_status(self, status: Status) -> None:
        """Publish the status of the daemon."""
        scan_id = str(status.get("scan_id") or self._latest_scan_id or "")
        body = _timed(status, scan_id)
        self._publish(lambda version: HubEvent("status", version, scan_id, status=body))

    def canvas(self, scan_id: str, layer: str) -> LayerCanvas | None:
        """Return a copy of the current picture, or None if scan or layer is unknown."""
        with self._canvases:
            self._settle()
            kept = self._layer(scan_id, layer)
            return None if kept is None else copied(kept)

    def snapshot(self, scan_id: str, layer: str) -> tuple[int, wire.Message] | None:
        """Return version and ``snapshot`` of the current picture, made once for all viewers; None if unknown."""
        with self._canvases:
            self._settle()
            kept = self._layer(scan_id, layer)
            if kept is None:
                self._snapshots.pop(layer, None)
                return None
            last = self._snapshots.get(layer)
            if last is None or last[0] is not kept:
                last = self._snapshots[layer] = kept, wire.snapshot_message(kept)
            return kept.version, last[1]

    def reduced(self, scan_id: str, layer: str, side_px: int) -> tuple[LayerCanvas, int] | None:
        """Return every n-th pixel of a picture, and the least n for which no side exceeds `side_px`; None if unknown."""
        with self._canvases:
            self._settle()
            kept = self._layer(scan_id, layer)
            if kept is None:
                return None
            n = max(1, -(-max(kept.shape) // side_px))
            part = replace(
                kept, object=kept.object[::n, ::n].copy(), weight=kept.weight[::n, ::n].copy(), generations=None
            )
            return part, n

    def cut(self, scan_id: str, layer: str, corner_px: tuple[int, int], side_px: int) -> NDArray[np.complex64] | None:
        """Return a square part of a picture, 0 outside it, its corner [y, x] in the object's own frame; None if unknown."""
        with self._canvases:
            self._settle()
            kept = self._layer(scan_id, layer)
            if kept is None:
                return None
            return np.asarray(regrow(kept.object, kept.origin_px, (side_px, side_px), corner_px), dtype=np.complex64)

    def layer_version(self, scan_id: str, layer: str) -> int:
        """Return the number of the newest event in a picture; 0 if there is no picture."""
        with self._canvases:
            self._settle()
            kept = self._layer(scan_id, layer)
            return 0 if kept is None else kept.version

    def is_final(self, scan_id: str, layer: str) -> bool:
        """Whether a picture is the scan's last."""
        with self._canvases:
            kept = self._layer(scan_id, layer)
            return kept is not None and kept.complete

    def scan_ids(self) -> list[str]:
        """The scans that have a picture, oldest first."""
        with self._canvases:
            self._settle()
            return [pictures.scan_id for pictures in self._kept]

    def layers(self, scan_id: str) -> list[str]:
        """The layers that a scan has a picture of."""
        with self._canvases:
            self._settle()
            kept = self._pictures(scan_id)
            return [] if kept is None else sorted(kept.layers)

    def pictures(self, scan_id: str) -> ScanPictures | None:
        """Return the pictures of a scan, while they are kept; ``layers`` is read by the methods above alone."""
        with self._canvases:
            self._settle()
            return self._pictures(scan_id)

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` with every event from now on, in order, in the publishing thread; it must not wait."""
        with self._order:
            self._listeners = [*self._listeners, listener]

    def unsubscribe(self, listener: Listener) -> None:
        """Stop calling `listener`."""
        with self._order:
            self._listeners = [known for known in self._listeners if known != listener]

    def _publish(self, make_event: Callable[[int], HubEvent]) -> None:
        with self._order:
            self._version += 1
            event = make_event(self._version)
            if event.topic == "status":
                self._last_status = event
            elif event.topic == "scan":
                self._last_scan = event
            else:
                self._pending.append(event)
            if event.topic != "status" and event.scan_id not in self._known:
                self._known.append(event.scan_id)
                self._latest_scan_id = event.scan_id
            for listener in self._listeners:
                listener(event)

    def _settle(self) -> None:
        """Update the canvases; the caller holds ``_canvases``."""
        while self._pending:
            event = self._pending.popleft()
            if event.update is None or event.scan_id in self._forgotten:
                continue
            kept = self._pictures(event.scan_id)
            if kept is None:
                kept = ScanPictures(event.scan_id)
                self._kept.append(kept)
            layer = event.update.layer
            kept.layers[layer] = apply_update(kept.layers.get(layer), event.update, event.version)
            self._forget_old_scans()

    def _pictures(self, scan_id: str) -> ScanPictures | None:
        return next((kept for kept in self._kept if kept.scan_id == scan_id), None)

    def _layer(self, scan_id: str, layer: str) -> LayerCanvas | None:
        kept = self._pictures(scan_id)
        return None if kept is None else kept.layers.get(layer)

    def _forget_old_scans(self) -> None:
        while len(self._kept) > 1 and (len(self._kept) > self._keep_scans or self._kept_bytes() > self._keep_bytes):
            oldest = next(kept for kept in self._kept if kept.scan_id != self._latest_scan_id)
            self._kept.remove(oldest)
            self._forgotten.append(oldest.scan_id)

    def _kept_bytes(self) -> int:
        return sum(kept.nbytes for kept in self._kept)


def _timed(body: Body, scan_id: str) -> Body:
    """Return plain data of `body`, with the time."""
    return cast(Body, {"time_ns": time.time_ns(), **wire.plain(body), "scan_id": scan_id})
