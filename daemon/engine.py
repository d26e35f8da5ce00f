"""The engine: one thread that owns the device, from scan points to layer updates.

Batches adapt: whatever is ready, at most ``batch_frames``. The network layer comes first; the refiner gets the time
that is left, in slices so short that a waiting frame hardly notices. When a scan has ended the refiner may go on for
``finish_s`` unless another scan's frames wait.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from daemon.metrics import Metrics
from daemon.queue import ByteQueue
from daemon.snapshot import LayerName, LayerUpdate, Region
from ptychopinn.canvas import Box
from ptychopinn.device import memory_bytes, to_device, to_host
from ptychopinn.geometry import to_amplitude
from ptychopinn.groups import GroupBuilder, GroupFrame
from ptychopinn.model import build_model
from ptychopinn.mosaic import Mosaic
from ptychopinn.physics import rfactor_parts
from ptychopinn.refine import Refiner
from streams.frame import ScanPoint

REFINE_SLICE_S = 0.004
REFINED_PERIOD_S = 0.4
RFACTOR_FRAMES = 1024
RFACTOR_BATCH = 32


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What the engine needs to know; sizes in pixels, times in seconds."""

    pixel_size_m: float
    batch_frames: int = 32
    gridsize: int = 1
    max_side_px: int = 32768
    keep_patch_bytes: int = 256 << 20
    refine: bool = True
    refine_buffer_frames: int = 8192
    refine_finish_s: float = 1.5
    publish_period_s: float = 0.1
    mask: NDArray[np.bool_] | None = None
    saturation: float | None = None
    queue_bytes: int = 512 << 20


@dataclass(slots=True)
class ScanWork:
    """Everything the engine holds of one scan."""

    scan_id: str
    mosaic: Mosaic
    refiner: Refiner | None
    groups: GroupBuilder
    stitched: int = 0
    positions_px: dict[int, tuple[float, float]] = field(default_factory=dict)
    sample: dict[int, torch.Tensor] = field(default_factory=dict)
    waiting_ns: list[int] = field(default_factory=list)
    rfactors: dict[str, float] = field(default_factory=dict)
    finish_by: float | None = None
    next_refined: float = 0.0
    refined_at_publish: int = 0


@dataclass(frozen=True, slots=True)
class ScanResult:
    """A layer pair for the product: host arrays, origins in object pixels, positions of the stitched frames."""

    scan_id: str
    network: NDArray[np.complex64]
    network_weight: NDArray[np.float32]
    network_origin_px: tuple[int, int]
    refined: NDArray[np.complex64] | None
    refined_origin_px: tuple[int, int] | None
    indexes: NDArray[np.int64]
    positions_px: NDArray[np.float64]
    rfactors: dict[str, float]


class Engine:
    """Runs the chain from joined points to published layers.

    ``on_update`` gets layer updates, ``on_stitched(scan_id, indexes)`` and ``on_refused(scan_id, index, reason)`` close
    the account of frames, ``on_finished(ScanResult)`` comes once for each scan passed to :meth:`finish`,
    ``on_checkpoint(ScanResult)`` every ``checkpoint_s`` while a scan runs.
    """

    def __init__(
        self,
        probe: torch.Tensor,
        options: EngineOptions,
        metrics: Metrics,
        *,
        on_update: Callable[[LayerUpdate], None],
        on_stitched: Callable[[str, Sequence[int]], None],
        on_refused: Callable[[str, int, str], None],
        on_finished: Callable[[ScanResult], None],
        on_checkpoint: Callable[[ScanResult], None] | None = None,
        checkpoint_s: float = 10.0,
        frames_received: Callable[[str], int] = lambda scan_id: 0,
    ) -> None:
        self._probe = probe
        self._options = options
        self._metrics = metrics
        self._on_update = on_update
        self._on_stitched = on_stitched
        self._on_refused = on_refused
        self._on_finished = on_finished
        self._on_checkpoint = on_checkpoint
        self._checkpoint_s = checkpoint_s
        self._next_checkpoint = time.monotonic() + checkpoint_s
        self._frames_received = frames_received
        self._model = build_model("lift", probe)
        self._points: ByteQueue[ScanPoint] = ByteQueue(options.queue_bytes)
        self._work: dict[str, ScanWork] = {}
        self._finish_asked: list[str] = []
        self._stop = threading.Event()
        self._random = np.random.default_rng(0)
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self.warm = threading.Event()
        self.failure: str | None = None
        self.last_pattern: tuple[str, int, NDArray[np.float32]] | None = None
        self.latencies_s: list[float] = []

    @property
    def generation(self) -> int:
        """Generation of the active model (0: the model as shipped)."""
        return 0

    def start(self) -> None:
        """Start the thread; ``warm`` is set after a first dry batch."""
        self._thread.start()

    def submit(self, points: Iterable[ScanPoint]) -> None:
        """Queue points; blocks while the queue is full."""
        for point in points:
            self._points.put(point, point.counts.nbytes)
        self._metrics.queue_depth.labels("engine").set(len(self._points))
        self._metrics.queue_bytes.labels("engine").set(self._points.bytes)

    def finish(self, scan_id: str) -> None:
        """Say that a scan has all the frames it will get."""
        self._finish_asked.append(scan_id)
        self._points.wake()

    def stop(self) -> None:
        """Finish what is queued, publish, and end the thread."""
        self._stop.set()
        self._points.close()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        self._warm_up()
        next_publish = time.monotonic()
        while True:
            now = time.monotonic()
            busy = any(w.refiner is not None for w in self._work.values())
            points = self._points.take(
                self._options.batch_frames, 0.0 if busy else max(0.0, min(0.05, next_publish - now))
            )
            if points:
                self._process(points)
            elif self._stop.is_set():
                break
            if time.monotonic() >= next_publish:
                self._publish_all()
                next_publish = time.monotonic() + self._options.publish_period_s
                if self._on_checkpoint and now >= self._next_checkpoint:
                    self._checkpoint()
            if not points and not self._refine() and busy:
                points = self._points.take(self._options.batch_frames, 0.01)
                if points:
                    self._process(points)
            self._finish_due()
        for scan_id in list(self._work):
            self._close(self._work[scan_id])

    def _warm_up(self) -> None:
        n = self._probe.shape[-1]
        builder = GroupBuilder(1, n / 2, self._probe.device)
        blank = np.ones((n, n), dtype=np.float32)
        frames = [GroupFrame(i, blank, (0.0, 0.0)) for i in range(self._options.batch_frames)]
        mosaic = Mosaic(self._probe.abs().square().sum(0))
        patches = self._model.predict(builder.add(frames)[0])[:, 0]
        mosaic.add(range(len(frames)), patches, np.zeros((len(frames), 2)))
        refiner = Refiner(self._probe)
        refiner.add(0, torch.from_numpy(blank).to(self._probe.device), (0.0, 0.0), mosaic.cut((0.0, 0.0)))
        refiner.step()
        self.warm.set()

    def _scan(self, scan_id: str) -> ScanWork:
        if scan_id not in self._work:
            options = self._options
            n = self._probe.shape[-1]
            self._work[scan_id] = ScanWork(
                scan_id,
                Mosaic(
                    self._probe.abs().square().sum(0),
                    options.max_side_px,
                    options.keep_patch_bytes if options.gridsize > 1 else 0,
                ),
                Refiner(self._probe, options.max_side_px, options.refine_buffer_frames) if options.refine else None,
                GroupBuilder(options.gridsize, n / 2, self._probe.device),
            )
        return self._work[scan_id]

    def _process(self, points: list[ScanPoint]) -> None:
        self._metrics.batch_frames.observe(len(points))
        self._metrics.queue_depth.labels("engine").set(len(self._points))
        self._metrics.queue_bytes.labels("engine").set(self._points.bytes)
        for scan_id in dict.fromkeys(p.scan_id for p in points):
            mine = [p for p in points if p.scan_id == scan_id]
            try:
                self._process_scan(self._scan(scan_id), mine)
            except Exception as fault:  # one bad batch must not end the scan; it is counted and said
                self.failure = f"scan {scan_id}: a batch of {len(mine)} frames failed: {fault}"
                for point in mine:
                    self._on_refused(scan_id, point.index, "engine_error")

    def _process_scan(self, work: ScanWork, points: list[ScanPoint]) -> None:
        options, stage = self._options, self._metrics.stage_seconds
        with stage.labels("group").time():
            amplitude = to_amplitude(np.stack([p.counts for p in points]), options.mask, options.saturation)
            where = np.array([p.position_m for p in points], dtype=np.float64) / options.pixel_size_m
            frames = [
                GroupFrame(p.index, a, (float(y), float(x)))
                for p, a, (y, x) in zip(points, amplitude, where, strict=True)
            ]
            groups = work.groups.add(frames)
            work.positions_px.update((f.index, f.position_px) for f in frames)
        refused: dict[int, str] = {}
        for group in groups:
            with stage.labels("predict").time():
                patches = self._model.predict(group)[:, 0]
                keys = group["center_scan_id"].tolist()
            with stage.labels("stitch").time():
                positions = np.array([work.positions_px[k] for k in keys])
                refused.update(work.mosaic.add(keys, patches, positions))
        for index, reason in refused.items():
            work.positions_px.pop(index, None)
            self._on_refused(work.scan_id, index, reason)
        good = [(p, f) for p, f in zip(points, frames, strict=True) if p.index not in refused]
        for point, frame in good:
            tensor = to_device(frame.amplitude, self._probe.device)
            self._keep_for_rfactor(work, frame.index, tensor)
            if work.refiner is not None:
                start = work.mosaic.cut(frame.position_px)
                work.refiner.add(frame.index, tensor, frame.position_px, start)
            work.waiting_ns.append(point.received_ns)
        if good:
            work.stitched += len(good)
            self.last_pattern = (work.scan_id, good[-1][1].index, good[-1][1].amplitude)
            self._on_stitched(work.scan_id, [f.index for _, f in good])

    def _keep_for_rfactor(self, work: ScanWork, index: int, amplitude: torch.Tensor) -> None:
        """Keep a fair sample of the scan's frames."""
        if len(work.sample) < RFACTOR_FRAMES:
            work.sample[index] = amplitude
        elif self._random.random() < RFACTOR_FRAMES / (work.stitched + 1):
            work.sample.pop(next(iter(work.sample)))
            work.sample[index] = amplitude

    def _refine(self) -> bool:
        """Spend one slice on the newest scan that has a refiner; False when there is nothing to do."""
        works = [w for w in self._work.values() if w.refiner is not None]
        if not works:
            return False
        refiner = works[-1].refiner
        end = time.monotonic() + REFINE_SLICE_S
        done = 0
        while refiner is not None and time.monotonic() < end and not len(self._points) and refiner.step():
            done += 1
        self._metrics.refine_updates.inc(done)
        return done > 0

    def _publish_all(self) -> None:
        for work in self._work.values():
            self._publish(work, complete=False)
        self._metrics.device_memory.set(memory_bytes(self._probe.device))

    def _publish(self, work: ScanWork, complete: bool) -> None:
        with self._metrics.stage_seconds.labels("publish").time():
            self._emit(work, "network", work.mosaic, complete)
            now = time.monotonic_ns()
            for received in work.waiting_ns:
                self._metrics.frame_latency.observe((now - received) / 1e9)
            self.latencies_s = [*self.latencies_s, *((now - r) / 1e9 for r in work.waiting_ns)][-1000:]
            work.waiting_ns.clear()
            refiner = work.refiner
            if refiner is not None and (complete or time.monotonic() >= work.next_refined):
                work.next_refined = time.monotonic() + REFINED_PERIOD_S
                if not complete:
                    self._estimate_rfactors(work)
                self._emit(work, "refined", refiner, complete)

    def _emit(self, work: ScanWork, layer: LayerName, source: Mosaic | Refiner, complete: bool) -> None:
        boxes = source.take_dirty()
        if not boxes and not complete:
            return
        update = LayerUpdate(
            scan_id=work.scan_id,
            layer=layer,
            shape=source.shape,
            origin_px=source.origin_px,
            pixel_size_m=self._options.pixel_size_m,
            frames_stitched=work.stitched,
            frames_received=self._frames_received(work.scan_id),
            model_generation=self.generation,
            rfactor=work.rfactors.get(layer),
            complete=complete,
            regions=tuple(_region(source, box) for box in boxes),
            time_ns=time.time_ns(),
        )
        self._on_update(update)
        self._metrics.snapshots_published.inc()

    def _estimate_rfactors(self, work: ScanWork) -> None:
        if work.refiner is not None and work.refiner.rfactor is not None:
            self._set_rfactor(work, "refined", work.refiner.rfactor)
        if work.sample:
            chosen = self._random.choice(list(work.sample), size=min(8, len(work.sample)), replace=False).tolist()
            fresh = self._rfactor(work, work.mosaic, chosen)
            old = work.rfactors.get("network", fresh)
            self._set_rfactor(work, "network", 0.8 * old + 0.2 * fresh)

    def _set_rfactor(self, work: ScanWork, layer: str, value: float) -> None:
        work.rfactors[layer] = value
        self._metrics.rfactor.labels(layer).set(value)

    def _rfactor(self, work: ScanWork, source: Mosaic | Refiner, indexes: Sequence[int]) -> float:
        misfit = total = 0.0
        for begin in range(0, len(indexes), RFACTOR_BATCH):
            part = indexes[begin : begin + RFACTOR_BATCH]
            patches = torch.stack([source.cut(work.positions_px[i]) for i in part])
            amplitude = torch.stack([work.sample[i] for i in part])
            above, below = rfactor_parts(self._probe, patches, amplitude)
            misfit, total = misfit + above, total + below
        return misfit / total if total > 0 else float("nan")

    def _finish_due(self) -> None:
        while self._finish_asked:
            scan_id = self._finish_asked.pop(0)
            work = self._scan(scan_id)
            if work.finish_by is None:
                work.finish_by = time.monotonic() + (self._options.refine_finish_s if work.refiner is not None else 0.0)
        for work in list(self._work.values()):
            if work.finish_by is None:
                continue
            others = any(w.finish_by is None for w in self._work.values())
            if others or time.monotonic() >= work.finish_by or work.refiner is None or not work.stitched:
                self._close(work)

    def _close(self, work: ScanWork) -> None:
        if work.stitched:
            indexes = list(work.sample)
            self._set_rfactor(work, "network", self._rfactor(work, work.mosaic, indexes))
            if work.refiner is not None:
                self._set_rfactor(work, "refined", self._rfactor(work, work.refiner, indexes))
            weight = work.mosaic.read()[1]
            self._metrics.coverage.set(float((weight > 0.05 * weight.max()).float().mean()))
        self._publish(work, complete=True)
        del self._work[work.scan_id]
        self._on_finished(self._result(work))

    def _checkpoint(self) -> None:
        self._next_checkpoint = time.monotonic() + self._checkpoint_s
        for work in self._work.values():
            if work.stitched and self._on_checkpoint:
                self._on_checkpoint(self._result(work))

    def _result(self, work: ScanWork) -> ScanResult:
        network, weight = work.mosaic.read()
        indexes = sorted(work.positions_px)
        refined = None if work.refiner is None else np.asarray(to_host(work.refiner.read()[0]), dtype=np.complex64)
        return ScanResult(
            work.scan_id,
            np.asarray(to_host(network), dtype=np.complex64),
            np.asarray(to_host(weight), dtype=np.float32),
            work.mosaic.origin_px,
            refined,
            None if work.refiner is None else work.refiner.origin_px,
            np.array(indexes, dtype=np.int64),
            np.array([work.positions_px[i] for i in indexes], dtype=np.float64).reshape(-1, 2),
            dict(work.rfactors),
        )


def _region(source: Mosaic | Refiner, box: Box) -> Region:
    value, weight = source.read(box)
    return Region(
        *box,
        object=np.asarray(to_host(value), dtype=np.complex64),
        weight=np.asarray(to_host(weight), dtype=np.float32),
    )
