"""Tasks of a cluster: each argument once, few handed over at a time, ended processes as sentences."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.cli.cluster_verbs import gpus_of_a_scan
from daemon.cluster.tasks import TASKS_PER_SLOT, Needs, run_tasks
from daemon.errors import ClusterError, ConfigError
from tests.support.in_process_ray import exceptions, in_process_cluster


def test_each_argument_gets_its_own_result_and_few_are_handed_over_at_a_time() -> None:
    cluster = in_process_cluster(cpus=3)
    done = {one.number: one.result for one in run_tasks(cluster, lambda x: x * x, range(100), Needs())}
    assert done == {n: n * n for n in range(100)}
    ray: Any = cluster.ray
    assert ray.most_at_a_time == 3 * TASKS_PER_SLOT


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (exceptions.WorkerCrashedError(), "its process ended 3 times"),
        (exceptions.NodeDiedError(), "its machine was lost 3 times"),
        (exceptions.OutOfMemoryError(), "no free memory"),
        (exceptions.RaySystemError("odd"), "Ray could not run it"),
        (KeyError("x"), "KeyError: 'x'"),
        (RuntimeError("failed to import: No module named 'daemon'"), "has no module daemon; install the same"),
    ],
)
def test_a_task_that_is_lost_fails_alone(fault: Exception, words: str) -> None:
    def function(number: int) -> int:
        if number == 1:
            raise fault
        return number

    done = {one.number: one for one in run_tasks(in_process_cluster(), function, range(3), Needs())}
    assert [done[0].result, done[1].result, done[2].result] == [0, None, 2]
    assert words in done[1].fault


def test_tasks_that_nobody_waits_for_are_cancelled() -> None:
    cluster = in_process_cluster()
    results = run_tasks(cluster, lambda x: x, range(10), Needs())
    next(results)
    results.close()
    ray: Any = cluster.ray
    assert sorted(ray.cancelled) == sorted(ray.kept)
    assert ray.cancelled


def test_a_cluster_without_what_a_scan_needs_is_refused() -> None:
    with pytest.raises(ClusterError, match="a scan needs 1 GPU and the Ray cluster on this machine has 0"):
        list(run_tasks(in_process_cluster(), abs, [1], Needs(gpus=1)))
    assert Needs(gpus=0.25).slots(in_process_cluster(cpus=64, gpus=2)) == 8
    assert Needs(gpus=0.25).slots(in_process_cluster(cpus=3, gpus=2)) == 3


@pytest.mark.parametrize(
    ("device", "asked", "there", "wanted"),
    [
        ("auto", None, 0, 0),
        ("auto", None, 2, 1),
        ("cpu", None, 2, 0),
        ("cuda", None, 0, 1),
        ("auto", 0.25, 2, 0.25),
        ("auto", 0, 2, 0),
    ],
)
def test_gpus_of_a_scan(device: str, asked: float | None, there: int, wanted: float) -> None:
    assert gpus_of_a_scan(in_process_cluster(gpus=there), device, asked) == wanted


@pytest.mark.parametrize(("device", "asked"), [("cpu", 0.5), ("cuda", 0), ("auto", 1.5)])
def test_gpus_that_cannot_be_are_refused(device: str, asked: float) -> None:
    with pytest.raises(ConfigError, match="--gpus-per-scan"):
        gpus_of_a_scan(in_process_cluster(gpus=2), device, asked)
