"""The open scans of the reader, in the order in which they opened."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from daemon.cluster.scan import ClusterScan
from daemon.engine.engine_scan import EngineScans


class OpenClusterScans:
    """The registry's scans hold the objects; here is only the order of those that are open. Safe from any thread."""

    def __init__(self, scans: EngineScans[ClusterScan]) -> None:
        self._scans = scans
        self._open: list[ClusterScan] = []
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[ClusterScan]:
        return iter(self._open.copy())

    def get(self, scan_id: str) -> ClusterScan | None:
        """Return an open scan."""
        scan = self._scans.get(scan_id)
        return None if scan is None else scan.work

    def of(self, scan_id: str) -> ClusterScan:
        """Return an open scan. Raises ``KeyError`` for another one."""
        scan = self.get(scan_id)
        if scan is None:
            raise KeyError(scan_id)
        return scan

    def opened(self, scan_id: str, make: Callable[[], ClusterScan | None]) -> ClusterScan | None:
        """Return an open scan, or the one that ``make`` gives now; None where it gives none."""
        with self._lock:
            scan = self._scans.open(scan_id)
            if scan.work is None and (made := make()) is not None:
                scan.work = made
                self._open.append(made)
            return scan.work

    def close(self, scan: ClusterScan) -> None:
        """Let go of a scan."""
        with self._lock:
            self._open.remove(scan)
            self._scans.close(scan.scan_id)
