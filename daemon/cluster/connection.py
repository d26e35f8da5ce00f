"""Connects to a Ray cluster, or starts one on this machine, with a token and without a dashboard."""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
import os
import secrets
import signal
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from daemon.cluster.address import ClusterAddress, Place
from daemon.cluster.faults import (
    broken_ray,
    check_version,
    connection_fault,
    has_no_server,
    missing_ray,
    one_line,
    token_fault,
    unreachable,
)

log = logging.getLogger(__name__)

ANSWER_S = 10.0
"""Longest wait for the TCP connection to a client server, s."""
ATTEMPTS = 4
"""Attempts at a client server: in Ray 2.60 about one process in ten for a new client ends in its fork, after which Ray
waits 30 s and gives up."""
STORE_BYTES = 128 * 2**20
"""Object store of a local cluster for a batch, bytes: tasks take and return file names and figures, not frames."""
TOKEN_BYTES = 32
"""Length of the token of a local cluster, bytes: as long as those that Ray makes."""
LOOPBACK_VARIABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""With 0, Ray uses 127.0.0.1 and listens there alone, on Linux too; otherwise it listens on all addresses."""
OOM_RETRIES = 2
"""How often Ray repeats a task that it stopped for lack of memory; its own default has no end."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A connected cluster: the module ``ray``, the address, CPUs and GPUs in all."""

    ray: ModuleType
    address: str
    cpus: float
    gpus: float


@dataclass(frozen=True, slots=True)
class LocalSize:
    """Size of a local cluster: its object store, and CPUs that it has at least, since a worker may share one."""

    store_bytes: int = STORE_BYTES
    least_cpus: int = 0


def import_ray() -> ModuleType:
    """Return the module ``ray``. Raises :class:`ConfigError` if it is missing or too old."""
    try:
        version = importlib.metadata.version("ray")
    except importlib.metadata.PackageNotFoundError:
        raise missing_ray() from None
    check_version(version)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_task_oom_retries", str(OOM_RETRIES))
    try:
        return importlib.import_module("ray")
    except ImportError as fault:
        raise broken_ray(fault) from fault


@contextmanager
def connected(address: ClusterAddress, local: LocalSize = LocalSize()) -> Iterator[Cluster]:
    """Yield the cluster; a local one ends with the block. Raises :class:`ClusterError`."""
    if address.place is Place.LOCAL:
        _set_local()
    ray = import_ray()
    if address.place is Place.CLIENT:
        _reach(address)
        if not has_token():
            raise token_fault(address.text, is_missing=True)
    on_term = signal.getsignal(signal.SIGTERM)
    with _token_watch(), warnings.catch_warnings(action="ignore"):
        try:
            start_patiently(ray, address, local)
            signal.signal(signal.SIGTERM, on_term)  # Ray sets its own, with another exit code
            resources = ray.cluster_resources()
        except Exception as fault:  # Ray raises many types, some of them its own C++ errors
            ray.shutdown()
            raise connection_fault(fault, address.text) from fault
    try:
        yield Cluster(ray, address.text, resources.get("CPU", 0.0), resources.get("GPU", 0.0))
    finally:
        ray.shutdown()


def has_token() -> bool:
    """Return whether Ray finds a token, or is told to do without."""
    if os.environ.get("RAY_AUTH_MODE", "").lower() != "token" or os.environ.get("RAY_AUTH_TOKEN"):
        return True
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token").is_file()


def _set_local() -> None:
    """Set Ray's environment for a local cluster: a new token, and the loopback address alone. Ray reads it when imported."""
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(TOKEN_BYTES)
    os.environ[LOOPBACK_VARIABLE] = "0"


def start_patiently(ray: ModuleType, address: ClusterAddress, local: LocalSize = LocalSize()) -> None:
    """Connect; try again where the head node could not start its process for this client."""
    for left in reversed(range(ATTEMPTS)):
        try:
            return _start(ray, address, local)
        except ConnectionError as fault:
            if not left or not has_no_server(fault):
                raise
            log.warning("%s: the head node started no process for this client; trying again", address.text)
            log.debug("%s", one_line(fault))
            ray.shutdown()


def _start(ray: ModuleType, address: ClusterAddress, local: LocalSize) -> None:
    """Connect, or start a local cluster with one CPU for each core and no dashboard."""
    if address.place is not Place.LOCAL:
        ray.init(address=address.text, log_to_driver=False, logging_level="error")
        return
    ray.init(
        address="local",
        num_cpus=max(local.least_cpus, len(os.sched_getaffinity(0))),
        object_store_memory=local.store_bytes,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
    )


class _TokenWatch(logging.Handler):
    """Ends the attempts of Ray's client at a refused token, which it only logs: it would try again for half a minute."""

    def emit(self, record: logging.LogRecord) -> None:
        """Raise :class:`PermissionError` for a message about the token; the caller is Ray's connecting client."""
        if "authentication" in record.getMessage().lower():
            raise PermissionError(record.getMessage())


@contextmanager
def _token_watch() -> Iterator[None]:
    """Let a token that a client server refuses end the connecting at once."""
    logger, handler = logging.getLogger("ray.util.client.worker"), _TokenWatch()
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


def _reach(address: ClusterAddress) -> None:
    """Raise :class:`ClusterError` unless the port takes connections: Ray itself tries for minutes."""
    try:
        socket.create_connection((address.host, address.port), ANSWER_S).close()
    except OSError as fault:
        raise unreachable(address.text, fault.strerror or str(fault)) from fault
