"""CPU time of the daemon's process for a frame, with its engine inside and with two workers on a local Ray cluster.

By hand, with Ray's Python (.venv-ray): ``python -m tests.support.ray_overhead FOLDER WORKERS FRAMES [refined]``.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from daemon.client import Viewer
from tests.support.daemon_tools import follow, real_scan, running_daemon, send

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def engine_s() -> float:
    """Return the CPU time of the thread ``engine``, s."""
    thread = next(one for one in threading.enumerate() if one.name == "engine")
    fields = Path(f"/proc/self/task/{thread.native_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def measure(folder: Path, workers: int, frames: int, *, is_refined: bool) -> dict[str, float]:
    """Return us of CPU for a frame: of the process, and of its engine's thread."""
    scan = real_scan()
    repeated = np.arange(frames) % len(scan.counts)
    long = replace(
        scan,
        counts=scan.counts[repeated].astype(np.uint16),
        positions_m=scan.positions_m[repeated],
        indexes=np.arange(frames),
    )
    cluster = ('cluster.address="local"', f"cluster.workers={workers}") if workers else ("model.threads=1",)
    refined = ("refine.enabled=true", 'refine.correct_positions="off"', "refine.improve_s=0") if is_refined else ()
    with running_daemon(folder, *cluster, *refined, "finetune.enabled=false", "publish.period_s=0.1") as daemon:
        with Viewer(daemon.addresses()["updates"]) as viewer:
            send(daemon, long, 500, scan_id="warm")
            follow(viewer)
        begun, engine, sender = time.process_time(), engine_s(), time.thread_time()
        done = threading.Event()
        daemon.hub.subscribe(
            lambda event: done.set() if event.scan is not None and event.scan["state"] == "ended" else None
        )
        send(daemon, long, frames, scan_id="one")
        sent_s = time.thread_time() - sender
        assert done.wait(300)
        cpu_s, own_s = time.process_time() - begun - sent_s, engine_s() - engine
    us = 1e6 / frames
    return {"process_us": round(cpu_s * us), "engine_us": round(own_s * us), "rest_us": round((cpu_s - own_s) * us)}


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), is_refined="refined" in sys.argv)))
