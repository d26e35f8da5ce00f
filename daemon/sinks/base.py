"""The interface of a sink.

A package provides a sink by an entry point of the group ``ptycholive.sinks``::

    [project.entry-points."ptycholive.sinks"]
    mine = "my_package:open_sink"

``open_sink(options)`` receives the options of the configuration, checks them (a :class:`ConfigError` or ``ValueError`` is
shown to the user) and returns a :class:`Sink` that has not connected to anything yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from daemon.messages import ScanState, VerdictFields
from daemon.publish.snapshot import LayerCanvas


class Sink:
    """Base class; override the methods you need. The sink's own thread calls them, in this order for each scan.

    Exceptions are counted and reported, and the scan continues. ``take_product`` and ``end_scan`` are tried again
    a few times, so they must allow repeated calls.
    """

    wants_pictures = True

    def open(self) -> None:
        """Connect; called before the first delivery, and again before the next one if it raised."""

    def start_scan(self, scan_id: str, expected_frames: int | None) -> None:
        """Receive the start of a scan."""

    def show(self, picture: LayerCanvas) -> None:
        """Receive a copy of a scan's newest picture; the final one has ``complete`` set."""

    def take_product(self, scan_id: str, path: Path) -> None:
        """Receive the final product, a file on disk."""

    def end_scan(self, scan_id: str, state: ScanState, verdict: VerdictFields) -> None:
        """Receive the end of a scan: complete, incomplete or stopped, and the account of its frames."""

    def close(self) -> None:
        """Release all resources."""


OpenSink = Callable[[Mapping[str, Any]], Sink]
