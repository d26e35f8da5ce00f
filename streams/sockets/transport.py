"""ZeroMQ ends of a stream: a receiver whose thread only receives, and a sender.

An endpoint is ``tcp://host:port`` or ``ipc://path``. A receiver connects to it, or binds if it begins with ``@``; a sender
binds, or connects if it begins with ``>``. Port 0 binds a free port; ``bound_endpoint`` names it.
"""

from __future__ import annotations

import socket as sockets
import time
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType

import zmq

from streams.errors import EndpointError
from streams.sockets.connection import attach, close, guard, kind_of, set_curve
from streams.sockets.keys import CurveKeys
from streams.sockets.peers import EVENTS, Peers, drain, has_input
from streams.sockets.receiver import MessageReceiver, OnMessage

__all__ = ["CurveKeys", "OnMessage", "Receiver", "Sender"]

_RECEIVING = {"pull": zmq.PULL, "sub": zmq.SUB}
_SENDING = {"push": zmq.PUSH, "pub": zmq.XPUB}
_BURST = 128
"""Messages received before the thread looks at the connection again."""
_FEW, _REST_S = 4, 0.004
"""After fewer messages the thread rests, s: waking up for each message would take the interpreter from other threads."""
_LEAST_QUEUED = 2
"""Messages that ZeroMQ may queue even if they are the largest: one to read and one that arrives meanwhile."""
_MOST_QUEUED_BYTES = 2**30
"""Memory of ZeroMQ's queue in bytes; the daemon has its own bound behind it."""


class Receiver(MessageReceiver):
    """Receives one ZeroMQ stream in its own thread, and reconnects for ever.

    While ``on_message`` blocks, a pushing sender waits and a publishing one drops messages.

    Parameters
    ----------
    socket
        ``pull`` or ``sub``.
    max_message_bytes
        Bound on a message. A sender of a larger part is disconnected; a message whose parts exceed it together is refused.
    receive_limit
        Messages that ZeroMQ may queue for one sender; lowered so that the largest ones fill at most 1 GiB. A few are
        enough, since the kernel queues some megabytes too. The limit must not be changed on a live socket: libzmq can
        then wait for ever for a reader that reports its progress too rarely.
    """

    def __init__(
        self,
        name: str,
        endpoint: str,
        socket: str,
        on_message: OnMessage,
        *,
        max_message_bytes: int = 128 * 2**20,
        receive_limit: int = 16,
        curve: CurveKeys | None = None,
    ) -> None:
        super().__init__(name, endpoint, on_message, max_message_bytes)
        self._kind = kind_of(_RECEIVING, socket)
        self._receive_limit = min(receive_limit, max(_LEAST_QUEUED, _MOST_QUEUED_BYTES // max_message_bytes))
        self._curve = curve
        self._peers = Peers(f"{name} stream {endpoint}", curve)

    @property
    def connected(self) -> bool:
        """Whether a peer is connected and its handshake is done."""
        return self._peers.connections > 0

    @property
    def handshake_failures(self) -> int:
        """Handshakes that failed so far: wrong keys, or encryption at one end only."""
        return self._peers.handshake_failures

    @property
    def fault(self) -> str | None:
        """The fault of the connection, as a sentence; ``None`` while it is good or has just been opened."""
        if self._peers.connections > 1:
            return (
                f"{self.name} stream {self.bound_endpoint}: {self._peers.connections} senders are connected and their "
                "messages mix; stop all but one"
            )
        return None if self.connected else self._peers.fault

    def start(self) -> None:
        """Open the socket and start the thread. Raises :class:`EndpointError`."""
        self._context = zmq.Context()
        self._socket = self._context.socket(self._kind)
        self._monitor = self._socket.get_monitor_socket(EVENTS)
        self._gate = guard(self._context, self._curve)
        try:
            self._set_options()
            self._address, self.bound_endpoint = attach(self._socket, self.endpoint, f"{self.name} stream", "@", True)
        except BaseException:
            close(self._context, self._socket, self._monitor, 0, self._gate)
            raise
        self._awake, self._waker = sockets.socketpair()
        self._thread.start()

    def stop(self) -> None:
        """End the thread after a running ``on_message`` returns, and free the endpoint."""
        if self._thread.ident is None or self._stopping.is_set():
            return
        self._stopping.set()
        self._waker.send(b"\0")
        self._thread.join()
        self._awake.close()
        self._waker.close()

    def _set_options(self) -> None:
        self._socket.setsockopt(zmq.RCVHWM, self._receive_limit)
        self._socket.setsockopt(zmq.MAXMSGSIZE, self.max_message_bytes)
        set_curve(self._socket, self._curve)
        if self._kind == zmq.SUB:
            self._socket.setsockopt(zmq.SUBSCRIBE, b"")

    def _run(self) -> None:
        poller = zmq.Poller()
        for source in (self._socket, self._monitor, self._awake.fileno()):
            poller.register(source, zmq.POLLIN)
        try:
            while not self._stopping.is_set():
                poller.poll(self._reconnect_in_ms())
                self._watch()
                if self._receive() < _FEW:
                    self._stopping.wait(_REST_S)
        finally:
            close(self._context, self._socket, self._monitor, 0, self._gate)

    def _reconnect_in_ms(self) -> int | None:
        at = self._peers.reconnect_at
        return None if at is None else max(0, round(1000 * (at - time.monotonic())))

    def _watch(self) -> None:
        if drain(self._monitor, self._peers):
            self._tell()
        at = self._peers.reconnect_at
        if at is not None and time.monotonic() >= at:
            self._peers.reconnect_at = None
            if not self.endpoint.startswith("@"):
                with suppress(zmq.ZMQError):
                    self._socket.disconnect(self._address)
                self._socket.connect(self._address)

    def _receive(self) -> int:
        """Receive the waiting messages, up to a burst; return their number."""
        for number in range(_BURST):
            try:
                frame = self._socket.recv(zmq.DONTWAIT, copy=False)
            except zmq.Again:
                return number
            received_ns = time.monotonic_ns()
            parts = [frame.buffer]
            while frame.more:  # the parts of a message arrive together
                frame = self._socket.recv(copy=False)
                parts.append(frame.buffer)
            self._deliver(parts, sum(map(len, parts)), received_ns)
            if self._stopping.is_set():
                return number
        return _BURST


class Sender:
    """Sends a stream, for use in one thread. Both ``push`` and ``pub`` wait for a slow receiver.

    Parameters
    ----------
    socket
        ``push`` or ``pub``.
    send_limit
        Messages that ZeroMQ may queue for each receiver.
    """

    def __init__(
        self, endpoint: str, socket: str = "push", *, send_limit: int = 256, curve: CurveKeys | None = None
    ) -> None:
        self.endpoint = endpoint
        self._kind = kind_of(_SENDING, socket)
        self._peers = Peers(endpoint, curve)
        self._subscribers = 0
        self._send_timeout_ms = -1
        self._context = zmq.Context()
        self._socket = self._context.socket(self._kind)
        self._monitor = self._socket.get_monitor_socket(EVENTS)
        self._gate = guard(self._context, curve)
        try:
            self._socket.setsockopt(zmq.SNDHWM, send_limit)
            set_curve(self._socket, curve)
            if self._kind == zmq.XPUB:
                self._socket.setsockopt(zmq.XPUB_NODROP, 1)
                self._socket.setsockopt(zmq.XPUB_VERBOSER, 1)
            _, self.bound_endpoint = attach(self._socket, endpoint, "sender", ">", False)
        except BaseException:
            close(self._context, self._socket, self._monitor, 0, self._gate)
            raise

    def __enter__(self) -> Sender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.close(0)

    @property
    def handshake_fault(self) -> str | None:
        """Why receivers were rejected, as a sentence; ``None`` if none was."""
        return self._peers.fault if self._peers.handshake_failures else None

    def wait_for_peer(self, timeout_s: float) -> bool:
        """Wait until a receiver is connected (``pub``: has subscribed); return whether one is."""
        end = time.monotonic() + timeout_s
        source = self._socket if self._kind == zmq.XPUB else self._monitor
        while not self._has_peer():
            left = end - time.monotonic()
            if left <= 0:
                return False
            source.poll(max(1, round(1000 * left)))
        return True

    def send(self, parts: Sequence[bytes | memoryview], timeout_s: float | None = None) -> None:
        """Send one message, waiting for room. Raises :class:`EndpointError` if there is none within ``timeout_s``."""
        self._has_peer()
        timeout_ms = -1 if timeout_s is None else max(0, round(1000 * timeout_s))
        if timeout_ms != self._send_timeout_ms:
            self._socket.setsockopt(zmq.SNDTIMEO, timeout_ms)
            self._send_timeout_ms = timeout_ms
        try:
            self._socket.send_multipart(parts, copy=False)
        except zmq.Again as fault:
            message = f"{self.endpoint}: no receiver accepted a message for {timeout_s:g} s; check that one is running"
            raise EndpointError(message) from fault

    def close(self, linger_s: float = 60.0) -> None:
        """Free the endpoint when all messages are sent, or after ``linger_s``."""
        if not self._socket.closed:
            close(self._context, self._socket, self._monitor, round(1000 * linger_s), self._gate)

    def _has_peer(self) -> bool:
        """Whether there is a receiver now."""
        drain(self._monitor, self._peers)
        if self._kind != zmq.XPUB:
            return self._peers.connections > 0
        while has_input(self._socket):
            self._subscribers += 1 if self._socket.recv()[:1] == b"\1" else -1
        return self._subscribers > 0
