"""Opening of scans, with a limit on how fast, so that a hostile or broken sender cannot fill the memory with scans."""

from __future__ import annotations

from collections.abc import Callable

from streams.frame import ScanStart
from streams.join.account import ScanAccount
from streams.join.known_scans import KnownScans
from streams.join.position_router import PositionRouter

__all__ = ["ScanOpener"]

_TOO_MANY_SCANS = "too-many-scans"
"""Name of the scan that stands for all that opened too fast."""
_SCANS_PER_S = 1.0
"""Rate of opening after the first burst; no detector starts scans faster for long."""


class ScanOpener:
    """Opens scans: ``burst`` at once, then one a second; a scan with a frame in the picture does not count."""

    def __init__(self, scans: KnownScans, router: PositionRouter, burst: int, clock: Callable[[], float]) -> None:
        self._scans = scans
        self._router = router
        self._clock = clock
        self._burst = self._allowed = float(burst)
        self._since = clock()

    def open(self, start: ScanStart) -> ScanAccount:
        """Open a scan; if scans open too fast, return the one scan that stands for the rest and refuses every message."""
        if self._admits():
            return self._add(start)
        known = next((scan for scan in self._scans.live if scan.refuses_all), None)
        if known is None:
            known = self._add(ScanStart(_TOO_MANY_SCANS))
            known.refuse_all()
        return known

    def open_again(self, start: ScanStart, scan_id: str) -> ScanAccount:
        """Open a scan of an earlier run of this program under the name that it had."""
        scan = self._add(start, scan_id)
        if scan_id == _TOO_MANY_SCANS:
            scan.refuse_all()
        return scan

    def refund(self) -> None:
        """Do not count a scan that has a frame in the picture now."""
        self._allowed = min(self._burst, self._allowed + 1)

    def _admits(self) -> bool:
        now = self._clock()
        self._allowed = min(self._burst, self._allowed + (now - self._since) * _SCANS_PER_S)
        self._since = now
        if self._allowed < 1:
            return False
        self._allowed -= 1
        return True

    def _add(self, start: ScanStart, scan_id: str | None = None) -> ScanAccount:
        scan = self._scans.add(start, scan_id)
        self._router.scan_opened(scan, start.scan_id)
        self._scans.end_oldest_beyond_bound()
        return scan
