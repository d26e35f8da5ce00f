"""The updates over the daemon's HTTP port, as a WebSocket: for places that reach the page but not the ZeroMQ port."""

from __future__ import annotations

import math
import threading
import time
from contextlib import ExitStack
from urllib.parse import urlsplit, urlunsplit

from ptycholive_client.errors import EndpointError
from ptycholive_client.wire import Message, decode_ws

PATH = "/api/v1/updates"
SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
OPEN_S = 10.0
"""Longest time for connecting, s."""
AGAIN_S = 0.5
"""Pause between attempts to connect again, s: a restarted daemon is found within a second."""


def is_web(endpoint: str) -> bool:
    """Whether an endpoint is the address of a page or of its WebSocket."""
    return endpoint.partition("://")[0].lower() in SCHEMES


def updates_address(endpoint: str) -> str:
    """Return the WebSocket of a page: ``http://host:8080`` gives ``ws://host:8080/api/v1/updates``."""
    parts = urlsplit(endpoint)
    if not parts.hostname:
        raise EndpointError(f"{endpoint!r} is not a valid address. Example: http://127.0.0.1:8080")
    path = parts.path if parts.path.strip("/") else PATH
    return urlunsplit((SCHEMES[parts.scheme.lower()], parts.netloc, path, "", ""))


class WebUpdates:
    """Messages from ``WS /api/v1/updates``; `token` is the daemon's, if it has one."""

    def __init__(self, endpoint: str, timeout_s: float | None, token: str | None) -> None:
        self._endpoint = endpoint
        self._address = updates_address(endpoint)
        self._timeout_s = timeout_s
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._is_closed = threading.Event()
        self._connection = ExitStack()
        self.connections = 0
        self._connect()

    def receive(self) -> Message:
        """Return the next message. Raises ``TimeoutError``, ``EndpointError`` or ``WireError``."""
        from websockets.exceptions import ConnectionClosed

        while True:
            try:
                content = self._socket.recv(self._timeout_s)
            except TimeoutError as silence:
                sentence = (
                    f"no message came from {self._endpoint} for {self._timeout_s:g} s; check that the daemon runs"
                )
                raise TimeoutError(sentence) from silence
            except ConnectionClosed:
                self._connect_again()
                continue
            return decode_ws(content if isinstance(content, bytes) else content.encode())

    def subscribe_again(self) -> None:
        """Connect again: the daemon sends whole pictures first."""
        self._connect_again()

    def close(self) -> None:
        """Close the connection."""
        self._is_closed.set()
        self._connection.close()

    def _connect_again(self) -> None:
        """Connect to a daemon that was there; a later call of :meth:`receive` tries again."""
        patience_s = math.inf if self._timeout_s is None else self._timeout_s
        last = time.monotonic() + patience_s
        while True:
            if self._is_closed.is_set():
                raise EndpointError(f"{self._endpoint}: this viewer is closed")
            try:
                self._connect()
                return
            except EndpointError as fault:
                if time.monotonic() > last:
                    raise TimeoutError(f"the connection was lost: {fault}") from fault
            self._is_closed.wait(AGAIN_S)

    def _connect(self) -> None:
        from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI
        from websockets.sync.client import connect

        self._connection.close()
        try:
            self._socket = self._connection.enter_context(
                connect(self._address, additional_headers=self._headers, max_size=None, open_timeout=OPEN_S, proxy=None)
            )
            self.connections += 1
        except InvalidStatus as fault:
            why = {401: "the token is missing or wrong", 403: "the daemon refuses this host name"}
            answer = why.get(fault.response.status_code, f"it answered {fault.response.status_code}")
            raise EndpointError(f"{self._endpoint}: {answer}; pass token=… if the daemon has one") from fault
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI) as fault:
            sentence = f"{self._endpoint} does not answer ({fault}); check that the daemon runs and its [http] port"
            raise EndpointError(sentence) from fault
