"""The diagnosis gives way to the engine: it works in slices, never while frames wait, within a budget of processor time.

Its thread has the usual priority, since no thread may raise its own again at the end of a scan. So it does not compete with the
engine: while a scan gets frames it works where the engine rests, and the engine rests for it in its spare time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from daemon.engine.examination import Examination
from daemon.errors import DaemonError

MOST_CPU_S, FIRST_CPU_S = 2.0, 10.0
"""Processor time of the diagnosis of one scan, s. The first test, of about one second, may take longer where the processor is
slow or shared: with nothing said, a wrong orientation would be found by nobody."""
WORTH_CPU_S = 0.5
"""With less of it left no other test is begun, s."""
REST_S = 0.02
"""Interval at which it looks whether frames still wait, s."""
BUSY_S, BUSY_SHARE, MOST_PAUSE_S = 1.0, 0.2, 0.5
"""For BUSY_S after frames waited, and beside an engine that never rests, it works BUSY_SHARE of the time; a pause lasts
MOST_PAUSE_S at most."""


class BudgetSpentError(DaemonError):
    """The diagnosis of a scan has used its processor time."""


class GivingWay:
    """Called between slices of a diagnosis, in its thread: waits while frames wait, then for a rest of the engine.

    Parameters
    ----------
    scan
        Its ``spent_s`` is counted here; None: without a budget.
    is_busy
        Whether frames wait for the engine.
    wait_for_rest
        Returns when the engine rests or no scan gets frames, at the latest after the time given, s.
    """

    def __init__(
        self,
        scan: Examination | None,
        is_busy: Callable[[], bool],
        wait_for_rest: Callable[[float], None],
        stopping: threading.Event,
    ) -> None:
        self._scan = scan
        self._is_busy = is_busy
        self._wait_for_rest = wait_for_rest
        self._stopping = stopping
        self._most_s = MOST_CPU_S if scan is not None and scan.spent_s > 0 else FIRST_CPU_S
        self._busy_until = 0.0
        self._back_at = time.monotonic()
        self._cpu_s = time.thread_time()

    def __call__(self) -> None:
        """Wait. Raises :class:`BudgetSpentError` when the budget is spent, :class:`DaemonError` when the daemon stops."""
        self.count()
        if self._scan is not None and self._scan.spent_s > self._most_s:
            raise BudgetSpentError(f"the diagnosis has used its {self._most_s:g} s of processor time")
        pause_s = min(MOST_PAUSE_S, (time.monotonic() - self._back_at) * (1 / BUSY_SHARE - 1))
        while self._is_busy():
            self._busy_until = time.monotonic() + BUSY_S
            if self._stopping.wait(REST_S):
                break
        if time.monotonic() < self._busy_until:
            self._stopping.wait(pause_s)
        else:
            self._wait_for_rest(pause_s)
        if self._stopping.is_set():
            raise DaemonError("the daemon is stopping")
        self._back_at, self._cpu_s = time.monotonic(), time.thread_time()

    def count(self) -> None:
        """Count the processor time since the last call."""
        now_s = time.thread_time()
        if self._scan is not None:
            self._scan.spent_s += now_s - self._cpu_s
        self._cpu_s = now_s


def has_budget(scan: Examination) -> bool:
    """Whether another test of a scan is worth beginning."""
    return scan.spent_s <= MOST_CPU_S - WORTH_CPU_S
