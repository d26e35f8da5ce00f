"""The side of tests/interop/test_ray_live.py in Ray's environment: FOLDER WORKERS KILLS; prints one JSON object.

A daemon on a local cluster takes the small scan; workers are killed while frames are on their way.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from daemon.app import Daemon
from daemon.client import Viewer
from streams.codecs import CODECS
from streams.frame import PositionM, ScanStart
from streams.sockets.transport import Sender
from tests.support.daemon_tools import PATIENCE_S, follow, running_daemon
from tests.support.small_scans import small_scan

FRAMES = 160
REFINED = ("refine.enabled=true", "refine.finish_s=60", "refine.improve_s=0", 'refine.correct_positions="off"')
"""Refined until each frame has had its visits, however slow the host is."""
FAINT = 0.3
"""Share of the greatest coverage that counts as covered."""
CODEC = CODECS["native"]()


def kill(daemon: Daemon, number: int, seen: set[int]) -> None:
    """Kill the process of a worker, once it has begun again after the kill before."""
    waited = threading.Event()
    for _ in range(int(PATIENCE_S / 0.05)):
        link = daemon._engine.workers.links[number]
        if link.state == "running" and link.facts is not None and link.facts.pid not in seen:
            break
        waited.wait(0.05)
    else:
        raise AssertionError(f"worker {number} did not begin again: {link.failure}")
    seen.add(link.facts.pid)
    os.kill(link.facts.pid, signal.SIGKILL)


def run(folder: Path, workers: int, kills: int) -> dict[str, Any]:
    """Return the account, both R, a digest of the network layer, and the covered pixels of the refined one."""
    scan, settings = small_scan(folder, FRAMES)
    cluster = ('cluster.address="local"', f"cluster.workers={workers}") if workers else ()
    seen: set[int] = set()
    with (
        running_daemon(folder, *settings, *REFINED, *cluster) as daemon,
        Viewer(daemon.addresses()["updates"]) as viewer,
    ):
        with Sender(">" + daemon.addresses()["streams"]["frames"]) as sender:
            sender.send(CODEC.encode_start(ScanStart("one", FRAMES), scan.counts.shape[1:], scan.counts.dtype))
            for i in range(FRAMES):
                sender.send(CODEC.encode_frame("one", i, scan.counts[i], PositionM(*scan.positions_m[i])))
                if kills and i and i % (FRAMES // (kills + 1)) == 0 and len(seen) < kills:
                    kill(daemon, len(seen) % workers, seen)
            sender.send(CODEC.encode_end("one"))
        ended, pictures = follow(viewer)
        status = daemon.view.status()
    picture, refined = pictures["network"], pictures["refined"]
    digest = hashlib.sha256(picture.object.tobytes() + picture.weight.tobytes()).hexdigest()
    return {
        "verdict": ended["verdict"],
        "rfactors": ended["rfactors"],
        "refined_px": int((refined.weight > FAINT * refined.weight.max()).sum()),
        "digest": digest,
        "origin_px": picture.origin_px,
        "killed": len(seen),
        "workers": status["workers"],
        "imported_ray": "ray" in sys.modules,
    }


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
