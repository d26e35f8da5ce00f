"""Runs one function for many arguments on a cluster, and yields each result as it comes."""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from daemon.cluster.connection import Cluster
from daemon.cluster.faults import at, lost, one_line
from daemon.errors import ClusterError

A = TypeVar("A")
R = TypeVar("R")
RETRIES = 2
"""How often Ray repeats a task whose process or machine ended."""
CALLS_PER_PROCESS = 50
"""Tasks that one process runs before Ray replaces it: this bounds leaks of libraries, and the model is loaded rarely."""
TASKS_PER_SLOT = 2
"""Tasks handed to Ray for each that can run: the next one is ready when one ends, and few are to cancel."""


@dataclass(frozen=True, slots=True)
class Needs:
    """CPUs and (fractions of) GPUs of one task."""

    cpus: float = 1.0
    gpus: float = 0.0

    def slots(self, cluster: Cluster) -> int:
        """Return the number of tasks that run at the same time. Raises :class:`ClusterError` if there is none."""
        for name, needed, there in (("CPU", self.cpus, cluster.cpus), ("GPU", self.gpus, cluster.gpus)):
            if needed > there:
                raise ClusterError(
                    f"a scan needs {needed:g} {name} and the Ray cluster {at(cluster.address)} has {there:g} in all; "
                    f"add a machine with more, or ask for less"
                )
        by_gpu = cluster.gpus / self.gpus if self.gpus else math.inf
        return int(min(cluster.cpus / self.cpus, by_gpu))


@dataclass(frozen=True, slots=True)
class Done(Generic[R]):
    """The result of the function for the argument ``number``, or the reason why there is none."""

    number: int
    result: R | None
    fault: str = ""


def run_tasks(
    cluster: Cluster, function: Callable[[A], R], arguments: Sequence[A], needs: Needs
) -> Generator[Done[R], None, None]:
    """Yield results in the order in which they come; what still runs when the caller stops is cancelled."""
    ray = cluster.ray
    remote = ray.remote(num_cpus=needs.cpus, num_gpus=needs.gpus, max_retries=RETRIES, max_calls=CALLS_PER_PROCESS)(
        function
    )
    waiting = deque(enumerate(arguments))
    running: dict[Any, int] = {}
    window = TASKS_PER_SLOT * needs.slots(cluster)
    try:
        while waiting or running:
            while waiting and len(running) < window:
                number, argument = waiting.popleft()
                running[remote.remote(argument)] = number
            for reference in ray.wait(list(running))[0]:
                number = running.pop(reference)
                yield _result(ray, reference, number)
    except (ConnectionError, ray.exceptions.RayError) as fault:
        raise lost(cluster.address, fault) from fault
    finally:
        _cancel(ray, running)


def _result(ray: Any, reference: Any, number: int) -> Done[Any]:
    """Return the result of a task that has ended; an ended process or machine becomes a sentence."""
    try:
        return Done(number, ray.get(reference))
    except ray.exceptions.OutOfMemoryError:
        return Done(number, None, "its process was stopped because the machine had no free memory; run fewer at a time")
    except ray.exceptions.WorkerCrashedError:
        return Done(number, None, f"its process ended {RETRIES + 1} times before the scan was done")
    except ray.exceptions.NodeDiedError:
        return Done(number, None, f"its machine was lost {RETRIES + 1} times before the scan was done")
    except ray.exceptions.RayTaskError as fault:
        return Done(number, None, _task_fault(fault if fault.cause is None else fault.cause))
    except ray.exceptions.RaySystemError as fault:
        return Done(number, None, f"Ray could not run it: {one_line(fault)}")


def _task_fault(fault: BaseException) -> str:
    """Return the sentence for an error that the function did not foresee."""
    missing = re.search(r"No module named '(\w+)'", str(fault))
    if missing is None:
        return one_line(fault)
    return f"a machine of the cluster has no module {missing[1]}; install the same Ptycholive on all machines"


def _cancel(ray: Any, running: dict[Any, int]) -> None:
    """Stop the tasks that nobody waits for any more; a lost cluster has stopped them already."""
    for reference in running:
        try:
            ray.cancel(reference, force=True)
        except (ConnectionError, ValueError, ray.exceptions.RayError):
            return
