"""The client of a PandA's capture port (PandABlocks, TCP 8889); it reconnects for ever."""

from __future__ import annotations

import socket as sockets
import time

from streams.errors import CodecError, PositionError
from streams.position_sources.pandablocks import MAX_BLOCK_BYTES, CaptureSplitter
from streams.refusal_reasons import RefusalReason
from streams.sockets.receiver import OnMessage
from streams.sockets.tcp import TcpReceiver

__all__ = ["CaptureReceiver"]

_OPTIONS = b"XML FRAMED SCALED\n"
_CHUNK_BYTES = 65_536
"""Bytes read at once; the port sends blocks of some kilobytes."""


class CaptureReceiver(TcpReceiver):
    """Receives the messages that :class:`streams.position_sources.pandablocks.CaptureSplitter` makes."""

    def __init__(self, name: str, endpoint: str, on_message: OnMessage) -> None:
        super().__init__(name, endpoint, on_message, MAX_BLOCK_BYTES, "tcp://panda:8889")

    def _listen(self, connection: sockets.socket) -> None:
        connection.sendall(_OPTIONS)
        splitter = CaptureSplitter()
        while not self._stopping.is_set():
            chunk = connection.recv(_CHUNK_BYTES)
            received_ns = time.monotonic_ns()
            if not chunk:
                raise OSError("the PandA closed the connection")
            try:
                messages = splitter.feed(chunk)
            except PositionError as fault:
                self._refuse(CodecError(RefusalReason.MALFORMED, str(fault)))
                raise
            if splitter.is_open:
                self._answered()
            for message in messages:
                self._deliver(message, sum(map(len, message)), received_ns)
