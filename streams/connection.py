"""What both ends of a stream share: endpoints, CURVE keys, and the news of connections.

An endpoint is ``tcp://host:port`` or ``ipc://path``; a mark before it tells binding from connecting. Without a ZAP
handler a CURVE server encrypts but lets in every client that knows its public key.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import zmq
from zmq.utils.monitor import recv_monitor_message

from streams.errors import EndpointError

__all__ = ["EVENTS", "CurveKeys", "Peers", "attach", "close", "drain", "has_input", "kind_of", "set_curve"]

log = logging.getLogger(__name__)

_ENDPOINT = re.compile(r"tcp://[^\s/]+:(?P<port>\d{1,5}|\*)|ipc://.+")
_RECONNECT_MS, _RECONNECT_MOST_MS = 100, 1000
_REVIVE_S = 2.0
EVENTS = (
    zmq.EVENT_CONNECTED
    | zmq.EVENT_CONNECT_DELAYED
    | zmq.EVENT_CONNECT_RETRIED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
)
_TRYING = (zmq.EVENT_CONNECTED, zmq.EVENT_CONNECT_DELAYED, zmq.EVENT_CONNECT_RETRIED)


@dataclass(frozen=True, slots=True)
class CurveKeys:
    """Z85 keys, 40 characters each: this end's pair, and the other end's public key unless this end is the server."""

    public: bytes
    secret: bytes = field(repr=False)
    server: bytes | None = None


class Peers:
    """What the socket monitor tells: live connections, failed handshakes, and when connecting has to be begun anew."""

    def __init__(self, place: str) -> None:
        self.connections = 0
        self.handshake_failures = 0
        self.fault: str | None = None
        self.revive_at: float | None = None
        self._place = place
        self._failing = 0

    def note(self, event: int) -> None:
        """Take one event."""
        if event in _TRYING:
            self.revive_at = None
            if event == zmq.EVENT_CONNECT_RETRIED and self._failing == 0 and self.fault is None:
                self.fault = f"{self._place}: nobody answers; still trying, check that the sender runs there"
        elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self.connections += 1
            self.fault = None
        elif event == zmq.EVENT_DISCONNECTED:
            self._disconnected()
        else:
            self._failing += 1
            self.handshake_failures += 1
            self.fault = (
                f"{self._place}: the handshake failed; check the CURVE keys of both ends, and that both have any"
            )

    def _disconnected(self) -> None:
        # After a fault of protocol, such as a message over the limit, libzmq does not try again by itself.
        self.revive_at = time.monotonic() + _REVIVE_S
        if self._failing:
            self._failing -= 1
            return
        self.connections = max(0, self.connections - 1)
        log.warning("%s: a connection was lost", self._place)
        self.fault = f"{self._place}: the connection was lost; the sender stopped, or sent more than the limit allows"


def kind_of(kinds: Mapping[str, zmq.SocketType], name: str) -> zmq.SocketType:
    """Return the socket type of a name; raise :class:`EndpointError` for another."""
    if name not in kinds:
        raise EndpointError(f"socket {name!r} is none of {', '.join(kinds)}; choose one of these")
    return kinds[name]


def attach(socket: zmq.Socket[bytes], endpoint: str, who: str, mark: str, is_bound_if_marked: bool) -> tuple[str, str]:
    """Bind or connect; return the bare address and the endpoint as it is now, with its real port."""
    is_marked = endpoint.startswith(mark)
    address = endpoint[1:] if is_marked else endpoint
    is_bound = is_marked == is_bound_if_marked
    if not _is_endpoint(address):
        raise EndpointError(
            f"{who}: {endpoint!r} is no endpoint; it looks like {mark}tcp://127.0.0.1:9999, or without {mark}"
        )
    socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, _RECONNECT_MOST_MS)
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 20)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, 5)
    try:
        (socket.bind if is_bound else socket.connect)(address)
    except zmq.ZMQError as fault:
        if fault.errno == zmq.EADDRINUSE:
            raise EndpointError(
                f"{who}: {address} is in use by another program; stop it or choose another port"
            ) from fault
        reason = zmq.strerror(fault.errno or 0)
        raise EndpointError(f"{who}: {address} cannot be opened ({reason}); check address and port") from fault
    return address, socket.getsockopt_string(zmq.LAST_ENDPOINT)


def set_curve(socket: zmq.Socket[bytes], curve: CurveKeys | None) -> None:
    """Give a socket its keys before it is attached. Raises :class:`EndpointError` for what is no key."""
    if curve is None:
        return
    try:
        if curve.server is None:
            socket.setsockopt(zmq.CURVE_SERVER, 1)
        else:
            socket.setsockopt(zmq.CURVE_SERVERKEY, curve.server)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, curve.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, curve.secret)
    except zmq.ZMQError as fault:
        raise EndpointError("a CURVE key is not 40 characters of Z85; make keys anew with zmq.curve_keypair") from fault


def _is_endpoint(address: str) -> bool:
    found = _ENDPOINT.fullmatch(address)
    return found is not None and (found["port"] in (None, "*") or int(found["port"]) < 65536)


def has_input(socket: zmq.Socket[bytes]) -> bool:
    """Whether a message is there to read."""
    return bool(cast(int, socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN)


def drain(monitor: zmq.Socket[bytes], peers: Peers) -> bool:
    """Take in all monitor events; whether there were any."""
    count = 0
    while has_input(monitor):
        peers.note(recv_monitor_message(monitor)["event"])
        count += 1
    return count > 0


def close(
    context: zmq.Context[zmq.Socket[bytes]], socket: zmq.Socket[bytes], monitor: zmq.Socket[bytes], linger_ms: int
) -> None:
    """Close both sockets and end the context, sending what is queued for up to ``linger_ms``; -1 for ever."""
    socket.disable_monitor()
    monitor.close(0)
    socket.close(linger_ms)
    context.term()
