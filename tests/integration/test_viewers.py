"""Viewers of a real daemon: late ones, stuck ones, and bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zmq

from daemon.client import Viewer
from daemon.files import ScanFile
from tests.support.daemon_tools import (
    PATIENCE_S,
    follow,
    real_scan,
    running_daemon,
    send,
    send_unfinished,
    wait_for_frames,
)


@pytest.fixture(scope="module")
def scan() -> ScanFile:
    return real_scan()


def test_who_joins_in_the_middle_has_the_whole_picture_at_once(scan: ScanFile, tmp_path: Path):
    with running_daemon(tmp_path) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as early:
        send_unfinished(daemon.addresses()["streams"]["frames"], scan, 100, 516, "half")
        wait_for_frames(early, 100)  # the first of perhaps several regions of that update
        known = daemon.hub.canvas("half", "network")
        with Viewer(daemon.addresses()["updates"], PATIENCE_S) as late:
            first = next(canvas for _, _, canvas in late.events() if canvas is not None)
        assert first.frames_stitched == 100
        assert first.origin_px == known.origin_px
        np.testing.assert_array_equal(first.object, known.object)
        np.testing.assert_array_equal(first.weight, known.weight)


def test_snapshot_plus_deltas_is_the_next_snapshot_bit_for_bit(scan: ScanFile, tmp_path: Path):
    settings = ("refine.enabled=true", "refine.finish_s=0")
    with running_daemon(tmp_path, *settings) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        send(daemon, scan, 150, rate_hz=300)
        ended, from_deltas = follow(viewer)
        assert set(from_deltas) == {"network", "refined"}
        with Viewer(daemon.addresses()["updates"], PATIENCE_S) as fresh:
            for _ in fresh.events():
                if len(fresh.states) == 2:
                    break
            for (_, layer), snapshot in fresh.states.items():
                assert snapshot.complete
                assert snapshot.frames_stitched == ended["verdict"]["stitched"] == 150
                np.testing.assert_array_equal(snapshot.object, from_deltas[layer].object)
                np.testing.assert_array_equal(snapshot.weight, from_deltas[layer].weight)


def test_viewers_that_stop_reading_change_nothing_for_the_daemon(scan: ScanFile, tmp_path: Path):
    with running_daemon(tmp_path) as daemon, zmq.Context() as context:
        updates = daemon.addresses()["updates"]
        stuck = [context.socket(zmq.SUB) for _ in range(3)]
        for socket in stuck:
            socket.setsockopt(zmq.RCVHWM, 1)
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.RCVTIMEO, int(PATIENCE_S * 1000))
            socket.connect(updates)
            socket.subscribe(b"")
            socket.recv_multipart()  # it is subscribed; from now on it reads nothing
        with Viewer(updates, PATIENCE_S) as viewer:
            for k in range(2):
                send(daemon, scan, 516, scan_id=f"scan-{k}")
                ended, _ = follow(viewer, f"scan-{k}")
                assert ended["result"] == "complete"
                assert ended["verdict"]["stitched"] == 516
        for socket in stuck:
            socket.close()
