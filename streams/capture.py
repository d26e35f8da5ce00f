"""The client of a PandA's capture port (PandABlocks, TCP 8889): connects, and connects again for ever."""

from __future__ import annotations

import logging
import re
import socket as sockets
import time
from contextlib import suppress

from streams.errors import EndpointError, PositionError
from streams.pandablocks import MAX_BLOCK_BYTES, Splitter
from streams.source import OnMessage, Source

__all__ = ["CaptureReceiver"]

log = logging.getLogger(__name__)

_OPTIONS = b"XML FRAMED SCALED\n"
_CHUNK = 65_536
_CONNECT_S, _RETRY_S, _MOST_RETRY_S = 5.0, 0.2, 1.0
_ENDPOINT = re.compile(r"tcp://(?P<host>[^\s/:]+|\[[0-9a-fA-F:]+\]):(?P<port>\d{1,5})")
_KEEPALIVE = ((sockets.TCP_KEEPIDLE, 20), (sockets.TCP_KEEPINTVL, 5), (sockets.TCP_KEEPCNT, 3))


class CaptureReceiver(Source):
    """Receives the messages that :class:`streams.pandablocks.Splitter` makes.

    Raises :class:`EndpointError` for what is no ``tcp://host:port``.
    """

    def __init__(self, name: str, endpoint: str, on_message: OnMessage) -> None:
        super().__init__(name, endpoint, on_message, MAX_BLOCK_BYTES)
        found = _ENDPOINT.fullmatch(endpoint)
        if found is None or not 0 < int(found["port"]) < 65536:
            raise EndpointError(f"{name} stream: {endpoint!r} is no endpoint; a PandA's looks like tcp://panda:8889")
        self._address = (found["host"].strip("[]"), int(found["port"]))
        self._is_connected = False
        self._fault: str | None = None
        self._socket: sockets.socket | None = None

    @property
    def connected(self) -> bool:
        """Whether the PandA has taken the connection and answered."""
        return self._is_connected

    @property
    def fault(self) -> str | None:
        """What is wrong with the connection, in words."""
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

    def _run(self) -> None:
        pause_s = _RETRY_S
        while not self._stopping.is_set():
            before = self.messages
            try:
                self._converse()
            except OSError as fault:
                self._say(f"{self.name} stream {self.endpoint}: {fault.strerror or fault}; still trying")
            except PositionError as fault:
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
                connection.sendall(_OPTIONS)
                self._listen(connection)
            finally:
                self._socket = None
                self._is_connected = False
                self._tell()

    def _listen(self, connection: sockets.socket) -> None:
        splitter = Splitter()
        while not self._stopping.is_set():
            chunk = connection.recv(_CHUNK)
            received_ns = time.monotonic_ns()
            if not chunk:
                raise OSError("the PandA closed the connection")
            try:
                messages = splitter.feed(chunk)
            except PositionError:
                self.refused += 1
                raise
            if splitter.is_open and not self._is_connected:
                self._is_connected = True
                self._tell()
            for message in messages:
                self._deliver(message, sum(map(len, message)), received_ns)

    def _say(self, fault: str) -> None:
        if self._fault != fault and not self._stopping.is_set():
            log.warning("%s", fault)
        self._fault = fault
        self._tell()
