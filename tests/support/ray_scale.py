"""How far one command and one reader reach with more workers, whose device is a stand-in that takes a set time.

By hand, in the environment of tests/interop/test_ray.py: ``.venv-ray/bin/python -m tests.support.ray_scale``; prints two tables.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from daemon.cluster.connection import Cluster, import_ray
from daemon.cluster.tasks import Needs, run_tasks

WORKERS = (1, 2, 4, 8, 16)
SCAN_S = 0.5
"""Time of the stand-in for one scan, s."""
SCANS_PER_WORKER = 8
FRAMES, SIDE_PX = 64, 128
"""A batch of the live design: frames, and the side of a pattern."""
BATCH_S = 0.064
"""Time of the stand-in for one batch, s: a device of 1,000 frames/s."""
CREDITS = 2
"""Batches in flight for each worker."""
LIVE_S = 6.0
"""Length of one measurement of the reader, s."""


def scan(number: int) -> int:
    """Stand in for one scan."""
    time.sleep(SCAN_S)
    return number


class Engine:
    """Stands in for an engine: it sees every frame of a batch in the object store, then waits as its device would."""

    def take(self, indexes: np.ndarray, frames: np.ndarray) -> int:
        """Return the number of counts in the first row of each frame, so that the shared memory is read."""
        begun = time.monotonic()
        counts = int(frames[:, 0].sum())
        time.sleep(max(0.0, BATCH_S - (time.monotonic() - begun)))
        return counts + len(indexes)


def scans_per_s(cluster: Cluster, workers: int) -> float:
    """Return the rate of a batch of scans."""
    needs = Needs(cpus=max(WORKERS) / workers)  # as many at a time as there are workers
    list(run_tasks(cluster, scan, range(workers), needs))  # the processes start
    begun, count = time.monotonic(), SCANS_PER_WORKER * workers
    assert len(list(run_tasks(cluster, scan, range(count), needs))) == count
    return count / (time.monotonic() - begun)


def frames_per_s(ray: Any, workers: int) -> tuple[float, float]:
    """Return frames/s, and CPU time of the reader for each frame, us: batches through the object store, with credits."""
    actors = [ray.remote(num_cpus=1)(Engine).remote() for _ in range(workers)]
    frames = np.random.default_rng(0).poisson(3, (FRAMES, SIDE_PX, SIDE_PX)).astype(np.uint16)
    indexes = np.arange(FRAMES)
    ray.get([actor.take.remote(indexes, frames) for actor in actors])
    free, running, done = deque(actors * CREDITS), {}, 0
    begun, cpu = time.monotonic(), time.process_time()
    while time.monotonic() - begun < LIVE_S:
        while free:
            actor = free.popleft()
            running[actor.take.remote(indexes, ray.put(frames))] = actor
        for reference in ray.wait(list(running))[0]:
            free.append(running.pop(reference))
            done += FRAMES
    seconds, cpu_s = time.monotonic() - begun, time.process_time() - cpu
    ray.get(list(running))
    for actor in actors:
        ray.kill(actor)
    return done / seconds, 1e6 * cpu_s / done


def table(heads: Sequence[str], row_of: Callable[[int], Sequence[str]]) -> None:
    """Print a row for each number of workers."""
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads), flush=True)
    for workers in WORKERS:
        print(f"| {workers} | " + " | ".join(row_of(workers)) + " |", flush=True)


def main() -> None:
    """Measure on a local cluster that believes in 16 cores: a stand-in needs none."""
    ray = import_ray()
    ray.init(
        address="local", num_cpus=max(WORKERS), include_dashboard=False, log_to_driver=False, logging_level="error",
        object_store_memory=512 * 2**20, _node_ip_address="127.0.0.1",
    )  # fmt: skip

    def batch_row(workers: int) -> Sequence[str]:
        rate = scans_per_s(Cluster(ray, "local", max(WORKERS), 0), workers)
        return (f"{rate:.1f}", f"{rate * SCAN_S / workers:.2f}")

    def live_row(workers: int) -> Sequence[str]:
        rate, cpu_us = frames_per_s(ray, workers)
        return (f"{rate:.0f}", f"{rate * BATCH_S / FRAMES / workers:.2f}", f"{cpu_us:.0f}")

    table(("workers", "scans/s", "of the ideal"), batch_row)
    if "batch" not in sys.argv:
        table(("workers", "frames/s", "of the ideal", "reader, us of CPU a frame"), live_row)
    ray.shutdown()


if __name__ == "__main__":
    main()
