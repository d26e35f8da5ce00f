"""What a socket's monitor tells of the other ends: who is connected, and in words what is wrong."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import cast

import zmq
from zmq.utils.monitor import recv_monitor_message

from streams.sockets.keys import CurveKeys

__all__ = ["EVENTS", "Peers", "drain", "has_input"]

log = logging.getLogger(__name__)

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


class Peers:
    """Live connections, failed handshakes, and when connecting has to be begun anew.

    ``curve`` are this end's own keys, which say what a failed handshake means.
    """

    def __init__(self, place: str, curve: CurveKeys | None = None) -> None:
        self.connections = 0
        self.handshake_failures = 0
        self.fault: str | None = None
        self.revive_at: float | None = None
        self._place = place
        self._curve = curve
        self._failing = 0
        self._is_vague = True
        self._has_answered = False
        self._was_connected = False

    def note(self, event: int, value: int = 0) -> None:
        """Take one event of the monitor and its value."""
        if event in _TRYING:
            self._try(event)
        elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self.connections += 1
            self.fault = None
            self._is_vague = self._was_connected = True
        elif event == zmq.EVENT_DISCONNECTED:
            self._disconnected()
        else:
            self._failed(event, value)

    def _try(self, event: int) -> None:
        self.revive_at = None
        if event == zmq.EVENT_CONNECTED:
            self._has_answered = True
        elif event == zmq.EVENT_CONNECT_RETRIED:
            if not self._has_answered and self.connections == 0:
                lost = "the connection was lost and " if self._was_connected else ""
                self._say(f"{lost}nobody answers; still trying, check that the sender runs there")
                self._is_vague = True
            self._has_answered = False

    def _failed(self, event: int, value: int) -> None:
        self._failing += 1
        self.handshake_failures += 1
        is_vague = event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
        if self._is_vague or not is_vague:
            self._say(f"the handshake failed; {self._cause(event, value)}")
            self._is_vague = is_vague

    def _cause(self, event: int, value: int) -> str:
        curve = self._curve
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            if curve is not None and curve.server is None:
                return (
                    "a client whose key is not in the allow-list was turned away; add its public key if it may come in"
                )
            own = "" if curve is None else f" ({curve.public.decode()})"
            return f"the other end does not let this end's public key{own} in; have it added to the allow-list there"
        if value == zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH or curve is None:
            own = "no CURVE keys" if curve is None else "CURVE keys"
            return f"this end has {own} and the other end {'wants some' if curve is None else 'has none'}"
        if curve.server is None:
            return "a client has another public key for this end than this end's own; give it the right one"
        return "wrong key: check that the server's public key is the one of the other end"

    def _say(self, words: str) -> None:
        self.fault = f"{self._place}: {words}"

    def _disconnected(self) -> None:
        # After a fault of protocol, such as a message over the limit, libzmq does not try again by itself.
        self.revive_at = time.monotonic() + _REVIVE_S
        if self._failing:
            self._failing -= 1
            return
        log.warning("%s: a connection was lost", self._place)
        self._say("the connection was lost; the sender stopped, or sent more than the limit allows")
        self.connections = max(0, self.connections - 1)  # last: who sees it sees why


def has_input(socket: zmq.Socket[bytes]) -> bool:
    """Whether a message is there to read."""
    return bool(cast(int, socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN)


def drain(
    monitor: zmq.Socket[bytes], peers: Peers, on_accepted: Callable[[int], None] = lambda descriptor: None
) -> bool:
    """Take in all monitor events; whether there were any. ``on_accepted`` gets the descriptors of new connections."""
    count = 0
    while has_input(monitor):
        event = recv_monitor_message(monitor)
        if event["event"] == zmq.EVENT_ACCEPTED:
            on_accepted(event["value"])
        else:
            peers.note(event["event"], event["value"])
        count += 1
    return count > 0
