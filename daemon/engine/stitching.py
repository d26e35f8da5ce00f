"""Batches of scan points to patches in the mosaic: which model predicts them, what happens when a batch fails."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from daemon.engine.backlog import Backlog, Store
from daemon.engine.cadence import Publishing
from daemon.engine.faults import EngineFaults
from daemon.engine.options import EngineOptions
from daemon.engine.ports import EngineEvents
from daemon.engine.scan import FrameToRestitch, ScanWork
from daemon.metrics import Metrics
from ptychopinn.detector.geometry import to_amplitude
from ptychopinn.device import is_batched, release_memory, to_host
from ptychopinn.diagnosis.correction import Correction
from ptychopinn.frame_store import are_small_counts
from ptychopinn.model import Model
from ptychopinn.mosaic.groups import GroupFrame
from ptychopinn.tensor_dict import TensorDict
from streams.frame import ScanPoint
from streams.refusal_reasons import RefusalReason

SHARP_SHARE = 0.6
"""Share of the time that the sharp model may take; the rest is for stitching, publishing and refinement."""

log = logging.getLogger(__name__)


class Stitcher:
    """Used by the engine's thread alone; ``last_pattern`` is read by others too.

    Attributes
    ----------
    batch_frames
        Frames in a batch at most; halved once the device has run out of memory.
    sharp_frame_s
        Time of the sharp model for a frame, s.
    last_pattern
        Scan, index and amplitudes ``(N, N)`` of the frame stitched last.
    """

    def __init__(
        self,
        options: EngineOptions,
        metrics: Metrics,
        events: EngineEvents,
        *,
        faults: EngineFaults,
        publishing: Publishing,
        queue: Backlog,
        store: Store | None,
    ) -> None:
        self._options = options
        self._metrics = metrics
        self._events = events
        self._faults = faults
        self._publishing = publishing
        self._queue = queue
        self._store = store
        self._credit_s, self._credited_at = 0.0, time.monotonic()
        self.batch_frames = options.batch_frames
        self.sharp_frame_s = float("inf")
        self.last_pattern: tuple[str, int, NDArray[np.float32]] | None = None

    def stitch(
        self, work: ScanWork, points: list[ScanPoint], pixel_size_m: float, correction: Correction, *, done: set[int]
    ) -> None:
        """Predict and stitch points of one scan; ``done`` gets the indexes whose account is closed."""
        if (is_halo := self._options.is_halo) is not None and any(is_halo(p.scan_id, p.index) for p in points):
            self._take_halo(work, points, pixel_size_m, correction, done=done)
            return
        with self._metrics.stage_seconds.labels("group").time():
            frames, images = _frames(points, pixel_size_m, correction)
            groups = work.group(frames, images)
        models = work.model.models
        sharp = models.sharp
        model = sharp if sharp is not None and self._can_afford(len(points)) else models.quick
        for group in groups:
            self._lay(work, model, group)
        refused = self._close_refused(work, done)
        amplitude, looks = groups[0]["images"][:, 0], int(model is sharp)
        are_counts = is_batched(amplitude.device) and are_small_counts((p.counts.dtype for p in points), images)
        kept = self._keep(work, frames, amplitude, refused, looks=looks, are_counts=are_counts)
        if kept:
            work.waiting_ns += [point.received_ns for point in points if not refused or point.index not in refused]
            stitched = [frame.index for frame in kept]
            done.update(stitched)
            self.last_pattern = (work.scan_id, kept[-1].index, kept[-1].amplitude)
            self._events.on_stitched(work.scan_id, stitched)

    def _take_halo(
        self, work: ScanWork, points: list[ScanPoint], pixel_size_m: float, correction: Correction, *, done: set[int]
    ) -> None:
        """Take frames of the halo, which count as stitched elsewhere, and those of the region among them."""
        is_halo = self._options.is_halo or (lambda _scan_id, _index: False)
        halo = [point for point in points if is_halo(point.scan_id, point.index)]
        own = [point for point in points if not is_halo(point.scan_id, point.index)]
        if halo:
            frames, images = _frames(halo, pixel_size_m, correction)
            if work.halo is not None and work.refiner is not None:
                work.halo.take(frames, work.group(frames, images), work.model.models.quick, work.refiner)
            done.update(point.index for point in halo)
            self._events.on_stitched(work.scan_id, [point.index for point in halo])
        if own:
            self.stitch(work, own, pixel_size_m, correction, done=done)

    def restitch(self, work: ScanWork, correction: Correction) -> None:
        """Stitch the newest of the frames that wait for it again; they are in the account already."""
        some = [work.to_restitch.pop() for _ in range(min(self.batch_frames, len(work.to_restitch)))]
        frames = [frame for one in some if (frame := self._read(work.scan_id, one, correction)) is not None]
        if len(frames) < len(some):
            self._faults.failure = (
                f"scan {work.scan_id}: frames that were shown before the probe was known cannot be read back"
            )
        if not frames:
            return
        try:
            groups = work.group(frames)
            for group in groups:
                self._lay(work, work.model.models.quick, group)
            refused, work.refused = work.refused, {}
            self._keep(work, frames, groups[0]["images"][:, 0], refused, looks=0)
        except Exception as fault:  # the scan goes on without them
            self._faults.note(work.scan_id, f"{len(frames)} frames could not be stitched again", fault)

    def refuse(self, scan_id: str, index: int, reason: RefusalReason) -> None:
        """Enter a frame as refused; a fault in that costs the other frames nothing."""
        self._faults.attempt_for(scan_id, "the account", lambda: self._events.on_refused(scan_id, index, reason))

    def _read(self, scan_id: str, frame: FrameToRestitch, correction: Correction) -> GroupFrame | None:
        if frame.amplitude is not None:
            return GroupFrame(frame.index, np.asarray(to_host(frame.amplitude)), frame.position_px)
        counts = None if self._store is None else self._store.read(scan_id, frame.index)
        if counts is None:
            return None
        return GroupFrame(frame.index, correction.patterns(to_amplitude(counts)), frame.position_px)

    def _lay(self, work: ScanWork, model: Model, group: TensorDict) -> None:
        """Predict and stitch; where that fails, do it in halves, so that a bad frame fails alone."""
        stage, begun = self._metrics.stage_seconds, time.monotonic()
        try:
            with stage.labels("predict").time():
                patches = model.predict(group)[:, 0]
            self._credit_s -= time.monotonic() - begun if model is work.model.models.sharp else 0.0
            with stage.labels("stitch").time():
                work.lay(group, patches, is_quick=model is work.model.models.quick)
            return
        except torch.OutOfMemoryError as fault:
            self._lower_batches(work, len(group), fault)
            reason = RefusalReason.DEVICE_MEMORY
        except Exception as fault:
            self._faults.note(work.scan_id, f"{len(group)} frames failed", fault)
            reason = RefusalReason.ENGINE_ERROR
        if len(group) == 1:
            if group["images"].shape[1] == 1:
                work.refused[int(group["center_scan_id"][0])] = reason
            return
        for part in group.split(-(-len(group) // 2)):
            self._lay(work, model, part)

    def _lower_batches(self, work: ScanWork, frames: int, fault: Exception) -> None:
        """Halve the batches from now on: the device has too little memory for larger ones."""
        release_memory(work.model.probe.device)
        self.batch_frames = max(1, min(self.batch_frames, frames // 2))
        log.warning("the device has run out of memory with %d frames: %s", frames, str(fault).splitlines()[0])
        self._faults.count(f"the device ran out of memory; batches have at most {self.batch_frames} frames now")

    def _close_refused(self, work: ScanWork, done: set[int]) -> dict[int, RefusalReason]:
        """Close the account of frames that could not be stitched; return them."""
        refused, work.refused = work.refused, {}
        for index, reason in refused.items():
            done.add(index)
            self._events.on_refused(work.scan_id, index, reason)
        return refused

    def _keep(
        self,
        work: ScanWork,
        frames: list[GroupFrame],
        amplitude: torch.Tensor,
        refused: Mapping[int, RefusalReason],
        *,
        looks: int,
        are_counts: bool = False,
    ) -> list[GroupFrame]:
        """Have the scan keep those frames, with their amplitudes ``(B, N, N)``, that were not refused; return them."""
        if refused:
            rows = [row for row, frame in enumerate(frames) if frame.index not in refused]
            frames, amplitude = [frames[row] for row in rows], amplitude[rows]
        if frames:
            work.keep(frames, amplitude, looks, are_counts=are_counts)
        learner = self._publishing.learner
        if learner is not None:
            for frame in frames:
                learner.offer(work.scan_id, frame.index, np.asarray(frame.amplitude), frame.position_px)
        return frames

    def _can_afford(self, frames: int) -> bool:
        """Whether the sharp model may predict these frames now: none waits, and its share of the time is not used up."""
        now = time.monotonic()
        earned_s = self._credit_s + SHARP_SHARE * (now - self._credited_at)
        self._credit_s, self._credited_at = min(earned_s, self._options.publish_period_s), now
        cost_s = frames * self.sharp_frame_s
        return not len(self._queue) and self._credit_s > 0 and cost_s <= self._options.publish_period_s


def _frames(
    points: list[ScanPoint], pixel_size_m: float, correction: Correction
) -> tuple[list[GroupFrame], NDArray[np.float32]]:
    """Return points as groups take them, and their amplitudes ``(B, N, N)``; ``pixel_size_m`` is corrected already."""
    counts = np.concatenate([point.counts for point in points])
    amplitude = correction.patterns(to_amplitude(counts.reshape(len(points), -1, counts.shape[-1])))
    where = correction.turned_positions(
        np.array([point.position_m for point in points], dtype=np.float64) / pixel_size_m
    )
    places = map(tuple, where.tolist())
    frames = [GroupFrame(p.index, a, place) for p, a, place in zip(points, amplitude, places, strict=True)]
    return frames, amplitude
