"""A daemon killed at any instant goes on with the scan it was in: nothing twice, nothing lost of what was received."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from daemon_tools import PATIENCE_S, PROBE, adds_up, follow, real_scan, write_config

from daemon.client import Viewer
from daemon.files import read_probe, read_product
from ptychopinn.geometry import object_pixel_size_m, to_amplitude
from ptychopinn.groups import GroupBuilder, GroupFrame
from ptychopinn.model import build_model
from ptychopinn.mosaic import Mosaic
from streams.codecs import CODECS
from streams.frame import PositionM, ScanStart
from streams.positions import encode_positions
from streams.transport import Sender

pytestmark = pytest.mark.system

FRAMES = 300
KILLS = int(os.environ.get("PTYCHOLIVE_KILLS", "16"))
KILLS_A_SCAN = 4
POSITIONS = ('positions.source="native"', 'positions.endpoint="@tcp://127.0.0.1:0"', "positions.timeout_s=20")


@contextmanager
def serving(folder: Path, *settings: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Yield a daemon process and its addresses; it is killed at the end."""
    options = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, "-m", "daemon.cli", "serve", "--config", str(write_config(folder)), "--json", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


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

    def send(self, streams: dict[str, str], until: threading.Event) -> None:
        """Send frame after frame, positions in their own stream, until the daemon is killed or all are sent."""
        position_sender = Sender(">" + streams["positions"]) if "positions" in streams else None
        frames = Sender(">" + streams["frames"])
        while self.next < FRAMES and not until.is_set():
            i = self.next
            where = PositionM(*self.scan.positions_m[i]) if position_sender is None else None
            frames.send(self.codec.encode_frame(self.scan_id, i, self.scan.counts[i], where))
            if position_sender is not None:
                position_sender.send(encode_positions(self.scan.positions_m[i : i + 1], i, self.scan_id))
            self.next += 1
            until.wait(0.002)
        for sender in (frames, position_sender):
            if sender is not None:
                sender.close(0.0 if until.is_set() else 60.0)

    def repeat_and_end(self, streams: dict[str, str]) -> None:
        """Send every frame and position once more, then the end: what a killed daemon never received comes now."""
        self.next, never = 0, threading.Event()
        self.send(streams, never)
        with Sender(">" + streams["frames"]) as frames:
            frames.send(self.codec.encode_end(self.scan_id))


def undisturbed(indexes: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the mosaic of these frames, computed at once, and its origin."""
    scan, probe = real_scan(), torch.from_numpy(read_probe(PROBE).probe)
    pixel_size_m = object_pixel_size_m(8800.0, 1.92, 75e-6, 128)
    where, amplitude = scan.positions_m[indexes] / pixel_size_m, to_amplitude(scan.counts[indexes])
    model, mosaic = build_model("lift", probe, projections=2), Mosaic(probe.abs().square().sum(0))
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


def assert_is_picture_of_its_frames(path: Path) -> None:
    product = read_product(path)
    whole, origin = undisturbed(product.indexes)
    y, x = np.subtract(product.object_origin_px, origin).tolist()
    picture = np.zeros_like(whole)
    height, width = product.object.shape
    rows, columns = slice(max(y, 0), y + height), slice(max(x, 0), x + width)
    shown = product.object[max(-y, 0) :, max(-x, 0) :][: whole.shape[0] - rows.start, : whole.shape[1] - columns.start]
    picture[rows.start : rows.start + shown.shape[0], columns.start : columns.start + shown.shape[1]] = shown
    np.testing.assert_allclose(picture, whole, atol=2e-5)


def killed_scan(folder: Path, kills: int, seed: int, *settings: str) -> dict[str, Any]:
    """Stream one scan through a daemon that is killed again and again; return the header of its end."""
    random_s, scan_id = random.Random(seed), f"scan{seed}"
    source, received = Source(scan_id), 0
    for kill in range(kills + 1):
        with serving(folder, *settings) as (process, addresses):
            streams = addresses["streams"]
            with Viewer(addresses["updates"], PATIENCE_S) as viewer:
                if kill == 0:
                    source.start(streams)
                for topic, header, _ in viewer.events():  # what was received before goes on, at least
                    is_known = topic == "status" and header.get("scan_id") == scan_id
                    if is_known and header["frames_received"] >= received:
                        break
                if kill == kills:
                    source.repeat_and_end(streams)
                    return follow(viewer, scan_id)[0]
                until = threading.Event()
                sending = threading.Thread(target=source.send, args=(streams, until))
                sending.start()
                until.wait(random_s.uniform(0.0, 0.3))
                received = asked(addresses, "/api/v1/status")["frames_received"] or 0
                until.wait(random_s.uniform(0.0, 0.1))
                process.send_signal(signal.SIGKILL)
                process.wait(PATIENCE_S)
                until.set()
                sending.join()
    raise AssertionError("unreachable")


@pytest.mark.parametrize("settings", [(), POSITIONS], ids=["positions in frames", "positions of their own"])
def test_a_killed_daemon_goes_on_with_its_scan(tmp_path: Path, settings: tuple[str, ...]):
    ended = killed_scan(tmp_path, 2, 1, *settings)
    verdict = ended["verdict"]
    assert adds_up(verdict)
    assert verdict["stitched"] == FRAMES
    assert verdict["missing"] == verdict["pending"] == 0
    assert ended["result"] == "complete"
    assert_is_picture_of_its_frames(Path(ended["product"]))
    assert [path.name for path in (tmp_path / "out" / "journal").glob("*/closed")] == ["closed"]


@pytest.mark.slow
@pytest.mark.timeout(40 * KILLS + 300)
def test_kills_at_random_instants_lose_and_double_nothing(tmp_path: Path):
    for seed in range(-(-KILLS // KILLS_A_SCAN)):
        ended = killed_scan(tmp_path, KILLS_A_SCAN, seed + 10, *(POSITIONS if seed % 2 else ()))
        verdict = ended["verdict"]
        assert adds_up(verdict), verdict
        assert verdict["stitched"] == FRAMES, verdict
        assert ended["result"] == "complete", verdict
        assert_is_picture_of_its_frames(Path(ended["product"]))
