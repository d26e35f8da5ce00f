"""A detector ten times faster than the device. ``PTYCHOLIVE_OVERLOAD_S`` is how long it sends."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest

from daemon.client import Viewer
from daemon.files import ScanFile
from tests.support.daemon_tools import PATIENCE_S, follow, real_scan, running_daemon, send
from tests.support.fuzz_run import resident_bytes
from tests.support.slow_device import FRAME_BYTES, SlowLift

OVERLOAD_S = float(os.environ.get("PTYCHOLIVE_OVERLOAD_S", "60"))


@pytest.mark.timeout(300 + 20 * OVERLOAD_S)
def test_a_tenfold_overload_costs_no_frame_and_no_memory(tmp_path: Path):
    """The device takes a tenth of what comes, until all has come."""
    scan = real_scan()
    rate_hz, limit = 400.0, 64 * FRAME_BYTES
    frames, has_come = int(rate_hz * OVERLOAD_S), threading.Event()
    model, repeats = SlowLift(), -(-frames // len(scan.counts))
    long = ScanFile(
        name="long",
        counts=np.concatenate([scan.counts] * repeats)[:frames],
        indexes=np.arange(frames),
        positions_m=np.concatenate([scan.positions_m] * repeats)[:frames],
    )
    with (
        running_daemon(tmp_path, f"limits.queue_bytes={limit}", wrap_models=model) as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
    ):
        model.before = lambda group: has_come.wait(10 * len(group) / rate_hz)
        sending = threading.Thread(
            target=send, args=(daemon, long, frames), kwargs={"rate_hz": rate_hz, "scan_id": "long"}
        )
        sending.start()
        memory, held = [], []
        for topic, header, _ in viewer.events():
            if topic == "status" and header["frames_received"]:
                held.append(daemon.metrics.value("ptycholive_queue_bytes", stage="engine"))
                memory.append(resident_bytes())
                if header["frames_received"] == frames:
                    break
        sending.join()
        assert header["frames_stitched"] < frames / 3
        assert max(held) <= limit
        assert max(memory[2:]) - memory[2] < 160 << 20  # of which the sample for the R-factor may be 64
        has_come.set()
        ended, _ = follow(viewer, "long")
    assert ended["verdict"]["stitched"] == ended["verdict"]["received"] == frames
