"""Ray's functions for tasks, in this process: a task runs when it is waited for. The real Ray is tested in tests/interop."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

from daemon.cluster.connection import Cluster


class RayError(Exception):
    pass


class TaskError(RayError):
    def __init__(self, cause: BaseException | None = None) -> None:
        super().__init__(str(cause))
        self.cause = cause


NAMES = ("OutOfMemoryError", "WorkerCrashedError", "NodeDiedError", "RaySystemError")
exceptions = SimpleNamespace(
    RayError=RayError, RayTaskError=TaskError, **{name: type(name, (RayError,), {}) for name in NAMES}
)


class InProcessRay:
    """Tasks end in a random order; ``kept`` are those handed over and not yet waited for."""

    exceptions = exceptions

    def __init__(self) -> None:
        self.kept: dict[int, Any] = {}
        self.cancelled: list[int] = []
        self.most_at_a_time = 0
        self.options: dict[str, Any] = {}
        self._count = 0
        self._order = random.Random(1)

    def remote(self, **options: Any) -> Any:
        self.options = options
        return lambda function: SimpleNamespace(remote=lambda argument: self._hand_over(function, argument))

    def _hand_over(self, function: Any, argument: Any) -> int:
        self._count += 1
        self.kept[self._count] = lambda: function(argument)
        self.most_at_a_time = max(self.most_at_a_time, len(self.kept))
        return self._count

    def wait(self, references: list[int]) -> tuple[list[int], list[int]]:
        first = self._order.choice(references)
        return [first], [one for one in references if one != first]

    def get(self, reference: int) -> Any:
        try:
            return self.kept.pop(reference)()
        except RayError:
            raise
        except Exception as fault:
            raise TaskError(fault) from fault

    def cancel(self, reference: int, *, force: bool) -> None:
        assert force
        self.cancelled.append(reference)


def in_process_cluster(cpus: float = 2, gpus: float = 0) -> Cluster:
    """Return a cluster whose tasks run in this process."""
    return Cluster(InProcessRay(), "local", cpus, gpus)  # type: ignore[arg-type]
