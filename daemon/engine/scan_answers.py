"""Answers to questions of other threads about the open scans of an engine."""

from __future__ import annotations

from daemon.engine.held_scan import HeldScan, held
from daemon.engine.open_scans import OpenScans
from daemon.messages import FrcFields
from ptychopinn.refine.refined_layer import Refiner


class ScanAnswers:
    """Part of the engine; every method is safe from any thread, and returns None for a closed scan."""

    _scans: OpenScans

    def frc(self, scan_id: str) -> FrcFields | None:
        """Return how sharp the refined layer of an open scan is; None where that is not known."""
        work = self._scans.work_of(scan_id)
        found, pixel_size_m = (None, None) if work is None else (work.resolution.latest, work.pixel_size_m)
        return None if found is None or pixel_size_m is None else found.fields(pixel_size_m)

    def path_px(self, scan_id: str, after: int, most: int, *, told: bool = False) -> list[tuple[float, float]] | None:
        """Return positions of stitched frames from number `after` on, used or measured (``told``)."""
        work = self._scans.work_of(scan_id)
        return None if work is None else work.places.path_px(after, most, told=told)

    def refiner(self, scan_id: str) -> Refiner | None:
        """Return the refined layer, whose moving probe is safe from any thread."""
        work = self._scans.work_of(scan_id)
        return None if work is None else work.refiner

    def held(self, scan_id: str) -> HeldScan | None:
        """Return copies of what is known about the frames of a scan."""
        work = self._scans.work_of(scan_id)
        return None if work is None else held(work)
