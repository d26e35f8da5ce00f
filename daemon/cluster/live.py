"""The workers of a live scan: checks of the cluster, their actors, and the parts of the daemon that one device alone has."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from daemon.cluster.address import Place, parse_address
from daemon.cluster.connection import Cluster, LocalSize, connected
from daemon.cluster.faults import at
from daemon.cluster.plan import WorkerPlan
from daemon.cluster.worker import EngineWorker
from daemon.config import Config, Notify
from daemon.engine.options import EngineOptions
from daemon.errors import ClusterError

LIVE_STORE_BYTES = 512 * 2**20
"""Object store of a local cluster for live scans, bytes: two batches of 64 frames of 512 x 512 px for each of eight workers."""
CALLS_AT_ONCE = 16
"""Calls that a worker takes at once: two batches, changes, the ends of a few scans, and a new beginning."""
NEVER_GIVE_UP = -1
"""Ray starts a lost worker again as often as needed."""

Connect = Callable[[Config, EngineOptions, ExitStack], tuple[Any, Sequence[Any]]]
"""Returns the module ``ray`` and the actors of the workers; the stack gets what undoes it."""

log = logging.getLogger(__name__)


def cluster_config(config: Config) -> Config:
    """Return the configuration for a cluster: without the parts that need all frames of a scan on one device."""
    if not config.cluster.is_on:
        return config
    refine = config.refine
    limits: dict[str, object] = {
        "correct_positions": "off",
        "position_bound_px": 0.0,
        "exposure_share": 0.0,
        "beam_drift": "off",
        "modes": None if refine.modes == "auto" else refine.modes,
    }
    names = [f"[refine] {key}" for key, value in limits.items() if refine.enabled and getattr(refine, key) != value]
    if config.diagnosis.enabled and config.diagnosis.auto_fix:
        names.append("[diagnosis] auto_fix")
    if names:
        log.warning("[cluster] workers = %d: off for all scans: %s", config.cluster.workers, ", ".join(names))
    diagnosis = config.diagnosis.model_copy(update={"auto_fix": False})
    return config.model_copy(update={"refine": refine.model_copy(update=limits), "diagnosis": diagnosis})


def connect_workers(config: Config, options: EngineOptions, stack: ExitStack) -> tuple[Any, Sequence[Any]]:
    """Connect to the configured cluster and start the workers. Raises :class:`ClusterError` or :class:`ConfigError`."""
    wanted = config.cluster.workers
    address = parse_address(config.cluster.address, "[cluster] address")
    cluster = stack.enter_context(connected(address, LocalSize(LIVE_STORE_BYTES, least_cpus=wanted)))
    try:
        gpus = gpus_of(config, cluster)
        check_room(cluster, wanted, gpus)
        actors = start_actors(cluster.ray, config, options, gpus, is_local=address.place is Place.LOCAL)
    except BaseException:
        stack.close()
        raise
    stack.callback(end_actors, cluster.ray, actors)
    return cluster.ray, actors


def gpus_of(config: Config, cluster: Cluster) -> float:
    """Return the GPUs of each worker: as configured, else one if the cluster has enough."""
    given = config.cluster.gpus_per_worker
    if given is not None:
        return given
    return 1.0 if cluster.gpus >= config.cluster.workers and config.model.device != "cpu" else 0.0


def check_room(cluster: Cluster, workers: int, gpus: float) -> None:
    """Raise :class:`ClusterError` if the cluster is too small for all workers: Ray would wait without end."""
    for name, needed, there in (("CPU", float(workers), cluster.cpus), ("GPU", gpus * workers, cluster.gpus)):
        if needed > there:
            raise ClusterError(
                f"[cluster] workers = {workers} need {needed:g} {name} and the Ray cluster {at(cluster.address)} has "
                f"{there:g} in all; give fewer workers, or add a machine"
            )


def start_actors(ray: Any, config: Config, options: EngineOptions, gpus: float, *, is_local: bool) -> list[Any]:
    """Return the actors of the workers, whose engines begin later."""
    make = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=NEVER_GIVE_UP, max_concurrency=CALLS_AT_ONCE)(
        EngineWorker
    )
    workers = config.cluster.workers
    plain = worker_config(config, threads_each(workers) if is_local else config.model.threads)
    plain_options = replace(options, pixel_size_m=unknown, refine_improve_s=0.0, box_m=None, canvas_folder=None)
    return [make.remote(WorkerPlan(number, plain, plain_options)) for number in range(workers)]


def worker_config(config: Config, threads: int) -> Config:
    """Return the configuration for a worker, without what is secret."""
    return config.model_copy(
        update={
            "notify": Notify(),
            "output": config.output.model_copy(update={"sinks": []}),
            "model": config.model.model_copy(update={"threads": threads}),
        }
    )


def threads_each(workers: int) -> int:
    """Return the CPU threads of each of several workers on this machine."""
    return max(1, len(os.sched_getaffinity(0)) // workers)


def unknown(scan_id: str) -> float | None:
    """Return None: a worker gets the object pixel with the frames."""
    del scan_id
    return None


def end_actors(ray: Any, actors: Sequence[Any]) -> None:
    """End the workers, which Ray would keep for a cluster that goes on."""
    for actor in actors:
        try:
            ray.kill(actor)
        except (ValueError, ConnectionError, ray.exceptions.RayError):
            return
