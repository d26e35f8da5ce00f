"""Pictures for viewers over ZeroMQ: an XPUB socket in its own thread."""

from __future__ import annotations

import logging
import socket
import threading
from contextlib import suppress

import zmq

from daemon.publish.feed import Feed
from daemon.publish.hub import UpdateHub
from daemon.publish.seats import Seats
from daemon.publish.wire import Message, encode
from streams.errors import EndpointError
from streams.sockets.connection import close, guard, set_curve
from streams.sockets.keys import CurveKeys
from streams.sockets.peers import EVENTS, Peers, drain

log = logging.getLogger(__name__)

LINGER_MS = 500
MOST_REQUEST_BYTES = 4096
MOST_CONNECTIONS = 256
HANDSHAKE_MS = 5_000
"""A connection that does not complete its handshake is closed after this time, ms."""


class ZmqPublisher:
    """Sends every hub event to all subscribers, and the whole picture after each new subscription.

    A subscriber that does not read costs at most `send_limit` messages of memory. After that it loses messages, detects
    the gap in ``sequence`` and subscribes again.

    Parameters
    ----------
    endpoint
        Address to bind, ``tcp://127.0.0.1:5556``; port 0 takes a free port, see ``bound_endpoint``.
    curve
        Keys of the server, for encryption; with an allow-list, other viewers are refused.
    most_connections
        Limit over TCP; further connections are closed.
    """

    def __init__(
        self,
        hub: UpdateHub,
        endpoint: str,
        *,
        send_limit: int = 96,
        max_events: int = 256,
        max_bytes: int = 64 << 20,
        curve: CurveKeys | None = None,
        most_connections: int = MOST_CONNECTIONS,
    ) -> None:
        self.endpoint = endpoint
        self.subscribers = 0
        self.sent = 0
        self._stopping = threading.Event()
        self._peers = Peers(f"viewers' endpoint {endpoint}", curve)
        self._seats = Seats(f"viewers' endpoint {endpoint}", most_connections)
        self._context = zmq.Context()
        self._door = guard(self._context, curve)
        self._socket = self._bind(endpoint, send_limit, curve)
        self._awake, self._waker = socket.socketpair()
        self._awake.setblocking(False)
        self._waker.setblocking(False)
        self._feed = Feed(hub, self._wake, max_events, max_bytes)
        self._thread = threading.Thread(target=self._run, name="publish-zmq", daemon=True)
        self._thread.start()

    @property
    def bound_endpoint(self) -> str:
        """The endpoint with its real port."""
        return self._bound_endpoint

    @property
    def handshake_failures(self) -> int:
        """Viewers with a wrong key, without a key, or with one that is not allowed."""
        return self._peers.handshake_failures

    @property
    def coalesced(self) -> int:
        """Deltas that were replaced by a snapshot because the publisher lagged."""
        return self._feed.coalesced

    def close(self) -> None:
        """Send all queued messages, then stop; returns when the port is free."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._wake()
        self._thread.join()
        self._feed.close()
        self._awake.close()
        self._waker.close()

    def _bind(self, endpoint: str, send_limit: int, curve: CurveKeys | None) -> zmq.Socket[bytes]:
        publisher = self._context.socket(zmq.XPUB)
        publisher.setsockopt(zmq.XPUB_VERBOSER, 1)
        publisher.setsockopt(zmq.SNDHWM, send_limit)
        publisher.setsockopt(zmq.HEARTBEAT_IVL, 5_000)
        publisher.setsockopt(zmq.HEARTBEAT_TIMEOUT, 30_000)
        publisher.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        publisher.setsockopt(zmq.MAXMSGSIZE, MOST_REQUEST_BYTES)
        self._monitor = publisher.get_monitor_socket(EVENTS)
        try:
            set_curve(publisher, curve)
            publisher.bind(endpoint)
        except (EndpointError, zmq.ZMQError) as fault:
            close(self._context, publisher, self._monitor, 0, self._door)
            if isinstance(fault, EndpointError):
                raise
            raise EndpointError(_bind_sentence(endpoint, fault)) from fault
        self._bound_endpoint = publisher.getsockopt_string(zmq.LAST_ENDPOINT)
        return publisher

    def _wake(self) -> None:
        with suppress(OSError):  # full: the thread is awake already; closed: it has ended
            self._waker.send(b"\0")

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._monitor, zmq.POLLIN)
        poller.register(self._awake.fileno(), zmq.POLLIN)
        while not self._stopping.is_set():
            poller.poll()
            try:
                self._step()
            except Exception:
                log.exception("a message for viewers was lost; the publisher continues")
        with suppress(Exception):
            self._step()
        close(self._context, self._socket, self._monitor, LINGER_MS, self._door)

    def _step(self) -> None:
        with suppress(BlockingIOError):
            while self._awake.recv(4096):
                pass
        drain(self._monitor, self._peers, self._seat)
        for message in self._feed.messages():
            self._send(message)
        if self._subscriptions():
            for message in self._feed.greeting():
                self._send(message)

    def _seat(self, descriptor: int) -> None:
        if self._bound_endpoint.startswith("tcp:"):
            self._seats.take(descriptor, int(self._bound_endpoint.rpartition(":")[2]))

    def _subscriptions(self) -> bool:
        """Whether a viewer has subscribed since the last call."""
        arrived = False
        with suppress(zmq.Again):
            while True:
                request = self._socket.recv(zmq.DONTWAIT)
                if request[:1] == b"\1":
                    arrived = True
                    self.subscribers += 1
                elif request[:1] == b"\0":
                    self.subscribers = max(0, self.subscribers - 1)
        return arrived

    def _send(self, message: Message) -> None:
        self._socket.send_multipart(encode(message.topic, message.numbered(self.sent), message.buffers))
        self.sent += 1


def _bind_sentence(endpoint: str, fault: zmq.ZMQError) -> str:
    if fault.errno == zmq.EADDRINUSE:
        return f"viewers' endpoint {endpoint} is in use by another program; stop it or choose another port"
    return f"viewers' endpoint {endpoint} cannot be bound: {zmq.strerror(fault.errno or 0)}; check address and port"
