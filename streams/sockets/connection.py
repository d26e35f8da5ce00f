"""Shared by senders and receivers: endpoints, keys on sockets, the allow-list of clients, closing.

An endpoint is ``tcp://host:port`` or ``ipc://path``; a mark before it selects binding or connecting.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

import zmq
from zmq.auth.thread import ThreadAuthenticator

from ptycholive_client.connection import close, set_curve
from ptycholive_client.errors import EndpointError, KeyFileError
from ptycholive_client.keys import AllowList, CurveKeys

__all__ = ["ClientGate", "attach", "close", "guard", "kind_of", "set_curve"]

log = logging.getLogger(__name__)

_ENDPOINT = re.compile(r"tcp://[^\s/]+:(?P<port>\d{1,5}|\*)|ipc://.+")
_RECONNECT_MS, _RECONNECT_MOST_MS = 100, 1000
"""First and longest pause between attempts to connect, ms: a restarted sender is found within a second."""
_KEEPALIVE_IDLE_S, _KEEPALIVE_INTERVAL_S = 20, 5
"""TCP keep-alive: a peer that vanished without a word is noticed within about a minute."""


class ClientGate:
    """Admits the clients in the allow-list to every CURVE server of a context (ZAP, any domain)."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], allowed: AllowList) -> None:
        self._allowed = allowed
        self._authenticator = ThreadAuthenticator(context)
        self._authenticator.start()
        self._authenticator.configure_curve_callback("*", self)

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether a client with this public key is admitted (called in the authenticator's thread)."""
        del domain
        try:
            is_allowed = key in self._allowed.keys()  # noqa: SIM118 - not a mapping
        except KeyFileError as fault:
            log.warning("no client is admitted: %s", fault)
            return False
        if not is_allowed:
            log.warning("a client with the key %s was rejected; it is not in %s", key.decode(), self._allowed.path)
        return is_allowed

    def close(self) -> None:
        """End the thread."""
        self._authenticator.stop()


def guard(context: zmq.Context[zmq.Socket[bytes]], curve: CurveKeys | None) -> ClientGate | None:
    """Return the gate of a context's sockets if the keys have an allow-list."""
    return None if curve is None or curve.allowed is None else ClientGate(context, curve.allowed)


def kind_of(kinds: Mapping[str, zmq.SocketType], name: str) -> zmq.SocketType:
    """Return the socket type of a name; raise :class:`EndpointError` for an unknown name."""
    if name not in kinds:
        raise EndpointError(f"socket {name!r} is not one of {', '.join(kinds)}; choose one of these")
    return kinds[name]


def attach(socket: zmq.Socket[bytes], endpoint: str, who: str, mark: str, is_bound_if_marked: bool) -> tuple[str, str]:
    """Bind or connect; return the bare address and the endpoint as it is now, with its real port."""
    is_marked = endpoint.startswith(mark)
    address = endpoint[1:] if is_marked else endpoint
    is_bound = is_marked == is_bound_if_marked
    if not _is_endpoint(address):
        raise EndpointError(
            f"{who}: {endpoint!r} is not a valid endpoint. Example: {mark}tcp://127.0.0.1:9999, or without {mark}"
        )
    socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, _RECONNECT_MOST_MS)
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, _KEEPALIVE_IDLE_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, _KEEPALIVE_INTERVAL_S)
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


def _is_endpoint(address: str) -> bool:
    found = _ENDPOINT.fullmatch(address)
    return found is not None and (found["port"] in (None, "*") or int(found["port"]) < 65536)
