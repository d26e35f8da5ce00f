"""Faults of the engine's stages, counted by scan; a stage that fails repeatedly is left out for its scan.

The first fault is logged with its traceback; a stage that faults again and again is left out for the scan, which is said once.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

MOST_FAULTS = 3

log = logging.getLogger(__name__)


class StageFaults:
    """Used by the engine's thread alone.

    Parameters
    ----------
    on_fault
        Gets the words on every fault, to count and to show.
    counts_of
        Gives the faults of a scan by stage.
    """

    def __init__(self, on_fault: Callable[[str], None], counts_of: Callable[[str], Counter[str]]) -> None:
        self._on_fault = on_fault
        self._counts_of = counts_of

    def attempt(self, scan_id: str, stage: str, do: Callable[[], object], switch_off: Callable[[], None]) -> bool:
        """Do a part of a stage; whether it did not fail. ``switch_off`` is called when it has failed too often."""
        try:
            do()
        except Exception as fault:
            counts = self._counts_of(scan_id)
            counts[stage] += 1
            words = f"scan {scan_id}: {stage} failed: {fault}"
            if counts[stage] == 1:
                log.exception("scan %s: %s failed; the scan goes on", scan_id, stage)
            if counts[stage] == MOST_FAULTS:
                words = f"scan {scan_id}: {stage} failed {MOST_FAULTS} times and is left out for this scan: {fault}"
                log.error("%s", words)
                switch_off()
            self._on_fault(words)
            return False
        return True
