"""The streaming hook: frames and positions that stream into ptychodus go on to Ptycholive's daemon as they come.

``StreamTap`` stands in place of ptychodus' streaming context, with the same methods::

    context = StreamTap(model.create_streaming_context(metadata), "scan-7", "tcp://*:9999", "tcp://*:9998")

The daemon takes them with ``[frames] format = "native"`` and ``[positions] source = "native"``.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import msgpack
import numpy
import zmq
from ptychodus.api.diffraction import DiffractionArray

SCHEMA_VERSION = 1
LINGER_MS = 10_000


class Context(Protocol):
    """ptychodus' streaming context."""

    def start(self) -> None:
        """Begin."""

    def append_positions_x(self, values_m: Sequence[float], trigger_counts: Sequence[int]) -> None:
        """Take x of frames."""

    def append_positions_y(self, values_m: Sequence[float], trigger_counts: Sequence[int]) -> None:
        """Take y of frames."""

    def append_array(self, array: DiffractionArray) -> None:
        """Take frames."""

    def stop(self) -> None:
        """End."""


class StreamTap:
    """Hands everything on to ``context`` and sends it to a daemon.

    Parameters
    ----------
    context
        ptychodus' own; None: the daemon alone gets the stream.
    frames, positions
        Addresses to bind; port ``*`` takes a free one, see ``endpoints``.
    """

    def __init__(self, context: Context | None, scan_id: str, frames: str, positions: str) -> None:
        self._context, self._scan_id = context, scan_id
        self._sockets = [self._bound(endpoint) for endpoint in (frames, positions)]
        self.endpoints = [socket.getsockopt_string(zmq.LAST_ENDPOINT) for socket in self._sockets]
        self._halves: dict[str, dict[int, float]] = {"y": {}, "x": {}}

    def start(self) -> None:
        """Announce the scan."""
        if self._context is not None:
            self._context.start()
        self._send(0, b"start", {})

    def append_array(self, array: DiffractionArray) -> None:
        """Send frames ``(n, H, W)`` under their indexes."""
        if self._context is not None:
            self._context.append_array(array)
        for index, frame in zip(array.get_indexes(), array.get_patterns(), strict=True):
            pixels = numpy.ascontiguousarray(frame)
            about = {"index": int(index), "shape": list(pixels.shape), "dtype": pixels.dtype.name, "encoding": ""}
            self._send(0, b"frame", about, pixels.astype(pixels.dtype.newbyteorder("<"), copy=False).tobytes())

    def append_positions_x(self, values_m: Sequence[float], trigger_counts: Sequence[int]) -> None:
        """Take x of frames; a position goes out when its y is there too."""
        if self._context is not None:
            self._context.append_positions_x(values_m, trigger_counts)
        self._take("x", values_m, trigger_counts)

    def append_positions_y(self, values_m: Sequence[float], trigger_counts: Sequence[int]) -> None:
        """Take y of frames; a position goes out when its x is there too."""
        if self._context is not None:
            self._context.append_positions_y(values_m, trigger_counts)
        self._take("y", values_m, trigger_counts)

    def get_queue_size(self) -> int:
        """Return how many positions wait for their other half."""
        return sum(map(len, self._halves.values()))

    def stop(self) -> None:
        """End the scan; what was sent still goes out."""
        self._send(0, b"end", {})
        for socket in self._sockets:
            socket.close(LINGER_MS)
        if self._context is not None:
            self._context.stop()

    def _take(self, axis: str, values_m: Sequence[float], trigger_counts: Sequence[int]) -> None:
        self._halves[axis].update(zip(map(int, trigger_counts), map(float, values_m), strict=True))
        whole = sorted(self._halves["y"].keys() & self._halves["x"].keys())
        if whole:
            pairs = [[self._halves[name].pop(index) for name in ("y", "x")] for index in whole]
            self._send(1, b"positions", {"indexes": whole, "position_m": pairs})

    def _send(self, which: int, kind: bytes, about: dict[str, Any], *more: bytes) -> None:
        header = {"schema_version": SCHEMA_VERSION, "scan_id": self._scan_id, **about}
        self._sockets[which].send_multipart([kind, msgpack.packb(header), *more])

    @staticmethod
    def _bound(endpoint: str) -> "zmq.Socket[bytes]":
        socket = zmq.Context.instance().socket(zmq.PUSH)
        socket.setsockopt(zmq.LINGER, LINGER_MS)
        socket.bind(endpoint)
        return socket
