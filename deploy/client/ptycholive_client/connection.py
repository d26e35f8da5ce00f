"""Keys of a socket, and the end of a context: for viewers, and for senders and receivers of the daemon."""

from __future__ import annotations

import logging
import threading
from typing import Protocol

import zmq

from ptycholive_client.errors import EndpointError
from ptycholive_client.keys import CurveKeys

__all__ = ["Closable", "close", "set_curve"]

log = logging.getLogger(__name__)

TERM_S = 5.0
"""Time for a context to end after its sockets are closed; it takes milliseconds. In one test run the library never returned."""


class Closable(Protocol):
    """A guard of a context that ends before it."""

    def close(self) -> None:
        """End it."""


def set_curve(socket: zmq.Socket[bytes], curve: CurveKeys | None) -> None:
    """Give a socket its keys before it is attached. Raises :class:`EndpointError` for an invalid key."""
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
        raise EndpointError(
            "a CURVE key is not 40 characters of Z85; make keys with deploy/keys/make_keys.py"
        ) from fault


def close(
    context: zmq.Context[zmq.Socket[bytes]],
    socket: zmq.Socket[bytes],
    monitor: zmq.Socket[bytes],
    linger_ms: int,
    gate: Closable | None = None,
) -> None:
    """Close both sockets and end the context; queued messages are sent for up to ``linger_ms``, -1: without limit.

    With a limit this returns at the latest :data:`TERM_S` after it: a context that does not end is left to a thread of its own.
    """
    socket.disable_monitor()
    monitor.close(0)
    socket.close(linger_ms)
    if gate is not None:
        gate.close()
    if linger_ms < 0:
        context.term()
        return
    ending = threading.Thread(target=context.term, name="zmq-end", daemon=True)
    ending.start()
    ending.join(linger_ms / 1000 + TERM_S)
    if ending.is_alive():
        log.warning("a ZeroMQ context has not ended within %g s after its sockets were closed; it is left", TERM_S)
