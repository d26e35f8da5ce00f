"""A client that follows the daemon; used by `ptycholive watch` and by scripts.

``Viewer.events`` yields every message; ``follow_scan`` and ``snapshots`` are loops over one scan. ``AsyncViewer`` does the
same in asyncio, with ``async with`` and ``async for``; it has one thread, which waits on the socket.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Literal, NamedTuple, cast

import zmq

from daemon.messages import DeltaHeader, LayerName, PictureHeader, ScanHeader, SnapshotHeader, StatusHeader
from daemon.publish.snapshot import LayerCanvas, copied
from daemon.publish.wire import Message, WireError, apply_delta, decode, read_snapshot
from streams.errors import EndpointError
from streams.sockets.connection import close, set_curve
from streams.sockets.keys import CurveKeys
from streams.sockets.peers import EVENTS, Peers, drain

MAX_MESSAGE_BYTES = 4 << 30  # a picture of 16384 x 16384 px with its weight has 3 GiB
MAX_LAYERS = 4  # layers that are kept for deltas: two of the running scan and two of the one before
ASYNC_EVENTS = 64  # events that wait for a slow loop; each may hold a picture


class StatusEvent(NamedTuple):
    """The status of the daemon."""

    topic: Literal["status"]
    header: StatusHeader
    picture: None


class ScanEvent(NamedTuple):
    """The start or the end of a scan."""

    topic: Literal["scan"]
    header: ScanHeader
    picture: None


class PictureEvent(NamedTuple):
    """A layer after a snapshot or a delta."""

    topic: Literal["snapshot", "delta"]
    header: PictureHeader
    picture: LayerCanvas


ViewerEvent = StatusEvent | ScanEvent | PictureEvent
"""One message: topic, header and picture. Its type tells the topic, and ``event.picture is not None`` a picture."""


class Viewer:
    """Follows the daemon at `endpoint`; after a gap it asks for the whole picture again.

    Parameters
    ----------
    timeout_s
        Longest wait for a message, s; None waits for ever.
    curve
        This viewer's keys and the daemon's public one, if it encrypts; see :func:`streams.sockets.keys.read_keys`.
    """

    def __init__(
        self,
        endpoint: str,
        timeout_s: float | None = 10.0,
        *,
        curve: CurveKeys | None = None,
        receive_limit: int = 256,
    ) -> None:
        self.endpoint = endpoint
        self.timeout_s = timeout_s
        self.gaps = 0
        self.states: dict[tuple[str, LayerName], LayerCanvas] = {}
        self._next: int | None = None
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.RCVHWM, receive_limit)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
        if timeout_s is not None:
            self._socket.setsockopt(zmq.RCVTIMEO, max(1, round(1000 * timeout_s)))
        self._peers = Peers(endpoint, curve)
        self._monitor = self._socket.get_monitor_socket(EVENTS)
        self._connect(curve)

    def __enter__(self) -> Viewer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        if not self._socket.closed:
            close(self._context, self._socket, self._monitor, 0)

    def events(self) -> Iterator[ViewerEvent]:
        """Yield (topic, header, picture) of each message, for ever.

        The picture is the whole layer after a ``snapshot`` or ``delta``, and None for other topics. Later deltas change its
        arrays, so copy them to keep them.

        Raises
        ------
        TimeoutError
            If no message came for `timeout_s`.
        EndpointError
            If no message could come because the keys do not match.
        """
        while True:
            yield from self._take(self._receive())

    def snapshots(self, layer: str = "refined", scan_id: str | None = None) -> Iterator[LayerCanvas]:
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

    def _connect(self, curve: CurveKeys | None) -> None:
        try:
            set_curve(self._socket, curve)
            self._socket.connect(self.endpoint)
        except (EndpointError, zmq.ZMQError) as fault:
            self.close()
            if isinstance(fault, EndpointError):
                raise
            sentence = f"{self.endpoint!r} is not a valid endpoint ({fault.strerror}). Example: tcp://127.0.0.1:5556"
            raise EndpointError(sentence) from fault
        self._socket.setsockopt(zmq.SUBSCRIBE, b"")

    def _receive(self) -> Message:
        while True:
            try:
                return decode(self._socket.recv_multipart())
            except zmq.Again as silence:
                drain(self._monitor, self._peers)
                if self._peers.handshake_failures and self._peers.fault:
                    raise EndpointError(self._peers.fault) from silence
                raise TimeoutError(
                    f"no message came from {self.endpoint} for {self.timeout_s:g} s; "
                    "check that the daemon runs and that [publish] endpoint is this address"
                ) from silence
            except WireError:
                self._next = -1  # counts as a gap

    def _is_gap(self, message: Message) -> bool:
        sequence = int(message.full_header["sequence"])
        is_gap = self._next is not None and sequence != self._next
        self._next = sequence + 1
        return is_gap

    def _subscribe_again(self) -> None:
        self.gaps += 1
        self.states.clear()
        self._socket.setsockopt(zmq.UNSUBSCRIBE, b"")
        self._socket.setsockopt(zmq.SUBSCRIBE, b"")

    def _keep(self, canvas: LayerCanvas) -> LayerCanvas:
        self.states[(canvas.scan_id, canvas.layer)] = canvas
        while len(self.states) > MAX_LAYERS:
            del self.states[next(iter(self.states))]
        return canvas


class AsyncViewer:
    """A :class:`Viewer` for asyncio: ``async with AsyncViewer(endpoint) as viewer: async for … in viewer.events()``.

    Its pictures are copies. At most a few dozen events wait for a slow loop; the daemon is not delayed.
    """

    def __init__(self, endpoint: str, timeout_s: float | None = 10.0, *, curve: CurveKeys | None = None) -> None:
        self._viewer = Viewer(endpoint, 0.2, curve=curve)
        self._timeout_s = timeout_s
        self._leaving = threading.Event()
        self._room = threading.Semaphore(ASYNC_EVENTS)
        self._events: asyncio.Queue[ViewerEvent | BaseException] = asyncio.Queue()
        self._thread: threading.Thread | None = None

    async def __aenter__(self) -> AsyncViewer:
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, args=(loop,), name="viewer", daemon=True)
        self._thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    async def events(self) -> AsyncIterator[ViewerEvent]:
        """As :meth:`Viewer.events`, with the same exceptions."""
        while True:
            try:
                event = await asyncio.wait_for(self._events.get(), self._timeout_s)
            except TimeoutError as silence:
                words = f"no message came from {self._viewer.endpoint} for {self._timeout_s:g} s; check that the daemon runs"
                raise TimeoutError(words) from silence
            self._room.release()
            if isinstance(event, BaseException):
                raise event
            yield event

    async def snapshots(self, layer: str = "refined", scan_id: str | None = None) -> AsyncIterator[LayerCanvas]:
        """As :meth:`Viewer.snapshots`."""
        async for event in self.events():
            picture = event.picture
            if picture is not None and picture.layer == layer and scan_id in (None, picture.scan_id):
                yield picture

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            while not self._leaving.is_set():
                with suppress(TimeoutError):
                    for event in self._viewer.events():
                        self._put(
                            loop, event if event.picture is None else event._replace(picture=copied(event.picture))
                        )
                        if self._leaving.is_set():
                            return
        except Exception as fault:  # raised again in the loop
            self._put(loop, fault)
        finally:
            self._viewer.close()

    def _put(self, loop: asyncio.AbstractEventLoop, event: ViewerEvent | BaseException) -> None:
        while not self._room.acquire(timeout=0.2):
            if self._leaving.is_set():
                return
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(self._events.put_nowait, event)
