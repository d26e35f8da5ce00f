"""The reader's side of one scan that several workers reconstruct: the frames of each worker, the merged picture, the result."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daemon.cluster.examining import ScanExamining
from daemon.cluster.halo import Halos, width_of
from daemon.cluster.parts import Part
from daemon.cluster.plan import RefinedPart
from daemon.cluster.refined import RefinedScan
from daemon.cluster.regions import Regions
from daemon.engine.backlog import Store
from daemon.engine.frame_places import FramePlaces
from daemon.engine.held_scan import HeldScan
from daemon.engine.models import ModelIdentity
from daemon.engine.options import EngineOptions
from daemon.engine.ports import ExaminerPort
from daemon.engine.scan import covered_share
from daemon.engine.sums import SumsUpdate
from ptychopinn.detector.geometry import to_amplitude
from ptychopinn.device import to_host
from ptychopinn.mosaic.merged import MergedMosaic
from ptychopinn.mosaic.mosaic import PatchRefusal
from streams.frame import ScanPoint
from streams.refusal_reasons import RefusalReason


@dataclass(frozen=True, slots=True)
class Shares:
    """Frames by worker: those that it stitches, those that help its refined layer; and the others, by index."""

    frames: dict[int, list[ScanPoint]]
    halos: dict[int, list[ScanPoint]]
    refused: dict[int, RefusalReason]


@dataclass(frozen=True, slots=True, eq=False)
class MergedPictures:
    """The network layer, the refined layer with its coverage if there is one, and the stitched frames in order of stitching."""

    network: NDArray[np.complex64]
    network_weight: NDArray[np.float32]
    origin_px: tuple[int, int]
    refined: tuple[NDArray[np.complex64], NDArray[np.float32]] | None
    indexes: NDArray[np.int64]
    told_px: NDArray[np.float64]
    rfactors: dict[str, float]


class ClusterScan:
    """One scan; ``lock`` guards it, since the intake gives out its frames and HTTP looks at it."""

    def __init__(
        self, scan_id: str, workers: int, probe: NDArray[np.complex64], options: EngineOptions, pixel_size_m: float
    ) -> None:
        self.scan_id = scan_id
        self._patch_px = patch_px = int(probe.shape[-1])
        self.pixel_size_m = pixel_size_m
        self.lock = threading.RLock()
        self.regions = Regions(workers, patch_px)
        self.mosaic = MergedMosaic(patch_px, options.max_side_px)
        if options.box_m is not None:
            top, left, bottom, right = (side / pixel_size_m for side in options.box_m)
            self.mosaic.reserve((top, left), (bottom, right))
        has_halos = options.refine and workers > 1
        self._halos = Halos(scan_id, self.regions.side_px, width_of(probe)) if has_halos else None
        self.parts = [Part() for _ in range(workers)]
        self.places = FramePlaces()
        self.examining = ScanExamining(scan_id)
        self.is_ended = self.is_held = False
        self.model: ModelIdentity | None = None
        self.shown_ns: list[int] = []
        """When frames were received whose tiles have come; the next picture shows them."""
        self._stitched: set[int] = set()
        self._shown = [(number, False) for number in range(workers)]
        """The parts that viewers see; those of the key (worker, True) are being done again."""
        self.refined = RefinedScan(self.mosaic, self.parts, self._shown, options.max_side_px)

    def given_out(self, points: Sequence[ScanPoint], waiting: Sequence[int] = ()) -> Shares:
        """Return the frames of each worker and of its halo, and those that cannot be laid.

        They have no position, or lie too far from the others. ``waiting`` are the frames that wait for each worker.
        """
        shares: dict[int, list[ScanPoint]] = {}
        halos: dict[int, list[ScanPoint]] = {}
        refused: dict[int, RefusalReason] = {}
        with self.lock:
            positions_px = self.positions_px(points)
            is_finite: NDArray[np.bool_] = np.asarray(np.isfinite(positions_px).all(axis=1))
            reached = is_finite.copy()
            reached[is_finite] = self.mosaic.reach(positions_px[is_finite])
            there = [point for point, is_reached in zip(points, reached.tolist(), strict=True) if is_reached]
            owners = self.regions.owners(positions_px[reached], waiting)
            for point, owner in zip(there, owners, strict=True):
                shares.setdefault(owner, []).append(point)
            if self._halos is not None:
                squares = self.regions.squares_of(positions_px[reached])
                halos = self._halos.frames_for(there, positions_px[reached], owners, squares)
            for point, is_reached, is_known in zip(points, reached.tolist(), is_finite.tolist(), strict=True):
                if not is_reached:
                    why = PatchRefusal.OUTSIDE_MOSAIC if is_known else PatchRefusal.BAD_POSITION
                    refused[point.index] = RefusalReason.of(why)
        return Shares(shares, halos, refused)

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
        part.rfactors |= update.rfactors
        part.stitched = update.stitched
        with self.lock:
            if self.model is None or update.model.generation >= self.model.generation:
                self.model = update.model
            self.mosaic.replace((worker, bool(part.to_redo)), update.tiles)

    def begin_again(self, worker: int) -> tuple[list[ScanPoint], list[ScanPoint]]:
        """Take back the frames of a worker whose engine is lost; return them, and those of its halo."""
        part = self.parts[worker]
        with self.lock:
            frames, halo = list(part.sent.points(self.scan_id)), list(part.halo.points(self.scan_id))
            if part.to_redo:
                self._forget((worker, True))
            part.begin_again()
            self.refined.probe.forget(worker)
        return frames, halo

    def _forget(self, part: tuple[int, bool]) -> None:
        """Take a part away from both pictures."""
        self.mosaic.forget(part)
        self.refined.picture.forget(part)

    def retire(self, worker: int) -> None:
        """Do without a worker: its frames come to others, so its tiles are taken away."""
        part = self.parts[worker]
        with self.lock:
            self.regions.retire(worker)
            if self._halos is not None:
                self._halos.forget(worker)
            for is_redone in (False, True):
                self._forget((worker, is_redone))
            self.refined.probe.forget(worker)
            part.to_redo = part.stitched = 0
            part.rfactors = {}

    def note_shown(self, worker: int) -> None:
        """Note that the tiles have come that the worker was asked for; the next picture shows them."""
        part = self.parts[worker]
        self.shown_ns += part.asked_ns
        part.asked_ns = []

    def note_answered(self, worker: int, count: int) -> None:
        """Count frames of this epoch that are done."""
        self.parts[worker].answered += count

    def show_redone(self, worker: int, *, is_last: bool = False) -> None:
        """Show the tiles of the worker's new epoch once it has done as many frames as the one before, or its last."""
        part = self.parts[worker]
        if part.to_redo and (is_last or part.answered >= part.to_redo):
            with self.lock:
                part.to_redo = 0
                for picture in (self.mosaic, self.refined.picture):
                    picture.rename((worker, True), (worker, False))

    @property
    def rfactors(self) -> dict[str, float]:
        """R of each layer: the mean over the workers' samples, weighted by their frames."""
        found: dict[str, float] = {}
        for layer in ("network", "refined"):
            known = [(part.rfactors[layer], part.stitched) for part in self.parts if layer in part.rfactors]
            frames = sum(count for _, count in known)
            if frames:
                found[layer] = sum(rfactor * count for rfactor, count in known) / frames
        return found

    def take_refined(self, worker: int, news: RefinedPart) -> None:
        """Take what changed in a worker's refined layer."""
        with self.lock:
            self.refined.take(worker, news)

    def look_with(self, examiner: ExaminerPort | None) -> None:
        """Have the scan diagnosed, if it is time; note whether it waits for that."""
        self.examining.look(examiner, len(self.places), self.pixel_size_m, has_ended=self.has_all)
        self.is_held = self.examining.is_held(examiner)

    @property
    def is_done(self) -> bool:
        """Whether the scan has ended, and the workers have told all of it."""
        return self.is_ended and all(part.is_done for part in self.parts)

    @property
    def has_all(self) -> bool:
        """Whether the scan has ended, and workers have closed the account of all its frames."""
        return self.is_ended and all(
            part.is_done or (part.is_all_sent and part.answered >= len(part.sent)) for part in self.parts
        )

    @property
    def refined_visits(self) -> int:
        """Visits of the least visited frame of the refined layer."""
        return min((part.visits for part in self.parts if part.stitched), default=0)

    def refined_patch(self, position_px: tuple[float, float]) -> NDArray[np.complex64] | None:
        """Return the refined object ``(N, N)`` at a position; None where there is none."""
        with self.lock:
            return self.refined.patch(position_px, self._patch_px)

    def copied(self) -> MergedPictures:
        """Return copies of both pictures and of the stitched frames, as they are now."""
        with self.lock:
            network, weight = map(to_host, self.mosaic.read(None, self._shown))
            indexes, told_px = self.places.copied()
            return MergedPictures(
                np.asarray(network, dtype=np.complex64),
                np.asarray(weight, dtype=np.float32),
                self.mosaic.origin_px,
                self.refined.read(),
                indexes,
                told_px=told_px,
                rfactors=self.rfactors,
            )

    def held(self, probe: NDArray[np.complex64], store: Store) -> HeldScan:
        """Return copies of what is known about the frames; their patterns are read from the journal."""
        indexes, told_px = self.places.copied()

        def pattern(index: int) -> NDArray[np.float32] | None:
            counts = store.read(self.scan_id, index)
            return None if counts is None else to_amplitude(counts[None])[0]

        found = self.refined.probe.probe
        newest = probe if found is None else found
        return HeldScan(indexes, told_px, newest, probe, offsets_px=None, rfactors=dict, pattern=pattern)

    def coverage(self) -> float:
        """Return the covered share of the rectangle around the picture."""
        with self.lock:
            return covered_share(self.mosaic.read(None, self._shown)[1])

    @property
    def shown(self) -> Sequence[tuple[int, bool]]:
        """The parts that viewers see."""
        return self._shown

    @property
    def largest(self) -> Part:
        """The part with the most frames."""
        return max(self.parts, key=lambda part: part.stitched)
