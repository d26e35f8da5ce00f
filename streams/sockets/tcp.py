"""Base of the receivers that are plain TCP clients; they reconnect for ever."""

from __future__ import annotations

import logging
import re
import socket as sockets
from abc import abstractmethod
from contextlib import suppress

from streams.errors import EndpointError, StreamError
from streams.sockets.receiver import MessageReceiver, OnMessage

__all__ = ["TcpReceiver"]

log = logging.getLogger(__name__)

_CONNECT_S = 5.0
"""Time for one attempt to connect, s."""
_RETRY_S, _MOST_RETRY_S = 0.2, 1.0
"""First and longest pause between attempts, s: a restarted device is found within a second."""
_ENDPOINT = re.compile(r"tcp://(?P<host>[^\s/:]+|\[[0-9a-fA-F:]+\]):(?P<port>\d{1,5})")
_KEEPALIVE = (  # s, s, probes: a device that vanished is noticed after 35 s
    (sockets.TCP_KEEPIDLE, 20),
    (sockets.TCP_KEEPINTVL, 5),
    (sockets.TCP_KEEPCNT, 3),
)


class TcpReceiver(MessageReceiver):
    """A TCP client; a subclass reads from it in :meth:`_listen`.

    Raises :class:`EndpointError` for an endpoint that is not ``tcp://host:port``; ``example`` is a valid one.
    """

    def __init__(self, name: str, endpoint: str, on_message: OnMessage, max_message_bytes: int, example: str) -> None:
        super().__init__(name, endpoint, on_message, max_message_bytes)
        found = _ENDPOINT.fullmatch(endpoint)
        if found is None or not 0 < int(found["port"]) < 65536:
            raise EndpointError(f"{name} stream: {endpoint!r} is not a valid endpoint. Example: {example}")
        self._address = (found["host"].strip("[]"), int(found["port"]))
        self._is_connected = False
        self._fault: str | None = None
        self._socket: sockets.socket | None = None

    @property
    def connected(self) -> bool:
        """Whether the other end has accepted the connection and answered."""
        return self._is_connected

    @property
    def fault(self) -> str | None:
        """The fault of the connection, as a sentence; ``None`` while it is good."""
        return None if self._is_connected else self._fault

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        if self._thread.ident is None or self._stopping.is_set():
            return
        self._stopping.set()
        current = self._socket
        if current is not None:
            with suppress(OSError):
                current.shutdown(sockets.SHUT_RDWR)
        self._thread.join()

    @abstractmethod
    def _listen(self, connection: sockets.socket) -> None:
        """Read until the connection ends (``OSError``) or sends something invalid (``StreamError``)."""

    def _answered(self) -> None:
        """Mark the connection as good."""
        if not self._is_connected:
            self._is_connected = True
            self._tell()

    def _run(self) -> None:
        pause_s = _RETRY_S
        while not self._stopping.is_set():
            before = self.messages
            try:
                self._converse()
            except OSError as fault:
                self._say(f"{self.name} stream {self.endpoint}: {fault.strerror or fault}; still trying")
            except StreamError as fault:
                self._say(f"{self.name} stream {self.endpoint}: {fault}; still trying")
            pause_s = _RETRY_S if self.messages > before else min(2 * pause_s, _MOST_RETRY_S)
            self._stopping.wait(pause_s)

    def _converse(self) -> None:
        with sockets.create_connection(self._address, _CONNECT_S) as connection:
            self._socket = connection
            connection.setsockopt(sockets.SOL_SOCKET, sockets.SO_KEEPALIVE, 1)
            for option, value in _KEEPALIVE:
                connection.setsockopt(sockets.IPPROTO_TCP, option, value)
            connection.settimeout(None)
            try:
                if not self._stopping.is_set():  # otherwise stop() does not know this connection
                    self._listen(connection)
            finally:
                self._socket = None
                self._is_connected = False
                self._tell()

    def _say(self, fault: str) -> None:
        if self._fault != fault and not self._stopping.is_set():
            log.warning("%s", fault)
        self._fault = fault
        self._tell()
