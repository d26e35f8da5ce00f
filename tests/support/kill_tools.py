"""A daemon that is killed while it receives, starts or finishes, and the product that it must end with."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from daemon.client import Viewer
from daemon.files import read_probe, read_product
from ptychopinn.detector.geometry import object_pixel_size_m, to_amplitude
from ptychopinn.model import Lift
from ptychopinn.mosaic.groups import GroupBuilder, GroupFrame
from ptychopinn.mosaic.mosaic import Mosaic
from streams.codecs import CODECS
from streams.errors import EndpointError
from streams.frame import PositionM, ScanStart
from streams.position_sources.positions import encode_positions
from streams.sockets.transport import Sender
from tests.support.daemon_tools import PATIENCE_S, PROBE, adds_up, follow, real_scan, write_config

FRAMES = 300
POSITIONS = ('positions.source="native"', 'positions.endpoint="@tcp://127.0.0.1:0"', "positions.timeout_s=20")


@contextmanager
def started(folder: Path, *settings: str) -> Iterator[subprocess.Popen[str]]:
    """Yield a daemon process; it is killed at the end."""
    options = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, "-m", "daemon.cli", "serve", "--config", str(write_config(folder)), "--json", *options]
    with (
        (folder / "log.txt").open("a") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def serving(folder: Path, *settings: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Yield a daemon process and its addresses; it is killed at the end."""
    with started(folder, *settings) as process:
        yield process, json.loads(process.stdout.readline())


def asked(addresses: dict[str, Any], path: str) -> Any:
    with urllib.request.urlopen(addresses["http"] + path, timeout=PATIENCE_S) as answer:
        return json.loads(answer.read())


class Source:
    """A detector and a position source that go on where they were, whoever listens."""

    def __init__(self, scan_id: str) -> None:
        self.scan, self.scan_id, self.codec = real_scan(), scan_id, CODECS["native"]()
        self.next = 0

    def start(self, streams: dict[str, str]) -> None:
        with Sender(">" + streams["frames"]) as frames:
            form = self.scan.counts.shape[1:], self.scan.counts.dtype
            frames.send(self.codec.encode_start(ScanStart(self.scan_id, FRAMES), *form))

    def send(self, streams: dict[str, str], until: threading.Event, linger_s: float = 0.0) -> None:
        """Send frame after frame, positions in their own stream, until the daemon is killed or all are sent."""
        with ExitStack() as stack:
            frames, positions = Sender(">" + streams["frames"]), None
            stack.callback(frames.close, linger_s)
            if "positions" in streams:
                positions = Sender(">" + streams["positions"])
                stack.callback(positions.close, linger_s)
            while self.next < FRAMES and not until.is_set():
                i = self.next
                where = PositionM(*self.scan.positions_m[i]) if positions is None else None
                self.send_one(frames, self.codec.encode_frame(self.scan_id, i, self.scan.counts[i], where), until)
                if positions is not None:
                    message = encode_positions(self.scan.positions_m[i : i + 1], first=i, scan_id=self.scan_id)
                    self.send_one(positions, message, until)
                self.next += 1
                until.wait(0.002)

    def send_one(self, sender: Sender, message: list[bytes], until: threading.Event) -> None:
        while not until.is_set():
            with suppress(EndpointError):  # there is no room: the daemon was just killed
                return sender.send(message, timeout_s=0.5)

    def repeat_and_end(self, streams: dict[str, str]) -> None:
        """Send every frame and position once more, then the end: what a killed daemon never received comes now."""
        self.next, never = 0, threading.Event()
        self.send(streams, never, linger_s=50.0)
        with Sender(">" + streams["frames"]) as frames:
            frames.send(self.codec.encode_end(self.scan_id))


def undisturbed(indexes: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the mosaic of these frames, computed at once, and its origin."""
    scan, probe = real_scan(), torch.from_numpy(read_probe(PROBE).probe)
    pixel_size_m = object_pixel_size_m(8800.0, 1.92, 75e-6, 128)
    where, amplitude = scan.positions_m[indexes] / pixel_size_m, to_amplitude(scan.counts[indexes])
    model, mosaic = Lift(probe, projections=2), Mosaic(probe.abs().square().sum(0))
    groups = GroupBuilder(1, 64.0, probe.device)
    for begin in range(0, len(indexes), 32):
        part = slice(begin, begin + 32)
        frames = [
            GroupFrame(int(i), a, (y, x))
            for i, a, (y, x) in zip(indexes[part], amplitude[part], where[part].tolist(), strict=True)
        ]
        for group in groups.add(frames):
            mosaic.add(group["center_scan_id"].tolist(), model.predict(group)[:, 0], where[part])
    return mosaic.read()[0].numpy(), mosaic.origin_px


def on_canvas(picture: np.ndarray, origin: np.ndarray, corner: np.ndarray, shape: np.ndarray) -> np.ndarray:
    whole = np.zeros(shape, dtype=np.complex64)
    y, x = origin - corner
    whole[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return whole


def assert_is_picture_of_its_frames(path: Path) -> None:
    """The product is what an undisturbed run of the same frames gives."""
    product = read_product(path)
    expected, its_origin = undisturbed(product.indexes)
    origins = np.array([np.rint(product.object_origin_px), its_origin], dtype=int)
    corner = origins.min(axis=0)
    shape = (
        np.max([origin + p.shape for origin, p in zip(origins, (product.object, expected), strict=True)], 0) - corner
    )
    pictures = [on_canvas(p, o, corner, shape) for p, o in zip((product.object, expected), origins, strict=True)]
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(*pictures, atol=2e-5)


def wait_until_it_goes_on(viewer: Viewer, scan_id: str, received: int) -> None:
    """Wait until what was received before is there again, at least."""
    for topic, header, _ in viewer.events():
        if topic == "status" and header.get("scan_id") == scan_id and header["frames_received"] >= received:
            return


def kill_while_it_sends(folder: Path, source: Source, received: int, delay_s: float, *settings: str) -> int:
    """Kill a daemon in the middle of a scan; return what it had said to have received."""
    until = threading.Event()
    with serving(folder, *settings) as (process, addresses), Viewer(addresses["updates"], PATIENCE_S) as viewer:
        if source.next == 0:
            source.start(addresses["streams"])
        wait_until_it_goes_on(viewer, source.scan_id, received)
        sending = threading.Thread(target=source.send, args=(addresses["streams"], until))
        sending.start()
        until.wait(delay_s)
        received = asked(addresses, "/api/v1/status")["frames_received"] or 0
        until.wait(delay_s / 4)
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)
        until.set()
        sending.join()
    return received


def kill_while_it_starts(folder: Path, delay_s: float, *settings: str) -> None:
    """Kill a daemon that has not said yet that it is ready: it may be playing its journal again."""
    with started(folder, *settings) as process, suppress(subprocess.TimeoutExpired):
        process.wait(delay_s)


def kill_at_the_end(folder: Path, source: Source, delay_s: float, *settings: str) -> None:
    """Kill a daemon while it finishes a scan and writes its files."""
    with serving(folder, *settings) as (process, addresses):
        source.repeat_and_end(addresses["streams"])
        with suppress(subprocess.TimeoutExpired):
            process.wait(delay_s)


def finished(folder: Path, source: Source, *settings: str) -> dict[str, Any]:
    """Send all there is once more, unless the scan is over; return its record."""
    with serving(folder, *settings) as (_, addresses), Viewer(addresses["updates"], PATIENCE_S) as viewer:
        states = (state_of(addresses, source.scan_id) for topic, _, _ in viewer.events() if topic == "status")
        if next(state for state in states if state is not None) in ("scanning", "finishing"):
            source.repeat_and_end(addresses["streams"])
            follow(viewer, source.scan_id)
        return asked(addresses, f"/api/v1/scans/{source.scan_id}")


def state_of(addresses: dict[str, Any], scan_id: str) -> str | None:
    return next((scan["state"] for scan in asked(addresses, "/api/v1/scans") if scan["id"] == scan_id), None)


def assert_is_whole(record: dict[str, Any], folder: Path) -> None:
    verdict = record["verdict"]
    assert adds_up(verdict), verdict
    assert verdict["stitched"] == FRAMES, verdict
    assert verdict["missing"] == verdict["pending"] == 0
    assert record["state"] == "complete", record
    assert_is_picture_of_its_frames(Path(record["product"]))
    assert (folder / "out" / "journal" / record["id"] / "closed").exists()
