"""Faults of the engine: counted in the metrics, the last one kept for the status report; the scan goes on."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

from daemon.engine.engine_scan import EngineScans
from daemon.engine.scan import ScanWork
from daemon.engine.stage_faults import StageFaults
from daemon.metrics import Metrics

log = logging.getLogger(__name__)


def nothing() -> None:
    """Switch nothing off."""


class EngineFaults:
    """Used by the engine's thread alone; ``failure``, the last fault in words, is read by others too."""

    def __init__(self, metrics: Metrics, scans: EngineScans[ScanWork]) -> None:
        self._metrics = metrics
        self._scans = scans
        self._stages = StageFaults(self.count, self._counts_of)
        self.failure: str | None = None

    def count(self, words: str) -> None:
        """Count a fault and keep its words."""
        self.failure = words
        self._metrics.stage_failures.labels("engine").inc()

    def note(self, scan_id: str, words: str, fault: Exception) -> None:
        """Log a fault of a scan with its traceback, and count it."""
        log.error("scan %s: %s", scan_id, words, exc_info=fault)
        self.count(f"scan {scan_id}: {words}: {fault}")

    def attempt(
        self, work: ScanWork, stage: str, do: Callable[[], object], switch_off: Callable[[], None] = nothing
    ) -> bool:
        """Do a part of a stage; return whether it worked. ``switch_off`` is called when it has failed too often."""
        return self._stages.attempt(work.scan_id, stage, do, switch_off)

    def attempt_for(self, scan_id: str, stage: str, do: Callable[[], object]) -> bool:
        """Do the same for a scan that the engine may not have begun."""
        return self._stages.attempt(scan_id, stage, do, nothing)

    def _counts_of(self, scan_id: str) -> Counter[str]:
        """Return the faults of a scan by stage; of a closed one they are not kept."""
        scan = self._scans.get(scan_id)
        return Counter() if scan is None else scan.faults
