"""A stream whose positions lie, and one whose positions are right: a real daemon, real sockets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from daemon.app import Daemon
from daemon.client import Viewer
from daemon.files import read_product
from ptychopinn.simulate import Recipe, simulate_scan
from streams.codecs import CODECS
from streams.frame import PositionM, ScanStart
from streams.sockets.transport import Sender
from tests.support.daemon_tools import PATIENCE_S, adds_up, follow, running_daemon

N, FRAMES, FIRST = 64, 49, 36
PIXEL_M = 1.239841984e-6 / 8800 * 1.92 / (N * 75e-6)


@cache
def scan() -> SimpleNamespace:
    """Return a simulated scan with its true positions, which lie on pixels."""
    recipe = Recipe(size_px=N, frames=FRAMES, counts=1e5, phase_rad=1.5, overlap_ratio=0.75, texture="noise", seed=5)
    drawn = simulate_scan(recipe)
    counts = np.square(np.asarray(drawn.amplitude)).round().astype(np.uint32)
    return SimpleNamespace(counts=counts, positions_px=drawn.corners_px + N / 2, probe=np.asarray(drawn.probe))


def errors_px() -> np.ndarray:
    return np.random.default_rng(1).normal(scale=2.0, size=(FRAMES, 2))


def apart_px(places: np.ndarray, others: np.ndarray) -> float:
    """Return the median distance, what is common taken out."""
    apart = places - others
    return float(np.median(np.hypot(*(apart - np.median(apart, axis=0)).T)))


@contextmanager
def daemon_of(folder: Path, *settings: str) -> Iterator[tuple[Daemon, Viewer]]:
    np.savez(folder / "probe.npz", probe=scan().probe, object_pixel_size_m=np.float64(PIXEL_M))
    common = (
        f"optics.probe_file={json.dumps(str(folder / 'probe.npz'))}",
        f"detector.size_px={N}",
        f"detector.center_px=[{N // 2}, {N // 2}]",
        "refine.enabled=true",
        "diagnosis.enabled=true",
        f"diagnosis.frames={FIRST}",
    )
    with (
        running_daemon(folder, *common, *settings) as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
    ):
        yield daemon, viewer


class Source:
    """A detector whose frames carry positions."""

    def __init__(self, daemon: Daemon, told_px: np.ndarray) -> None:
        self._codec, self._told_m = CODECS["native"](), told_px * PIXEL_M
        self._sender = Sender(">" + daemon.addresses()["streams"]["frames"])
        counts = scan().counts
        self._sender.send(self._codec.encode_start(ScanStart("lying", FRAMES), counts.shape[1:], counts.dtype))

    def send(self, frames: range) -> None:
        for i in frames:
            position = PositionM(*self._told_m[i].tolist())
            self._sender.send(self._codec.encode_frame("lying", i, scan().counts[i], position))

    def end(self) -> None:
        self._sender.send(self._codec.encode_end("lying"))
        self._sender.close()


def status_with_positions(viewer: Viewer) -> dict[str, Any]:
    return next(header for topic, header, _ in viewer.events() if topic == "status" and header["position_error_px"])


def test_the_test_of_the_first_frames_turns_the_search_on(tmp_path: Path) -> None:
    true = scan().positions_px
    told = true + errors_px()
    settings = ("refine.improve_s=60", "refine.finish_s=0.1")
    with daemon_of(tmp_path, *settings) as (daemon, viewer):
        source = Source(daemon, told)
        source.send(range(FIRST))
        early = status_with_positions(viewer)
        source.send(range(FIRST, FRAMES))
        source.end()
        ended, _ = follow(viewer)
        text, _ = daemon.view.metrics_text()
        product = read_product(Path(ended["product"]))
        record = daemon.scans.get("lying").record
    assert early["position_error_px"] == pytest.approx(2.5, rel=0.4)
    assert adds_up(ended["verdict"])
    assert ended["verdict"]["stitched"] == FRAMES
    found, measured = product.positions_m / PIXEL_M, product.live.measured_position_m / PIXEL_M
    assert apart_px(measured, told) < 1e-6
    assert apart_px(found, true) < 0.5 * apart_px(told, true)
    assert np.allclose(measured + product.live.position_corrections_m / PIXEL_M, found)
    assert [note for note in record.notes if "positions are off by about 2." in note] == list(ended["notes"])[:1]
    assert record.position_error_px == pytest.approx(np.hypot(*(found - measured).T).mean(), rel=0.1)
    assert f"ptycholive_position_error_px {record.position_error_px}" in text.decode()


def test_right_positions_stay(tmp_path: Path) -> None:
    settings = ("refine.improve_s=20", "refine.correct_positions=auto")
    with daemon_of(tmp_path, *settings) as (daemon, viewer):
        source = Source(daemon, scan().positions_px)
        source.send(range(FRAMES))
        source.end()
        ended, _ = follow(viewer)
        record = daemon.scans.get("lying").record
    product = read_product(Path(ended["product"]))
    assert record.position_error_px is None
    assert product.live.measured_position_m is None
    assert apart_px(product.positions_m / PIXEL_M, scan().positions_px) < 1e-6
    assert not [note for note in ended["notes"] if note.startswith("positions ")]
