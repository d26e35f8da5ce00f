"""The state of a socket's connections, from the events of its monitor: their number, and the fault as a sentence."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import cast

import zmq
from zmq.utils.monitor import recv_monitor_message

from ptycholive_client.keys import CurveKeys

__all__ = ["EVENTS", "Peers", "drain", "has_input"]

log = logging.getLogger(__name__)

_RECONNECT_AFTER_S = 2.0
"""After a lost connection: libzmq itself reconnects within a second, unless it ended the connection for a fault."""
EVENTS = (
    zmq.EVENT_ACCEPTED
    | zmq.EVENT_CONNECTED
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
    """Live connections, failed handshakes, and the time at which this program has to connect again.

    ``curve`` holds this end's own keys, which tell the cause of a failed handshake.
    """

    def __init__(self, place: str, curve: CurveKeys | None = None) -> None:
        self.connections = 0
        self.handshake_failures = 0
        self.fault: str | None = None
        self.reconnect_at: float | None = None
        self._place = place
        self._curve = curve
        self._open: set[int] = set()
        self._is_vague = True
        self._has_answered = False
        self._was_connected = False

    def note(self, event: int, value: int = 0) -> None:
        """Take one event of the monitor and its value: the descriptor where a connection begins or ends."""
        if event in (zmq.EVENT_ACCEPTED, zmq.EVENT_CONNECTED):
            self._open.add(value)
        if event in _TRYING:
            self._try(event)
        elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self.connections += 1
            self.fault = None
            self._is_vague = self._was_connected = True
        elif event == zmq.EVENT_DISCONNECTED:
            self._disconnected(value)
        elif event != zmq.EVENT_ACCEPTED:
            self._failed(event, value)

    def _try(self, event: int) -> None:
        self.reconnect_at = None
        if event == zmq.EVENT_CONNECTED:
            self._has_answered = True
        elif event == zmq.EVENT_CONNECT_RETRIED:
            if not self._has_answered and self.connections == 0:
                lost = "the connection was lost and " if self._was_connected else ""
                self._say(f"{lost}no answer; still trying. Check that the sender is running at this address")
                self._is_vague = True
            self._has_answered = False

    def _failed(self, event: int, value: int) -> None:
        self.handshake_failures += 1
        is_vague = event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
        if self._is_vague or not is_vague:
            self._say(f"the handshake failed; {self._cause(event, value)}")
            self._is_vague = is_vague

    def _cause(self, event: int, value: int) -> str:
        curve = self._curve
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            if curve is not None and curve.server is None:
                return "a client whose key is not in the allow-list was rejected; add its public key if it may connect"
            own = "" if curve is None else f" ({curve.public.decode()})"
            return f"the other end rejects this end's public key{own}; have it added to the allow-list there"
        if value == zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH or curve is None:
            own = "no CURVE keys" if curve is None else "CURVE keys"
            return f"this end has {own} and the other end {'requires them' if curve is None else 'has none'}"
        if curve.server is None:
            return "a client uses a wrong public key of this end; give it the right one"
        return "wrong key: check that the server's public key is the one of the other end"

    def _say(self, words: str) -> None:
        self.fault = f"{self._place}: {words}"

    def _disconnected(self, descriptor: int) -> None:
        # After a protocol fault, such as a message over the limit, libzmq does not reconnect by itself.
        self.reconnect_at = time.monotonic() + _RECONNECT_AFTER_S
        # A handshake that succeeds names no descriptor, and one that a socket of the wrong type ends is not reported.
        # So as many connections live as handshakes succeeded, and never more than are open.
        self._open.discard(descriptor)
        if self.connections <= len(self._open):
            return
        log.warning("%s: a connection was lost", self._place)
        self._say("the connection was lost; the sender stopped, or sent more than the limit allows")
        self.connections = len(self._open)  # last, so that a reader who sees the loss sees its cause


def has_input(socket: zmq.Socket[bytes]) -> bool:
    """Whether a message is waiting."""
    return bool(cast(int, socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN)


def drain(
    monitor: zmq.Socket[bytes], peers: Peers, on_accepted: Callable[[int], None] = lambda descriptor: None
) -> bool:
    """Read all monitor events; return whether there were any. ``on_accepted`` gets the descriptors of new connections."""
    count = 0
    while has_input(monitor):
        event = recv_monitor_message(monitor)
        if event["event"] == zmq.EVENT_ACCEPTED:
            on_accepted(event["value"])
        peers.note(event["event"], event["value"])
        count += 1
    return count > 0
