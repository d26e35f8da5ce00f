"""The model that all workers use; another one is swapped in at all of them at one moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from daemon.cluster.answers import IDLE_WAIT_S, Answers
from daemon.cluster.group import WorkerGroup
from daemon.cluster.link import WorkerState
from daemon.cluster.plan import ModelPlan
from daemon.engine.model_swap import Swap
from daemon.engine.models import ActiveModel
from daemon.errors import DaemonError
from daemon.metrics import Metrics
from ptychopinn.diagnosis.correction import Correction


class CommonModel:
    """``active`` is replaced by the cluster's thread alone; other threads read it, and ask for another."""

    def __init__(self, model: ActiveModel, metrics: Metrics, workers: WorkerGroup, answers: Answers) -> None:
        self._metrics = metrics
        self._workers = workers
        self._answers = answers
        self._lock = threading.Lock()
        self._asked: Swap | None = None
        self._taking: Swap | None = None
        self.active = self._before = model

    def begin_with(self, model: ActiveModel) -> None:
        """Take another model, which workers use as soon as they are told."""
        self.active = replace(model, generation=self.active.generation + 1)
        self._metrics.model_generation.set(self.active.generation)

    def ask(self, model: ActiveModel, wake: Callable[[], None], has_ended: Callable[[], bool]) -> Swap:
        """Ask for another model; return when all workers use it, or do not."""
        swap = Swap(model, Correction())
        with self._lock:
            self._asked = swap
            wake()
            while not swap.done.wait(IDLE_WAIT_S) and not has_ended():
                pass
        return swap

    def turn(self) -> None:
        """Take the model that is asked for, have workers follow, and tell who asked once all use it."""
        if self._asked is not None:
            self._taking, self._asked = self._asked, None
            self._take(self._taking)
        if (fault := self._answers.use_fault) is not None:
            self._answers.use_fault = None
            if self._taking is not None and not self._taking.fault:
                self._taking.fault = fault
                self.begin_with(self._before)
        running = [link for link in self._workers if link.state is WorkerState.RUNNING]
        if any(link.generation != self.active.generation for link in running):
            plan = ModelPlan.of(self.active)
            for link in running:
                link.use(plan)
        elif self._taking is not None:
            swap, self._taking = self._taking, None
            swap.active = None if swap.fault else self.active
            swap.done.set()

    def _take(self, swap: Swap) -> None:
        self._before = self.active
        self.begin_with(swap.model)
        if swap.model.probe is not self._before.probe:  # else they swap it between two batches
            for link in self._workers:
                self._answers.lose(link, "another model", is_planned=True, begins_all=True)


def wait_until_warm(warm: threading.Event, answers: Answers, is_alive: Callable[[], bool]) -> None:
    """Return when every worker has begun. Raises :class:`DaemonError` if one cannot."""
    while not warm.wait(IDLE_WAIT_S):
        if (fault := answers.beginning_fault) is not None or not is_alive():
            raise DaemonError(f"a worker cannot start: {fault or answers.failure}")
