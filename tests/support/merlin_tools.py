"""What a Merlin writes and sends, and a data port that sends it to whoever connects, once a connection."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

WORDS = {1: "U08", 2: "U16", 4: "U32", 8: "U64"}
HEAD_BYTES = 384
PATIENCE_S = 100.0


def header(frames: int, columns: int = 1) -> bytes:
    """Return the text that an acquisition begins with, as in an HDR file."""
    lines = [
        "HDR,\t",
        f"Frames in Acquisition (Number):\t{frames}",
        f"Frames per Trigger (Number):\t{columns}",
        "Counter Depth (number):\t16",
        "End\t",
    ]
    return "\r\n".join(lines).encode()


def image(number: int, counts: NDArray[np.unsignedinteger]) -> bytes:
    """Return a frame, as in an MIB file."""
    rows, columns = counts.shape
    word = WORDS[counts.dtype.itemsize]
    head = (
        f"MQ1,{number:06d},{HEAD_BYTES:05d},01,{columns:04d},{rows:04d},{word},   1x1,01,"
        "2026-11-24 10:00:00.0,0.001,0,0,0,MQ1A,16,"
    )
    return head.encode().ljust(HEAD_BYTES, b"\0") + counts.astype(counts.dtype.newbyteorder(">")).tobytes()


def message(body: bytes) -> bytes:
    return b"MPX,%010d," % (len(body) + 1) + body


class DataPort:
    """Sends one stream of bytes to each client in turn, then closes the connection if it is not the last stream.

    With ``pace`` all go to the first client, each once ``pace`` has been released.
    """

    def __init__(self, streams: Sequence[bytes], pace: threading.Semaphore | None = None) -> None:
        self._pace = pace
        self._streams = list(streams)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._held: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve if pace is None else self._serve_paced)
        self._thread.start()

    def _serve(self) -> None:
        for k, stream in enumerate(self._streams):
            with suppress(OSError):
                connection, _ = self._listener.accept()
                with suppress(OSError):
                    connection.sendall(stream)
                if k + 1 < len(self._streams):
                    connection.close()
                else:
                    self._held.append(connection)

    def _serve_paced(self) -> None:
        with suppress(OSError):
            connection, _ = self._listener.accept()
            self._held.append(connection)
            for stream in self._streams:
                if self._pace is None or not self._pace.acquire(timeout=PATIENCE_S):
                    return
                connection.sendall(stream)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for connection in self._held:
            connection.close()
