"""The engine's view of the registry: the part of each scan that belongs to the engine."""

from __future__ import annotations

from typing import Generic, TypeVar

from daemon.engine.engine_scan import EngineScan
from daemon.intake.registry import ScanRegistry

W = TypeVar("W")


class RegisteredScans(Generic[W]):
    """Implements :class:`daemon.engine.engine_scan.EngineScans`: a scan opens in the registry, the engine closes its part."""

    def __init__(self, scans: ScanRegistry) -> None:
        self._scans = scans

    def get(self, scan_id: str) -> EngineScan[W] | None:
        """Return the engine's part of a scan; None if the engine has closed it, or never got it."""
        scan = self._scans.get(scan_id)
        return None if scan is None else scan.engine

    def open(self, scan_id: str) -> EngineScan[W]:
        """Return the engine's part of an open scan. Raises ``KeyError`` for another one."""
        scan = self.get(scan_id)
        if scan is None:
            raise KeyError(scan_id)
        return scan

    def close(self, scan_id: str) -> None:
        """Let go of the engine's part of a scan."""
        scan = self._scans.get(scan_id)
        if scan is not None:
            scan.engine = None
