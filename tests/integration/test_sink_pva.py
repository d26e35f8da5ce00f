"""The sink ``pva`` of a real daemon, seen by a real PV Access client."""

from __future__ import annotations

import math
import queue
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from p4p.client.thread import Context, RemoteError

from daemon.client import Viewer
from daemon.publish.png import without_global_phase
from daemon.sinks.pva import binned
from tests.support.daemon_tools import PATIENCE_S, follow, real_scan, running_daemon, send

SINK = 'output.sinks=[{kind = "pva", period_s = 0.05, options = {prefix = "TEST:", port = 0, search_port = 0}}]'


def until(states: queue.Queue[Any], wanted: str) -> None:
    while states.get(timeout=PATIENCE_S) != wanted:
        pass


def test_an_epics_client_sees_the_scan(tmp_path: Path) -> None:
    with running_daemon(tmp_path, SINK, "refine.enabled=true", "refine.finish_s=0") as daemon:
        (sink,) = daemon._setup.sinks
        with Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
            send(daemon, real_scan(), 60, scan_id="first")
            follow(viewer)
            with Context("pva", conf=sink.client_conf, useenv=False) as context:
                states: queue.Queue[Any] = queue.Queue()
                monitor = context.monitor("TEST:State", states.put)
                until(states, "complete")
                send(daemon, real_scan(), 90, scan_id="second")
                until(states, "scanning")
                until(states, "complete")
                _, pictures = follow(viewer, "second")
                wanted = pictures["refined"]
                phase, amplitude = (context.get(f"TEST:{name}") for name in ("Phase", "Amplitude"))
                assert phase.raw["uniqueId"] == amplitude.raw["uniqueId"] > 1
                assert phase.shape == amplitude.shape == wanted.shape
                np.testing.assert_allclose(amplitude, np.abs(wanted.object), rtol=1e-6)
                weight = (wanted.object != 0).astype(np.float32)
                expected = np.angle(without_global_phase(wanted.object, weight))
                np.testing.assert_allclose(phase, expected, atol=1e-5)
                assert (phase.attrib["ScanId"], phase.attrib["Layer"]) == ("second", "refined")
                assert phase.attrib["PixelSize_m"] == pytest.approx(wanted.pixel_size_m)
                assert phase.attrib["OriginY_px"] == wanted.origin_px[0]
                assert [int(context.get(f"TEST:Frames{name}")) for name in ("Stitched", "Expected")] == [90, 90]
                assert float(context.get("TEST:RFactor")) == pytest.approx(wanted.rfactor)
                assert context.get("TEST:ScanId") == "second"
                assert context.get("TEST:State").timestamp > 1.7e9
                with pytest.raises(RemoteError):
                    context.put("TEST:State", "stopped")
                monitor.close()
        assert daemon.view.status()["sinks"][0]["trouble"] is None
        assert daemon.metrics.value("ptycholive_sink_deliveries_total", sink="pva", result="ok") >= 6


def test_a_sink_that_cannot_open_harms_no_scan_and_is_named(tmp_path: Path) -> None:
    elsewhere = SINK.replace("port = 0, search", 'interface = "198.51.100.1", port = 0, search')
    with running_daemon(tmp_path, elsewhere) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        send(daemon, real_scan(), 30)
        ended, _ = follow(viewer)
        assert ended["result"] == "complete"
        for topic, header, _ in viewer.events():
            if topic == "status" and "he sink pva failed" in header["sentence"]:
                break
        assert daemon.metrics.value("ptycholive_sink_deliveries_total", sink="pva", result="failed") >= 1


def test_large_pictures_are_binned_by_their_weights() -> None:
    rng = np.random.default_rng(0)
    pixels = (rng.normal(size=(7, 10)) + 1j * rng.normal(size=(7, 10))).astype(np.complex64)
    weight = rng.random((7, 10), dtype=np.float32)
    weight[:3, :3] = 0
    small, step = binned(pixels, weight, 4)
    assert (small.shape, step) == ((3, 4), 3)
    assert small[0, 0] == 0
    assert small[1, 1] == pytest.approx(np.average(pixels[3:6, 3:6], weights=weight[3:6, 3:6]))
    assert small[2, 3] == pytest.approx(pixels[6, 9])
    assert binned(pixels, weight, 10)[0] is pixels
    assert math.isclose(binned(np.zeros((0, 0), np.complex64), np.zeros((0, 0), np.float32), 10)[1], 1)
