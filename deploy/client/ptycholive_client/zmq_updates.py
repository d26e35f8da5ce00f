"""The updates over ZeroMQ: a SUB socket, with the cause if no message can come."""

from __future__ import annotations

import zmq

from ptycholive_client.connection import close, set_curve
from ptycholive_client.errors import EndpointError
from ptycholive_client.keys import CurveKeys
from ptycholive_client.peers import EVENTS, Peers, drain
from ptycholive_client.wire import Message, decode

MAX_MESSAGE_BYTES = 4 << 30
"""A picture of 16384 x 16384 px with its weight has 3 GiB."""


class ZmqUpdates:
    """Messages from the daemon's ``[publish] endpoint``; ZeroMQ itself connects again."""

    connections = 1

    def __init__(self, endpoint: str, timeout_s: float | None, curve: CurveKeys | None, receive_limit: int) -> None:
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.RCVHWM, receive_limit)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
        if timeout_s is not None:
            self._socket.setsockopt(zmq.RCVTIMEO, max(1, round(1000 * timeout_s)))
        self._peers = Peers(endpoint, curve)
        self._monitor = self._socket.get_monitor_socket(EVENTS)
        self._connect(curve)

    def receive(self) -> Message:
        """Return the next message. Raises ``TimeoutError``, ``EndpointError`` or ``WireError``."""
        try:
            return decode(self._socket.recv_multipart())
        except zmq.Again as silence:
            drain(self._monitor, self._peers)
            if self._peers.handshake_failures and self._peers.fault:
                raise EndpointError(self._peers.fault) from silence
            raise TimeoutError(
                f"no message came from {self._endpoint} for {self._timeout_s:g} s; "
                "check that the daemon runs and that [publish] endpoint is this address"
            ) from silence

    def subscribe_again(self) -> None:
        """Ask for whole pictures: the daemon answers each subscription with them."""
        self._socket.setsockopt(zmq.UNSUBSCRIBE, b"")
        self._socket.setsockopt(zmq.SUBSCRIBE, b"")

    def close(self) -> None:
        """Close the connection."""
        if not self._socket.closed:
            close(self._context, self._socket, self._monitor, 0)

    def _connect(self, curve: CurveKeys | None) -> None:
        try:
            set_curve(self._socket, curve)
            self._socket.connect(self._endpoint)
        except (EndpointError, zmq.ZMQError) as fault:
            self.close()
            if isinstance(fault, EndpointError):
                raise
            sentence = f"{self._endpoint!r} is not a valid endpoint ({fault.strerror}). Example: tcp://127.0.0.1:5556"
            raise EndpointError(sentence) from fault
        self._socket.setsockopt(zmq.SUBSCRIBE, b"")
