"""What a sink is.

A package offers one by an entry point of the group ``ptycholive.sinks``::

    [project.entry-points."ptycholive.sinks"]
    mine = "my_package:open_sink"

``open_sink(options)`` gets the options of the configuration, checks them (a :class:`ConfigError` or ``ValueError`` says
what is wrong) and returns a :class:`Sink`, without connecting to anything yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from daemon.messages import ScanState, VerdictFields
from daemon.publish.snapshot import LayerCanvas


class Sink:
    """Overrides what it needs; every call comes from the sink's own thread, in this order for each scan.

    Whatever a call raises is counted and said, and the scan goes on. ``take_product`` and ``end_scan`` are tried again
    a few times, so they must bear to be called twice.
    """

    wants_pictures = True

    def open(self) -> None:
        """Connect; called before the first delivery, and again before the next one as long as it raises."""

    def start_scan(self, scan_id: str, expected_frames: int | None) -> None:
        """Take the start of a scan."""

    def show(self, picture: LayerCanvas) -> None:
        """Take the newest picture of a scan, its own copy; the final one has ``complete`` set."""

    def take_product(self, scan_id: str, path: Path) -> None:
        """Take the final product, which is on disk."""

    def end_scan(self, scan_id: str, state: ScanState, verdict: VerdictFields) -> None:
        """Take the end of a scan: complete, incomplete or stopped, and the account of its frames."""

    def close(self) -> None:
        """Let go of everything."""


OpenSink = Callable[[Mapping[str, Any]], Sink]
