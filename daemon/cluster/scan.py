"""The reader's side of one scan that several workers reconstruct: who has which frames, the merged picture, the result."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from daemon.cluster.plan import PartResult
from daemon.cluster.regions import Regions
from daemon.engine.backlog import Store
from daemon.engine.frame_places import FramePlaces
from daemon.engine.held_scan import HeldScan
from daemon.engine.models import ModelIdentity
from daemon.engine.options import EngineOptions
from daemon.engine.result import ScanResult
from daemon.engine.scan import covered_share
from daemon.engine.sums import SumsUpdate
from daemon.publish.snapshot import LayerUpdate, Region
from ptychopinn.detector.geometry import to_amplitude
from ptychopinn.device import to_host
from ptychopinn.diagnosis.plausibility import Finding
from ptychopinn.mosaic.merged import MergedMosaic
from ptychopinn.mosaic.mosaic import PatchRefusal
from streams.frame import PositionM, ScanPoint
from streams.refusal_reasons import RefusalReason

NO_PIXELS = np.empty((0, 0), dtype=np.uint8)
"""Counts of a frame that is read back from the journal."""


class SentFrames:
    """Frames that a worker has got in its present epoch, without their pixels: 32 bytes each."""

    def __init__(self) -> None:
        self._indexes, self._received_ns = array("q"), array("q")
        self._positions_m = array("d")

    def __len__(self) -> int:
        return len(self._indexes)

    def add(self, points: Sequence[ScanPoint]) -> None:
        """Take frames that are sent."""
        for point in points:
            self._indexes.append(point.index)
            self._received_ns.append(point.received_ns)
            self._positions_m.extend(point.position_m)

    def points(self, scan_id: str) -> Iterator[ScanPoint]:
        """Yield the frames, to be read from the journal once more."""
        ys, xs = self._positions_m[::2], self._positions_m[1::2]
        for index, y, x, received_ns in zip(self._indexes, ys, xs, self._received_ns, strict=True):
            yield ScanPoint(scan_id, index, NO_PIXELS, PositionM(y, x), received_ns)


class Part:
    """A worker's part of a scan."""

    def __init__(self) -> None:
        self.sent = SentFrames()
        self.answered = 0
        """Frames of ``sent`` whose account is closed by this epoch of the worker."""
        self.to_redo = 0
        """Frames of the epoch before; its tiles are shown until as many are done again."""
        self.is_all_sent = False
        self.is_asked = False
        """Whether the worker was told that the scan has ended."""
        self.result: PartResult | None = None
        self.rfactors: dict[str, float] = {}
        self.stitched = 0
        self.is_done = False


class ClusterScan:
    """One scan; ``lock`` guards it, since the intake gives out its frames and HTTP looks at it."""

    def __init__(self, scan_id: str, workers: int, patch_px: int, options: EngineOptions, pixel_size_m: float) -> None:
        self.scan_id = scan_id
        self.pixel_size_m = pixel_size_m
        self.lock = threading.RLock()
        self.regions = Regions(workers, patch_px)
        self.mosaic = MergedMosaic(patch_px, options.max_side_px)
        if options.box_m is not None:
            top, left, bottom, right = (side / pixel_size_m for side in options.box_m)
            self.mosaic.reserve((top, left), (bottom, right))
        self.parts = [Part() for _ in range(workers)]
        self.places = FramePlaces()
        self.is_ended = False
        self.model: ModelIdentity | None = None
        self._stitched: set[int] = set()
        self._shown = [(number, False) for number in range(workers)]
        """The parts that viewers see; those of the key (worker, True) are being done again."""

    def given_out(self, points: Sequence[ScanPoint]) -> tuple[dict[int, list[ScanPoint]], dict[int, RefusalReason]]:
        """Return the frames of each worker, and those that cannot be laid: without a position, or too far from the others."""
        shares: dict[int, list[ScanPoint]] = {}
        refused: dict[int, RefusalReason] = {}
        with self.lock:
            positions_px = self.positions_px(points)
            is_finite: NDArray[np.bool_] = np.asarray(np.isfinite(positions_px).all(axis=1))
            reached = is_finite.copy()
            reached[is_finite] = self.mosaic.reach(positions_px[is_finite])
            owners = iter(self.regions.owners(positions_px[reached]))
            for point, is_reached, is_known in zip(points, reached.tolist(), is_finite.tolist(), strict=True):
                if is_reached:
                    shares.setdefault(next(owners), []).append(point)
                else:
                    why = PatchRefusal.OUTSIDE_MOSAIC if is_known else PatchRefusal.BAD_POSITION
                    refused[point.index] = RefusalReason.of(why)
        return shares, refused

    def positions_px(self, points: Sequence[ScanPoint]) -> NDArray[np.float64]:
        """Return positions ``(n, 2)``, object pixels."""
        return np.array([point.position_m for point in points], dtype=np.float64) / self.pixel_size_m

    def mark_stitched(self, points: Sequence[ScanPoint]) -> list[int]:
        """Note frames that a worker has stitched; return the indexes of those that were not stitched before."""
        with self.lock:
            new = [point for point in points if point.index not in self._stitched]
            self._stitched.update(point.index for point in new)
            places = map(tuple, self.positions_px(new).tolist() if new else [])
            self.places.add([point.index for point in new], list(places))
        return [point.index for point in new]

    def is_stitched(self, index: int) -> bool:
        """Whether a worker has stitched a frame, now or in an earlier epoch."""
        return index in self._stitched

    def take_sums(self, worker: int, update: SumsUpdate) -> None:
        """Take tiles of a worker; while it does frames again, those of its epoch before stay on the picture."""
        part = self.parts[worker]
        part.rfactors, part.stitched = dict(update.rfactors), update.stitched
        with self.lock:
            if self.model is None or update.model.generation >= self.model.generation:
                self.model = update.model
            self.mosaic.replace((worker, bool(part.to_redo)), update.tiles)

    def begin_again(self, worker: int) -> list[ScanPoint]:
        """Take back the frames of a worker whose engine is lost; return them."""
        part = self.parts[worker]
        with self.lock:
            frames = list(part.sent.points(self.scan_id))
            if part.to_redo:
                self.mosaic.forget((worker, True))
            part.to_redo = max(part.to_redo, part.answered)
            part.sent, part.answered, part.is_all_sent = SentFrames(), 0, False
            part.is_asked, part.result = False, None
        return frames

    def retire(self, worker: int) -> None:
        """Do without a worker: its frames come to others, so its tiles are taken away."""
        part = self.parts[worker]
        with self.lock:
            self.regions.retire(worker)
            for is_redone in (False, True):
                self.mosaic.forget((worker, is_redone))
            part.to_redo = part.stitched = 0
            part.rfactors = {}

    def note_answered(self, worker: int, count: int) -> None:
        """Count frames of this epoch that are done."""
        self.parts[worker].answered += count

    def show_redone(self, worker: int, *, is_last: bool = False) -> None:
        """Show the tiles of the worker's new epoch once it has done as many frames as the one before, or its last."""
        part = self.parts[worker]
        if part.to_redo and (is_last or part.answered >= part.to_redo):
            with self.lock:
                part.to_redo = 0
                self.mosaic.rename((worker, True), (worker, False))

    @property
    def rfactors(self) -> dict[str, float]:
        """R of the network layer: the mean over the workers' samples, weighted by their frames."""
        known = [(part.rfactors["network"], part.stitched) for part in self.parts if "network" in part.rfactors]
        frames = sum(count for _, count in known)
        return {"network": sum(rfactor * count for rfactor, count in known) / frames} if frames else {}

    def update(self, *, frames_received: int, time_ns: int, is_complete: bool) -> LayerUpdate | None:
        """Return what changed in the merged picture since the last call; None if nothing did and more is to come."""
        with self.lock:
            boxes = self.mosaic.take_dirty()
            if not boxes and not is_complete:
                return None
            layers = [(box, *self.mosaic.read(box, self._shown)) for box in boxes]
            shape, origin_px = self.mosaic.shape, self.mosaic.origin_px
        regions = tuple(
            Region(*box, object=np.asarray(to_host(value)), weight=np.asarray(to_host(weight)))
            for box, value, weight in layers
        )
        return LayerUpdate(
            scan_id=self.scan_id,
            layer="network",
            shape=shape,
            origin_px=origin_px,
            pixel_size_m=self.pixel_size_m,
            frames_stitched=len(self.places),
            frames_received=frames_received,
            model_generation=0 if self.model is None else self.model.generation,
            rfactor=self.rfactors.get("network"),
            complete=is_complete,
            regions=regions,
            time_ns=time_ns,
        )

    def result(self, probe: NDArray[np.complex64], model: ModelIdentity) -> ScanResult:
        """Return the merged picture as it is."""
        with self.lock:
            network, weight = map(to_host, self.mosaic.read(None, self._shown))
            indexes, told_px = self.places.copied()
            origin_px = self.mosaic.origin_px
        order = np.argsort(indexes)
        return ScanResult(
            scan_id=self.scan_id,
            network=np.asarray(network, dtype=np.complex64),
            network_weight=np.asarray(weight, dtype=np.float32),
            network_origin_px=origin_px,
            refined=None,
            refined_weight=None,
            refined_origin_px=None,
            probe=probe,
            model=model if self.model is None else self.model,
            indexes=indexes[order],
            positions_px=told_px[order],
            rfactors=self.rfactors,
            doubts=self._doubts(),
        )

    def held(self, probe: NDArray[np.complex64], store: Store) -> HeldScan:
        """Return copies of what is known about the frames; their patterns are read from the journal."""
        indexes, told_px = self.places.copied()

        def pattern(index: int) -> NDArray[np.float32] | None:
            counts = store.read(self.scan_id, index)
            return None if counts is None else to_amplitude(counts[None])[0]

        return HeldScan(indexes, told_px, probe, probe, offsets_px=None, rfactors=dict, pattern=pattern)

    def coverage(self) -> float:
        """Return the covered share of the rectangle around the picture."""
        with self.lock:
            return covered_share(self.mosaic.read(None, self._shown)[1])

    def _doubts(self) -> tuple[Finding, ...]:
        """Return the doubts of the part with the most frames: a part of a few frames doubts for that alone."""
        largest = max(self.parts, key=lambda part: part.stitched)
        return () if largest.result is None else largest.result.result.doubts
