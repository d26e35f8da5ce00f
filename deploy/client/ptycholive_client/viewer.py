"""A client that follows the daemon; used by `ptycholive watch`, by notebooks and by scripts.

``Viewer.events`` yields every message; ``follow_scan`` and ``snapshots`` are loops over one scan.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Protocol, cast

from ptycholive_client.errors import EndpointError
from ptycholive_client.events import PictureEvent, ScanEvent, StatusEvent, ViewerEvent
from ptycholive_client.keys import CurveKeys
from ptycholive_client.messages import DeltaHeader, LayerName, ScanHeader, SnapshotHeader, StatusHeader
from ptycholive_client.pictures import Picture, copied
from ptycholive_client.web_updates import WebUpdates, is_web
from ptycholive_client.wire import Message, WireError, apply_delta, read_snapshot
from ptycholive_client.zmq_updates import ZmqUpdates

MAX_LAYERS = 4
"""Layers that are kept for deltas: two of the running scan and two of the one before."""


class Updates(Protocol):
    """A connection to the daemon's updates; ``connections`` grows when it is made again and numbers begin at 0."""

    connections: int

    def receive(self) -> Message:
        """Return the next message. Raises ``TimeoutError``, ``EndpointError`` or ``WireError``."""

    def subscribe_again(self) -> None:
        """Ask for whole pictures."""

    def close(self) -> None:
        """Close the connection."""


class Viewer:
    """Follows the daemon at `endpoint`; after a gap it asks for the whole picture again.

    Parameters
    ----------
    endpoint
        The daemon's ``[publish] endpoint`` (``tcp://host:5556``), or the address of its page (``http://host:8080``).
    timeout_s
        Longest wait for a message, s; None waits for ever.
    curve
        This viewer's keys and the daemon's public one, if it encrypts; see :func:`ptycholive_client.keys.read_keys`.
    token
        The daemon's token, for the address of a page.
    """

    def __init__(
        self,
        endpoint: str,
        timeout_s: float | None = 10.0,
        *,
        curve: CurveKeys | None = None,
        token: str | None = None,
        receive_limit: int = 256,
    ) -> None:
        self.endpoint = endpoint
        self.timeout_s = timeout_s
        self.gaps = 0
        self.states: dict[tuple[str, LayerName], Picture] = {}
        self._next: int | None = None
        self._connections = 1
        if is_web(endpoint) and curve is not None:
            raise EndpointError(f"{endpoint}: CURVE keys are for tcp:// endpoints; use https:// and token=… here")
        self._updates: Updates = (
            WebUpdates(endpoint, timeout_s, token)
            if is_web(endpoint)
            else ZmqUpdates(endpoint, timeout_s, curve, receive_limit)
        )

    def __enter__(self) -> Viewer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._updates.close()

    def events(self) -> Iterator[ViewerEvent]:
        """Yield (topic, header, picture) of each message, for ever.

        The picture is the whole layer after a ``snapshot`` or ``delta``, and None for other topics. Later deltas change its
        arrays, so copy them to keep them.

        Raises
        ------
        TimeoutError
            If no message came for `timeout_s`.
        EndpointError
            If no message could come because keys or token do not match, or a WebSocket was closed.
        """
        while True:
            yield from self._take(self._receive())

    def snapshots(self, layer: str = "refined", scan_id: str | None = None) -> Iterator[Picture]:
        """Yield a copy of a layer's picture each time it changes.

        Parameters
        ----------
        scan_id
            The scan to follow; None yields pictures of all scans.
        """
        for event in self.events():
            picture = event.picture
            if picture is not None and picture.layer == layer and scan_id in (None, picture.scan_id):
                yield copied(picture)

    def follow_scan(self, scan_id: str | None = None) -> Iterator[ViewerEvent]:
        """Yield the events of one scan up to its end; the last one is ("scan", header, None).

        Parameters
        ----------
        scan_id
            None follows the running scan, else the next one.
        """
        followed = scan_id
        for event in self.events():
            if event.topic == "status":
                continue
            is_new = event.topic == "scan" and event.header["state"] == "started"
            is_running = event.picture is not None and not event.picture.complete
            if followed is None and (is_new or is_running):
                followed = event.header["scan_id"]
            if followed is not None and event.header["scan_id"] == followed:
                yield event
                if event.topic == "scan" and event.header["state"] == "ended":
                    return

    def _take(self, message: Message) -> Iterator[ViewerEvent]:
        if self._is_gap(message):
            self._subscribe_again()
        header = message.full_header
        if message.topic == "snapshot":
            snapshot = cast(SnapshotHeader, header)
            yield PictureEvent("snapshot", snapshot, self._keep(read_snapshot(snapshot, message.buffers)))
        elif message.topic == "delta":
            delta = cast(DeltaHeader, header)
            known = self.states.get((delta["scan_id"], delta["layer"]))
            if known is not None:  # else a snapshot was requested and will come
                canvas = apply_delta(known, delta, message.buffers, in_place=True)
                yield PictureEvent("delta", delta, self._keep(canvas))
        elif message.topic == "scan":
            yield ScanEvent("scan", cast(ScanHeader, header), None)
        else:
            yield StatusEvent("status", cast(StatusHeader, header), None)

    def _receive(self) -> Message:
        while True:
            try:
                return self._updates.receive()
            except WireError:
                self._next = -1  # counts as a gap

    def _is_gap(self, message: Message) -> bool:
        sequence = int(message.full_header["sequence"])
        if self._connections != self._updates.connections:
            self._connections, self._next = self._updates.connections, None
        is_gap = self._next is not None and sequence != self._next
        self._next = sequence + 1
        return is_gap

    def _subscribe_again(self) -> None:
        self.gaps += 1
        self.states.clear()
        self._updates.subscribe_again()

    def _keep(self, canvas: Picture) -> Picture:
        self.states[(canvas.scan_id, canvas.layer)] = canvas
        while len(self.states) > MAX_LAYERS:
            del self.states[next(iter(self.states))]
        return canvas
