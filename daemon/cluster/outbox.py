"""Tiles of a worker on their way to the reader, who asks for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from daemon.cluster.plan import ProbeReport, RefinedPart
from daemon.engine.sums import SumsUpdate
from daemon.messages import FrcFields
from daemon.publish.snapshot import LayerUpdate
from ptychopinn.device import to_host
from ptychopinn.mosaic.canvas import Box, Canvas
from ptychopinn.mosaic.merged import HOST, UNBOUNDED_PX
from ptychopinn.refine.merged import REFINED_PLANES, RefinedTile
from ptychopinn.refine.refined_layer import Refiner

CHANGES_WAIT_S = 1.0
"""Longest wait of a call for changes, s: the answer also tells the reader that the worker is alive."""


@dataclass(slots=True, eq=False)
class _RefinedScan:
    """The refined layer of a scan as it was published last; tiles that the reader lacks are marked on the canvas."""

    canvas: Canvas = field(default_factory=lambda: Canvas(REFINED_PLANES, UNBOUNDED_PX, HOST))
    rfactor: float | None = None
    is_over: bool = False


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
        refiner_of: Callable[[str], Refiner | None],
        frc_of: Callable[[str], FrcFields | None],
    ) -> None:
        self._changed = changed
        self._refiner_of = refiner_of
        self._frc_of = frc_of
        self._sums: list[SumsUpdate] = []
        self._refined: dict[str, _RefinedScan] = {}
        self._changed_scans: set[str] = set()
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
            scan = self._refined.setdefault(update.scan_id, _RefinedScan())
            scan.rfactor = update.rfactor
            top, left = update.origin_px
            for region in update.regions:
                box = Box(region.y + top, region.x + left, region.h, region.w)
                scan.canvas.ensure(box.y, box.x, box.y + box.h, box.x + box.w)
                here = scan.canvas.place(box)
                scan.canvas.planes["object"].numpy()[here.window] = region.object
                scan.canvas.planes["coverage"].numpy()[here.window] = region.weight
                scan.canvas.touch(*here)
            self._changed_scans.add(update.scan_id)
            self._note()

    def end(self, scan_id: str) -> None:
        """Keep no picture of a scan once its last tiles are told."""
        if (scan := self._refined.get(scan_id)) is not None:
            scan.is_over = True

    def collect(self, wait: Callable[[float], None]) -> Told:
        """Return what was not told yet; wait for it a while."""
        end = time.monotonic() + CHANGES_WAIT_S
        with self._changed:
            self._is_wanted = True
            while not (self._sums or self._changed_scans) and (left := end - time.monotonic()) > 0:
                wait(left)
            sums, self._sums, self._is_wanted = self._sums, [], False
            scans, self._changed_scans = self._changed_scans, set()
            refined = [self._part(scan_id) for scan_id in scans]
            for scan_id in [name for name, scan in self._refined.items() if scan.is_over]:
                del self._refined[scan_id]
            return Told(self.sequence, sums, refined)

    def _part(self, scan_id: str) -> RefinedPart:
        scan = self._refined[scan_id]
        (top, left), planes = scan.canvas.origin_px, scan.canvas.planes
        tiles = [
            RefinedTile(
                b.y + top, b.x + left, *(planes[name][b.window].clone().numpy() for name in ("object", "coverage"))
            )
            for b in scan.canvas.take_dirty()
        ]
        refiner = self._refiner_of(scan_id)
        return RefinedPart(
            scan_id=scan_id,
            tiles=tiles,
            rfactor=scan.rfactor,
            visits=0 if refiner is None else refiner.least_visits,
            probe=None if refiner is None else probe_report(refiner),
            frc=self._frc_of(scan_id),
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
