"""The end of a scan: its last computations, its last picture, its result."""

from __future__ import annotations

import logging
from functools import partial

from daemon.engine.cadence import Publishing
from daemon.engine.faults import EngineFaults
from daemon.engine.ports import EngineEvents
from daemon.engine.result import ScanResult
from daemon.engine.scan import ScanWork
from daemon.engine.scan_output import scan_result
from daemon.engine.stage_faults import MOST_FAULTS
from daemon.engine.stitching import Stitcher
from daemon.metrics import Metrics
from ptychopinn.diagnosis.correction import Correction

log = logging.getLogger(__name__)


class ScanEnding:
    """Used by the engine's thread alone."""

    def __init__(
        self,
        metrics: Metrics,
        events: EngineEvents,
        publishing: Publishing,
        *,
        faults: EngineFaults,
        stitcher: Stitcher,
    ) -> None:
        self._metrics = metrics
        self._events = events
        self._publishing = publishing
        self._faults = faults
        self._stitcher = stitcher

    def settle(self, work: ScanWork, correction: Correction, *, is_urgent: bool) -> bool:
        """Do a slice of the last computations, so that frames of other scans need not wait; return whether it was the last."""
        if work.to_restitch:
            self.restitch(work, correction)
            return False
        try:
            is_settled = work.settle_some(is_urgent=is_urgent)
            if is_settled and self._events.is_newest(work.scan_id):
                self._metrics.coverage.set(work.coverage)
            return is_settled
        except Exception as fault:
            log.exception("scan %s: closing failed", work.scan_id)
            self._faults.failure = f"scan {work.scan_id}: the last computations failed: {fault}"
            return True

    def restitch(self, work: ScanWork, correction: Correction) -> None:
        """Stitch some frames again; where that fails too often, leave the others as they are."""
        restitch = partial(self._stitcher.restitch, work, correction)
        self._faults.attempt(work, "stitching again", restitch, work.to_restitch.clear)

    def hand_on(self, work: ScanWork) -> None:
        """Publish the last picture and hand on the result.

        Where the result cannot be made, it goes without the refined layer, or without any picture.
        """
        self._faults.attempt(work, "the last picture", partial(self._publishing.publish, work, is_complete=True))
        made: list[ScanResult] = []
        for drop in (work.drop_refined, work.drop_picture, work.drop_picture):
            if self._faults.attempt(work, "the result", lambda: made.append(scan_result(work))):
                break
            drop()
        for _ in range(MOST_FAULTS):
            if made and self._faults.attempt(work, "the end", partial(self._events.on_finished, made[0])):
                break

    def leave(self, work: ScanWork, waiting: int) -> None:
        """Hand on the result of a scan whose last frames are left to the next start."""
        self._faults.attempt(work, "leaving", lambda: self._events.on_left(scan_result(work), waiting))
