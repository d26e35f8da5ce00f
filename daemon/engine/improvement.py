"""Improvement of a closed scan: while nothing else is to be done, its picture is refined further and its product replaced."""

from __future__ import annotations

import time
from functools import partial

from daemon.engine.cadence import Publishing
from daemon.engine.faults import EngineFaults
from daemon.engine.frame_moves import HOLD_S
from daemon.engine.ports import EngineEvents
from daemon.engine.result import product_rfactor
from daemon.engine.scan import ScanWork
from daemon.engine.scan_output import scan_result
from daemon.engine.spare_time import SpareTime, can_improve

IMPROVED_PERIOD_S = 2.0
"""Time between two pictures of a closed scan: each is the whole canvas."""
SCATTER = 0.01
"""R of a converged picture differs by less than this share from pass to pass."""


class Improvement:
    """Used by the engine's thread alone; ``work`` is the scan that gets better, or None."""

    def __init__(
        self, for_s: float, events: EngineEvents, publishing: Publishing, *, faults: EngineFaults, spare_time: SpareTime
    ) -> None:
        self._for_s = for_s
        self._events = events
        self._publishing = publishing
        self._faults = faults
        self._spare_time = spare_time
        self._begun = self._ends = self._next_picture = 0.0
        self._rfactor: float | None = None
        self._was_resolved = False
        self.work: ScanWork | None = None

    def begin(self, work: ScanWork) -> None:
        """Go on with a scan that has just been closed, if it can get better."""
        if self._for_s <= 0 or not can_improve(work):
            return
        now = time.monotonic()
        self.work, self._rfactor = work, product_rfactor(work.scores.rfactors)
        self._was_resolved = work.resolution.latest is not None
        self._begun, self._next_picture, self._ends = now, now + IMPROVED_PERIOD_S, now + self._for_s

    def stop(self) -> None:
        """Leave the scan as it is: its product is there, and frames are more urgent."""
        if self.work is not None:
            self.work.stop_moving()
        self.work = None

    def step(self) -> None:
        """Spend one slice on the scan."""
        work = self.work
        if work is not None and not self._faults.attempt(work, "improving", partial(self._improve, work)):
            self.stop()

    def _goes_on(self, work: ScanWork, now: float) -> bool:
        """Whether to go on: for the time given, and longer for a scan whose positions have been found wrong."""
        if work.search.are_wrong and work.search.is_pending:
            return now < self._begun + HOLD_S
        return can_improve(work) and now < max(self._ends, work.finish_by or 0.0)

    def _improve(self, work: ScanWork) -> None:
        now = time.monotonic()
        if not work.is_settling and self._goes_on(work, now):
            self._spare_time.work_on(work)
            if now >= self._next_picture:
                self._publishing.publish(work, is_complete=True)
                self._next_picture = now + IMPROVED_PERIOD_S
        elif work.settle_some():
            self.stop()
            if self._is_better(work):
                self._publishing.publish(work, is_complete=True)
                self._events.on_improved(scan_result(work))

    def _is_better(self, work: ScanWork) -> bool:
        """Whether R is lower, or as good and the resolution is known now."""
        rfactor, before = product_rfactor(work.scores.rfactors), self._rfactor
        if rfactor is None or before is None:
            return rfactor is not None
        is_resolved_now = work.resolution.latest is not None and not self._was_resolved
        return rfactor < before * (1 + SCATTER if is_resolved_now else 1)
