"""A worker: an engine in a process of its own, which Ray places on a device and starts again if it ends.

The reader begins it with a model and an epoch. A worker that Ray has started again has not begun, says so to every call, and the
reader begins it anew: its frames are then read from the journal once more.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from daemon.cluster.metrics import engine_samples
from daemon.cluster.outbox import CHANGES_WAIT_S, Outbox
from daemon.cluster.plan import (
    BatchDone,
    Changes,
    FrameBatch,
    MetricSamples,
    ModelPlan,
    PartResult,
    WorkerFacts,
    WorkerPlan,
)
from daemon.cluster.worker_scan import WorkerScan
from daemon.engine.engine_scan import OwnScans
from daemon.engine.loop import Engine
from daemon.engine.ports import EngineEvents
from daemon.engine.result import ScanResult
from daemon.errors import DaemonError
from daemon.metrics import Metrics
from daemon.setup.models import ModelLoader, device_of
from ptychopinn.device import to_device
from streams.refusal_reasons import RefusalReason

METRICS_S = 1.0
"""Time between two reports of metrics, s: Prometheus asks less often."""


class NotBegunError(DaemonError):
    """The worker has been started again, or has begun another epoch since."""


class EngineWorker:
    """Lives in the worker's process. Every method may be called while another one waits."""

    def __init__(self, plan: WorkerPlan) -> None:
        self._plan = plan
        self._run: EngineRun | None = None

    def begin(self, model: ModelPlan, epoch: int) -> WorkerFacts:
        """Begin an epoch: with a new engine, which knows no scan."""
        before, self._run = self._run, None
        if before is not None:
            before.leave()
        run = EngineRun(self._plan, model, epoch)
        run.engine.start()
        run.engine.wait_until_warm()
        self._run = run
        return WorkerFacts(socket.gethostname(), os.getpid(), str(run.device))

    def use(self, epoch: int, model: ModelPlan) -> None:
        """Go on with another model for the same probe."""
        self._begun(epoch).use(model)

    def take(self, batch: FrameBatch) -> BatchDone:
        """Stitch a batch; return when the account of each of its frames is closed."""
        return self._begun(batch.epoch).take(batch)

    def changes(self, epoch: int, probes: Mapping[str, NDArray[np.complex64]]) -> Changes:
        """Return the tiles that changed; waits for one a while. ``probes`` are changes of the scans' refined probes."""
        return self._begun(epoch).changes(probes)

    def finish(self, epoch: int, scan_id: str) -> PartResult:
        """Finish a scan that gets no more frames."""
        return self._begun(epoch).finish(scan_id)

    def leave(self) -> None:
        """End the engine, if there is one."""
        if self._run is not None:
            self._run.leave()

    def _begun(self, epoch: int) -> EngineRun:
        run = self._run
        if run is None or run.epoch != epoch:
            raise NotBegunError(f"worker {self._plan.number} has been started again")
        return run


class EngineRun:
    """One engine of a worker, from its beginning with a model until the next beginning."""

    def __init__(self, plan: WorkerPlan, model: ModelPlan, epoch: int) -> None:
        self.epoch = epoch
        self.device = device_of(plan.config)
        self._metrics = Metrics()
        self._next_metrics = 0.0
        self._scans = OwnScans[WorkerScan](WorkerScan)
        self._changed = threading.Condition()
        self._outbox = Outbox(
            self._changed, self._scans, lambda name: self.engine.refiner(name), lambda name: self.engine.frc(name)
        )
        if plan.config.model.threads:
            torch.set_num_threads(plan.config.model.threads)
        self._loader = ModelLoader(plan.config, self.device, lambda models: models)
        made = replace(self._loader.of_bundle(model.bundle, model.probe), generation=model.generation)
        options = replace(plan.options, pixel_size_m=self._pixel_size_m, is_halo=self._is_halo)
        self.engine = Engine(made, options, self._metrics, self._events(), scans=self._scans)

    def _events(self) -> EngineEvents:
        return EngineEvents(
            on_update=self._outbox.take_refined,
            on_stitched=lambda scan_id, indexes: self._close(scan_id, indexes, None),
            on_refused=lambda scan_id, index, reason: self._close(scan_id, [index], reason),
            on_finished=self._on_finished,
            on_checkpoint=lambda _result: None,
            frames_received=lambda _scan_id: 0,
            sums=self._outbox,
        )

    def use(self, model: ModelPlan) -> None:
        """Go on with another model for the same probe, between two batches."""
        made = self._loader.of_bundle(model.bundle, model.probe)
        self.engine.use(replace(made, probe=self.engine.active.probe, generation=model.generation))

    def take(self, batch: FrameBatch) -> BatchDone:
        """Stitch a batch; return when the account of each of its frames is closed."""
        indexes, scan = batch.indexes.tolist(), self._scans.open(batch.scan_id)
        with self._changed:
            (scan.halo.update if batch.is_halo else scan.halo.difference_update)(indexes)
            scan.pixel_size_m = batch.pixel_size_m
        self.engine.submit(batch.points(time.monotonic_ns()))
        with self._changed:
            while not all(index in scan.closed for index in indexes):
                self._wait()
            closed = {index: scan.closed.pop(index) for index in indexes}
        refused = {index: reason for index, reason in closed.items() if reason is not None}
        return BatchDone([index for index in closed if index not in refused], refused)

    def changes(self, probes: Mapping[str, NDArray[np.complex64]]) -> Changes:
        """Return the tiles that changed; waits for one a while. ``probes`` are changes of the scans' refined probes."""
        for scan_id, change in probes.items():
            if (refiner := self.engine.refiner(scan_id)) is not None:
                refiner.moving_probe.offer(to_device(np.array(change), self.device))
        told = self._outbox.collect(self._wait)
        return Changes(
            self.epoch,
            told.sequence,
            told.sums,
            told.refined,
            metrics=self._samples(),
            failure=self.engine.failure,
        )

    def finish(self, scan_id: str) -> PartResult:
        """Finish a scan that gets no more frames; its last tiles are told as changes."""
        scan = self._scans.open(scan_id)
        self.engine.finish(scan_id)
        with self._changed:
            while scan.result is None:
                self._wait()
            return PartResult(self.epoch, self._outbox.sequence, scan.result)

    def leave(self) -> None:
        """End the engine, whatever it does."""
        self.engine.stop(0.0)
        with self._changed:
            self._changed.notify_all()

    def _wait(self, most_s: float = CHANGES_WAIT_S) -> None:
        self._changed.wait(most_s)
        if not self.engine.is_alive:
            raise DaemonError(f"the engine has ended: {self.engine.failure}")

    def _close(self, scan_id: str, indexes: Sequence[int], reason: RefusalReason | None) -> None:
        with self._changed:
            if (scan := self._scans.get(scan_id)) is not None:
                scan.closed.update(dict.fromkeys(indexes, reason))
            self._changed.notify_all()

    def _pixel_size_m(self, scan_id: str) -> float | None:
        scan = self._scans.get(scan_id)
        return None if scan is None else scan.pixel_size_m

    def _is_halo(self, scan_id: str, index: int) -> bool:
        scan = self._scans.get(scan_id)
        return scan is not None and index in scan.halo

    def _on_finished(self, result: ScanResult) -> None:
        nothing, no_weight = np.zeros((0, 0), np.complex64), np.zeros((0, 0), np.float32)
        has_refined = result.refined is not None
        with self._changed:
            if (scan := self._scans.get(result.scan_id)) is not None:
                scan.result = replace(
                    result,
                    network=nothing,
                    network_weight=no_weight,
                    refined=nothing if has_refined else None,
                    refined_weight=no_weight if has_refined else None,
                )
            self._changed.notify_all()

    def _samples(self) -> Sequence[MetricSamples]:
        """Return the metrics of the engine when it is time; none otherwise."""
        if time.monotonic() < self._next_metrics:
            return ()
        self._next_metrics = time.monotonic() + METRICS_S
        return engine_samples(self._metrics.registry)
