"""Tiles of a worker on their way to the reader, who asks for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from daemon.cluster.plan import ProbeReport, RefinedPart
from daemon.cluster.worker_scan import WorkerScan
from daemon.engine.engine_scan import OwnScans
from daemon.engine.sums import SumsUpdate
from daemon.messages import FrcFields
from daemon.publish.snapshot import LayerUpdate
from ptychopinn.device import to_host
from ptychopinn.mosaic.canvas import Box
from ptychopinn.refine.merged import RefinedTile
from ptychopinn.refine.refined_layer import Refiner

CHANGES_WAIT_S = 1.0
"""Longest wait of a call for changes, s: the answer also tells the reader that the worker is alive."""


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """Sums and refined layers that the reader has not been told, and the number of updates up to these."""

    sequence: int
    sums: list[SumsUpdate]
    refined: list[RefinedPart]


class Outbox:
    """Sums wait on the device until the reader asks for them; of the refined layer, the newest picture waits here."""

    def __init__(
        self,
        changed: threading.Condition,
        scans: OwnScans[WorkerScan],
        refiner_of: Callable[[str], Refiner | None],
        frc_of: Callable[[str], FrcFields | None],
    ) -> None:
        self._changed = changed
        self._scans = scans
        self._refiner_of = refiner_of
        self._frc_of = frc_of
        self._sums: list[SumsUpdate] = []
        self._changed_scans: list[WorkerScan] = []  # whose refined layer has news
        self._is_wanted = False
        self.sequence = 0

    def wants(self) -> bool:
        """Whether the reader waits for tiles."""
        return self._is_wanted

    def take(self, update: SumsUpdate) -> None:
        """Keep sums until the reader asks."""
        with self._changed:
            self._sums.append(update)
            self._note()

    def take_refined(self, update: LayerUpdate) -> None:
        """Keep what changed in a refined layer."""
        if update.layer != "refined":
            return
        with self._changed:
            scan = self._scans.get(update.scan_id)
            if scan is None:
                return
            scan.refined.rfactor, canvas = update.rfactor, scan.refined.canvas
            top, left = update.origin_px
            for region in update.regions:
                box = Box(region.y + top, region.x + left, region.h, region.w)
                canvas.ensure(box.y, box.x, box.y + box.h, box.x + box.w)
                here = canvas.place(box)
                canvas.planes["object"].numpy()[here.window] = region.object
                canvas.planes["coverage"].numpy()[here.window] = region.weight
                canvas.touch(*here)
            if scan not in self._changed_scans:
                self._changed_scans.append(scan)
            self._note()

    def collect(self, wait: Callable[[float], None]) -> Told:
        """Return what was not told yet; wait for it a while."""
        end = time.monotonic() + CHANGES_WAIT_S
        with self._changed:
            self._is_wanted = True
            while not (self._sums or self._changed_scans) and (left := end - time.monotonic()) > 0:
                wait(left)
            sums, self._sums, self._is_wanted = self._sums, [], False
            scans, self._changed_scans = self._changed_scans, []
            refined = [self._part(scan) for scan in scans]
            return Told(self.sequence, sums, refined)

    def _part(self, scan: WorkerScan) -> RefinedPart:
        canvas = scan.refined.canvas
        (top, left), planes = canvas.origin_px, canvas.planes
        tiles = [
            RefinedTile(
                b.y + top, b.x + left, *(planes[name][b.window].clone().numpy() for name in ("object", "coverage"))
            )
            for b in canvas.take_dirty()
        ]
        refiner = self._refiner_of(scan.id)
        return RefinedPart(
            scan_id=scan.id,
            tiles=tiles,
            rfactor=scan.refined.rfactor,
            visits=0 if refiner is None else refiner.least_visits,
            probe=None if refiner is None else probe_report(refiner),
            frc=self._frc_of(scan.id),
        )

    def _note(self) -> None:
        self.sequence += 1
        self._changed.notify_all()


def probe_report(refiner: Refiner) -> ProbeReport:
    """Return the probe of a refined layer as it is; one that has diverged does not count."""
    probe = refiner.moving_probe
    taken, known = probe.taken, probe.known  # in this order: a change that is taken now is offered again, not lost
    steps = 0 if refiner.setbacks else probe.steps
    fields = np.asarray(to_host(known.fields), dtype=np.complex64)
    return ProbeReport(fields, known.modes, steps, taken, refiner.kept_bytes // (4 * refiner.size_px**2))
