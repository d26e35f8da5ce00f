"""One scan in the engine: all that the engine keeps about it is in one object, which the registry's scan holds."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from daemon.engine.backlog import Waiting

W = TypeVar("W")


@dataclass(slots=True, eq=False)
class EngineScan(Generic[W]):
    """What the engine keeps about a scan, from its opening until its result is handed on."""

    id: str
    waiting: Waiting | None = None
    """Its points that wait for the engine; None while there are none. The backlog alone changes it."""
    work: W | None = None
    """The engine's side of it, from its first frame on; the engine's thread alone changes it."""
    faults: Counter[str] = field(default_factory=Counter)
    """Faults by stage; used by the engine's thread alone."""


class EngineScans(Protocol[W]):
    """Finds the scans of an engine; safe from any thread."""

    def get(self, scan_id: str) -> EngineScan[W] | None:
        """Return a scan; None if it is not open."""

    def open(self, scan_id: str) -> EngineScan[W]:
        """Return an open scan, or one that opens now."""

    def close(self, scan_id: str) -> None:
        """Let go of a scan: its result is handed on."""


S = TypeVar("S", bound=EngineScan[Any])


class OwnScans(Generic[S]):
    """The scans of an engine that has no registry beside it: that of a worker of a cluster, and those of tests.

    ``make`` gives the object of a scan of this name.
    """

    def __init__(self, make: Callable[[str], S]) -> None:
        self._make = make
        self._scans: dict[str, S] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._scans)

    def get(self, scan_id: str) -> S | None:
        """Return a scan; None if it is not open."""
        return self._scans.get(scan_id)

    def open(self, scan_id: str) -> S:
        """Return an open scan, or one that opens now."""
        with self._lock:
            scan = self._scans.get(scan_id)
            if scan is None:
                scan = self._scans[scan_id] = self._make(scan_id)
            return scan

    def close(self, scan_id: str) -> None:
        """Let go of a scan: its result is handed on."""
        with self._lock:
            self._scans.pop(scan_id, None)
