"""What position sources send, written as their own documents have it: PandA JSON, capture port, Bluesky documents."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

X, Y, TIME = "/INENC2.VAL.Value", "/INENC3.VAL.Value", "/PCAP.TS_TRIG.Value"
A_MESSAGE = 41


def panda_start() -> bytes:
    return json.dumps(
        {"msg_type": "start", "arm_time": "2026-01-01T00:00:00.000000001Z", "hw_time_offset_ns": None}
    ).encode()


def panda_stop(emitted: int) -> bytes:
    return json.dumps({"msg_type": "stop", "emitted_frames": emitted}).encode()


def panda_data(number: int, first: int, samples: ArrayLike, times_s: Sequence[float] | None = None) -> bytes:
    """Write samples ``(n, 2)`` [y, x], numbered from ``first``."""
    values = np.asarray(samples, np.float64).reshape(-1, 2)
    columns: dict[str, list[float]] = {
        X: values[:, 1].tolist(),
        Y: values[:, 0].tolist(),
        "/COUNTER1.OUT.Value": [0.0] * len(values),
    }
    if times_s is not None:
        columns[TIME] = list(times_s)
    datasets = {
        name: {"dtype": "float64", "size": len(data), "starting_sample_number": first, "data": data}
        for name, data in columns.items()
    }
    return json.dumps({"msg_type": "data", "frame_number": number, "datasets": datasets}).encode()


def panda_run(samples: ArrayLike, size: int = A_MESSAGE, period_s: float | None = None) -> list[bytes]:
    """Write a whole run: start, data messages, stop."""
    values = np.asarray(samples, np.float64).reshape(-1, 2)
    firsts = range(0, len(values), size)

    def times(first: int) -> list[float] | None:
        return None if period_s is None else [k * period_s for k in range(first, min(first + size, len(values)))]

    data = [panda_data(k, first, values[first : first + size], times(first)) for k, first in enumerate(firsts)]
    return [panda_start(), *data, panda_stop(len(data))]


def sampled(positions: ArrayLike, per_frame: int, spread: float = 0.0) -> NDArray[np.float64]:
    """Return ``per_frame`` samples of each position, whose mean it is."""
    offsets = spread * (np.arange(per_frame) - (per_frame - 1) / 2)[:, None]
    return (np.asarray(positions, np.float64)[:, None] + offsets).reshape(-1, 2)


def bluesky(name: str, document: dict[str, Any], prefix: bytes = b"hxn") -> bytes:
    return b" ".join([prefix, name.encode(), json.dumps(document).encode()])


XML_HEADER = b"""<header>
<data missed="%d" process="Scaled" format="Framed" sample_bytes="28" arm_time="%s" />
<fields>
<field name="PCAP.BITS0" type="uint32" capture="Value" />
<field name="INENC1.VAL" type="double" capture="Mean" scale="1" offset="0" units="mm" />
<field name="INENC2.VAL" type="double" capture="Mean" scale="1" offset="0" units="mm" />
<field name="PCAP.TS_TRIG" type="double" capture="Value" scale="8e-09" offset="0" units="s" />
</fields>
</header>

"""
PLAIN_HEADER = b"""missed: 0
process: Scaled
format: Framed
sample_bytes: 28
fields:
 PCAP.BITS0 uint32 Value
 INENC1.VAL double Mean scale: 1 offset: 0 units: mm
 INENC2.VAL double Mean scale: 1 offset: 0 units: mm
 PCAP.TS_TRIG double Value scale: 8e-09 offset: 0 units: s

"""
ROW = np.dtype([("bits", "<u4"), ("x", "<f8"), ("y", "<f8"), ("time", "<f8")])


def capture_header(missed: int = 0, armed: bytes = b"2026-01-01T00:00:00Z") -> bytes:
    return XML_HEADER % (missed, armed)


def capture_block(samples: ArrayLike, first: int = 0, period_s: float = 1e-3) -> bytes:
    """Write samples ``(n, 2)`` [y, x] as one framed block."""
    values = np.asarray(samples, np.float64).reshape(-1, 2)
    rows = np.zeros(len(values), ROW)
    rows["y"], rows["x"] = values.T
    rows["time"] = (first + np.arange(len(values))) * period_s
    body = rows.tobytes()
    return b"BIN " + struct.pack("<I", len(body) + 8) + body


class CapturePort:
    """A PandA's data port: takes one client after another, and sends what it is told."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self.options: list[bytes] = []

    @contextmanager
    def client(self, greeting: bytes = b"OK\n") -> Iterator[socket.socket]:
        """Take the next client and greet it; the connection is closed afterwards."""
        self._listener.settimeout(60)
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(60)
            self.options.append(connection.recv(100))
            connection.sendall(greeting)
            yield connection

    def close(self) -> None:
        self._listener.close()


class Gate:
    """Waits for what a thread says."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self._changed = threading.Condition()

    def __call__(self, item: Any) -> None:
        with self._changed:
            self.heard.append(item)
            self._changed.notify_all()

    def wait(self, count: int) -> list[Any]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.heard) >= count, 60), self.heard
            return list(self.heard)
