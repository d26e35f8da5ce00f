"""How many frames a second one reader hands out: a whole daemon on a local Ray cluster whose workers' devices are stand-ins.

By hand, with Ray's Python (.venv-ray): ``python -m tests.support.ray_reader_limit FOLDER``; prints a table. A stand-in sees each
frame of a batch in the object store and then waits as its device would; it has no picture.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from daemon.cluster.address import parse_address
from daemon.cluster.connection import LocalSize, connected
from daemon.cluster.plan import BatchDone, Changes, FrameBatch, ModelPlan, PartResult, WorkerFacts
from daemon.config import Config
from daemon.engine.models import ModelIdentity
from daemon.engine.options import EngineOptions
from daemon.engine.result import ScanResult
from streams.codecs import CODECS
from streams.frame import PositionM, ScanStart
from streams.sockets.transport import Sender
from tests.support.daemon_tools import PATIENCE_S, running_daemon

WORKERS = (1, 2, 4, 8, 16)
SIDE_PX = 128
FRAME_S = 0.004
"""Time of the stand-in for a frame, s: a device of 250 frames/s."""
SECONDS = 8
"""Length of a scan, s, if the reader were without limit; at most MOST_FRAMES."""
MOST_FRAMES = 12000
STORE_BYTES = 512 * 2**20
CALLS_AT_ONCE = 16
CHANGES_S = 1.0
"""Wait of a call for changes, s, as in a worker without any."""
EMPTY = np.zeros((0, 0), np.complex64), np.zeros((0, 0), np.float32)


class StandIn:
    """A worker without an engine: one batch at a time."""

    def __init__(self) -> None:
        self._device = threading.Lock()
        self._frames: dict[str, list[int]] = {}

    def begin(self, model: ModelPlan, epoch: int) -> WorkerFacts:
        """Begin."""
        del model, epoch
        return WorkerFacts("here", 0, "stand-in")

    def take(self, batch: FrameBatch) -> BatchDone:
        """Wait as long as the device would work."""
        with self._device:
            end = time.monotonic() + FRAME_S * len(batch.indexes)
            int(batch.counts[:, 0].sum())
            time.sleep(max(0.0, end - time.monotonic()))
            indexes = batch.indexes.tolist()
            self._frames.setdefault(batch.scan_id, []).extend(indexes)
        return BatchDone(indexes, {})

    def changes(self, epoch: int, probes: Mapping[str, Any]) -> Changes:
        """Return no change."""
        del probes
        time.sleep(CHANGES_S)
        return Changes(epoch, 0, ())

    def finish(self, epoch: int, scan_id: str) -> PartResult:
        """Return a result without pictures."""
        indexes = np.array(self._frames.pop(scan_id), dtype=np.int64)
        result = ScanResult(
            scan_id, *EMPTY, (0, 0), None, None, None, probe=np.zeros((1, 1, 1), np.complex64),
            model=ModelIdentity("stand-in", "", 0), indexes=indexes, positions_px=np.zeros((len(indexes), 2)), rfactors={},
        )  # fmt: skip
        return PartResult(epoch, 0, result)


def connect(config: Config, options: EngineOptions, stack: ExitStack) -> tuple[Any, Sequence[Any]]:
    """Start the stand-ins in processes of their own."""
    del options
    workers = config.cluster.workers
    cluster = stack.enter_context(connected(parse_address("local"), LocalSize(STORE_BYTES, least_cpus=workers)))
    make = cluster.ray.remote(num_cpus=1, max_concurrency=CALLS_AT_ONCE)(StandIn)
    return cluster.ray, [make.remote() for _ in range(workers)]


def send(endpoint: str, frames: int) -> None:
    """Send a raster as fast as it is taken; in a process of its own."""
    codec, side = CODECS["native"](), int(frames**0.5)
    counts = np.random.default_rng(0).poisson(3, (16, SIDE_PX, SIDE_PX)).astype(np.uint16)
    with Sender(">" + endpoint) as sender:
        sender.send(codec.encode_start(ScanStart("one", frames), (SIDE_PX, SIDE_PX), counts.dtype))
        for i in range(frames):
            place = PositionM(1e-6 * (i // side), 1e-6 * (i % side))
            sender.send(codec.encode_frame("one", i, counts[i % len(counts)], place))
        sender.send(codec.encode_end("one"))


def measure(folder: Path, workers: int) -> str:
    """Return the row of the table."""
    frames = min(MOST_FRAMES, int(SECONDS * workers / FRAME_S))
    settings = ('cluster.address="local"', f"cluster.workers={workers}", "finetune.enabled=false")
    with running_daemon(folder, *settings, "limits.queue_bytes=67108864", connect=connect) as daemon:
        done, first = threading.Event(), [0.0]

        def look(event: Any) -> None:
            if event.scan is not None and event.scan["state"] == "ended":
                done.set()
            elif event.scan is not None and event.scan["state"] == "started":
                first[0] = time.monotonic()

        daemon.hub.subscribe(look)
        cpu = time.process_time()
        endpoint = daemon.addresses()["streams"]["frames"]
        with subprocess.Popen([sys.executable, "-m", __spec__.name, "send", endpoint, str(frames)]):
            assert done.wait(3 * PATIENCE_S)
        seconds, cpu_us = time.monotonic() - first[0], 1e6 * (time.process_time() - cpu) / frames
        shares = [one["frames_stitched"] for one in daemon.view.status()["workers"]]
    rate = frames / seconds
    figures = f"{rate:.0f} | {rate * FRAME_S / workers:.2f} | {cpu_us:.0f} | {min(shares)} to {max(shares)}"
    return f"| {workers} | {figures} |"


def main(folder: Path, numbers: Sequence[int]) -> None:
    """Print the table; each row in a process of its own, as Ray keeps the token of its first cluster."""
    print(
        "| workers | frames/s | of the ideal | CPU time of the reader for a frame, us | frames of a worker |\n|"
        + "---|" * 5
    )
    for number in numbers:
        place = folder / str(number)
        place.mkdir(parents=True)
        subprocess.run([sys.executable, "-m", __spec__.name, "measure", str(place), str(number)], check=True)


if __name__ == "__main__":
    if sys.argv[1] == "send":
        send(sys.argv[2], int(sys.argv[3]))
    elif sys.argv[1] == "measure":
        print(measure(Path(sys.argv[2]), int(sys.argv[3])), flush=True)
    else:
        main(Path(sys.argv[1]), [int(number) for number in sys.argv[2:]] or WORKERS)
