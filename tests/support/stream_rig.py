"""A daemon with its senders and a viewer that hears everything, and the scans that they send."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from daemon.app import Daemon
from daemon.client import Viewer
from streams.codecs import CODECS
from streams.frame import ScanStart
from streams.sockets.transport import Sender
from tests.support.daemon_tools import PATIENCE_S, real_scan, running_daemon
from tests.support.position_tools import panda_run, sampled

FRAMES, PER_FRAME, A_MESSAGE = 24, 2, 10
SETTINGS = (
    'frames.format="dectris-v1"',
    'positions.source="panda"',
    'positions.endpoint="@tcp://127.0.0.1:0"',
    'positions.unit="um"',
    "positions.scale=0.5",
    f"positions.samples_per_frame={PER_FRAME}",
    "positions.timeout_s=3.0",
)
SCAN = real_scan()
COUNTS = SCAN.counts.astype(np.uint16)
PLACES_UM = SCAN.positions_m * 2e6
CODEC = CODECS["dectris-v1"]()

Message = list[bytes]


def start(series: int, expected: int = FRAMES) -> Message:
    return CODEC.encode_start(ScanStart(str(series), expected), COUNTS.shape[1:], COUNTS.dtype)


def images(series: int, count: int = FRAMES, change: Callable[[np.ndarray], np.ndarray] = lambda c: c) -> list[Message]:
    return [CODEC.encode_frame(str(series), k, change(COUNTS[k].copy())) for k in range(count)]


def end(series: int) -> Message:
    return CODEC.encode_end(str(series))


def whole(series: int, count: int = FRAMES) -> list[Message]:
    return [start(series, count), *images(series, count), end(series)]


def run(count: int = FRAMES, shift: float = 0.0) -> list[bytes]:
    return panda_run(sampled(PLACES_UM[:count] + shift, PER_FRAME, 0.01), A_MESSAGE)


class Rig:
    """Sends, and hears how scans end and what the status says."""

    def __init__(self, daemon: Daemon, viewer: Viewer) -> None:
        streams = daemon.addresses()["streams"]
        self.daemon = daemon
        self.endpoints = streams
        self.frames = Sender(">" + streams["frames"])
        self.positions = Sender(">" + streams["positions"], "pub") if daemon_has_positions(streams) else None
        assert self.positions is None or self.positions.wait_for_peer(PATIENCE_S)
        self._events = viewer.events()
        self._ended: dict[str, dict[str, Any]] = {}
        self.series = 100

    def close(self) -> None:
        self.frames.close(0)
        if self.positions is not None:
            self.positions.close(0)

    def send(self, frames: list[Message], positions: list[bytes] = []) -> None:  # noqa: B006
        for message in positions:
            assert self.positions is not None
            self.positions.send([message])
        for parts in frames:
            self.frames.send(parts)

    def next_series(self) -> int:
        self.series += 1
        return self.series

    def ended(self, scan_id: str) -> dict[str, Any]:
        """Return the announcement of a scan's end."""
        while scan_id not in self._ended:
            self._next()
        return self._ended[scan_id]

    def status(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the first status for which a condition holds."""
        while True:
            topic, header = self._next()
            if topic == "status" and condition(header):
                return header

    def says(self, words: str) -> dict[str, Any]:
        """Return the first status whose sentence holds some words."""
        return self.status(lambda status: words.lower() in status["sentence"].lower())

    def stitched(self, series: int, frames: int) -> dict[str, Any]:
        """Wait until so many frames of a scan are in the picture."""
        return self.status(lambda status: status["scan_id"] == str(series) and status["frames_stitched"] == frames)

    def _next(self) -> tuple[str, dict[str, Any]]:
        topic, header, _ = next(self._events)
        if topic == "scan" and header["state"] == "ended":
            self._ended[header["scan_id"]] = header
        return topic, header

    def clean_scan(self) -> None:
        """Send a scan without fault and see that nothing is wrong with it."""
        series = self.next_series()
        self.send(whole(series, 12), [] if self.positions is None else run(12))
        header = self.ended(str(series))
        assert header["result"] == "complete"
        assert header["verdict"]["stitched"] == header["verdict"]["received"] == 12
        assert header["notes"] == []


def daemon_has_positions(streams: dict[str, str]) -> bool:
    """Whether the daemon binds a position stream that a publisher can connect to."""
    return streams.get("positions", "").startswith(("tcp://", "ipc://"))


@contextmanager
def running_rig(folder: Path, *settings: str) -> Iterator[Rig]:
    """Yield a rig; its daemon and sockets end with it."""
    with (
        running_daemon(folder, *SETTINGS, *settings) as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
    ):
        rig = Rig(daemon, viewer)
        try:
            yield rig
        finally:
            rig.close()
