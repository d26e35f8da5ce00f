"""The output of merged scans: pictures for viewers, checkpoints, results."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection

import numpy as np

from daemon.cluster.layer_updates import Moment, network_update, refined_update
from daemon.cluster.result import merged_result
from daemon.cluster.scan import ClusterScan
from daemon.engine.cadence import REFINED_PERIOD_S
from daemon.engine.models import ActiveModel
from daemon.engine.options import EngineOptions
from daemon.engine.ports import EngineEvents
from daemon.engine.result import ScanResult
from daemon.metrics import Metrics
from daemon.publish.snapshot import LayerUpdate
from ptychopinn.device import to_host

PUBLISH_SHARE, CHECKPOINT_SHARE = 0.5, 0.02
"""Largest share of the thread's time for pictures and for checkpoints, as in one engine."""

log = logging.getLogger(__name__)


class MergedOutput:
    """Used by the cluster's thread alone; ``latency_s`` is read by others too."""

    def __init__(
        self, options: EngineOptions, metrics: Metrics, events: EngineEvents, active: Callable[[], ActiveModel]
    ) -> None:
        self._options = options
        self._metrics = metrics
        self._events = events
        self._active = active
        self._next_refined = 0.0
        self._next = self._next_checkpoint = time.monotonic()
        self.latency_s: float | None = None

    def publish_due(self, scans: Collection[ClusterScan]) -> None:
        """Publish every open scan, and write checkpoints, if it is time."""
        begun = time.monotonic()
        if begun < self._next:
            return
        for scan in scans:
            self._publish(scan, is_complete=False)
        if begun >= self._next_refined:
            self._next_refined = time.monotonic() + REFINED_PERIOD_S
        now = time.monotonic()
        self._next = max(begun + self._options.publish_period_s, now + (now - begun) / PUBLISH_SHARE)
        if now < self._next_checkpoint:
            return
        for scan in scans:
            if len(scan.places) and not scan.is_ended:
                self._events.on_checkpoint(self._result(scan))
        spent_s = time.monotonic() - now
        self._next_checkpoint = now + max(self._options.checkpoint_s, spent_s / CHECKPOINT_SHARE)

    def close(self, scan: ClusterScan) -> None:
        """Publish the last picture and hand on the result."""
        self._publish(scan, is_complete=True)
        self._events.on_finished(self._result(scan))

    def leave(self, scan: ClusterScan, waiting: int) -> None:
        """Hand on the result of a scan whose last frames are left to the next start."""
        self._events.on_left(self._result(scan), waiting)

    def _result(self, scan: ClusterScan) -> ScanResult:
        model = self._active()
        return merged_result(scan, np.asarray(to_host(model.probe), dtype=np.complex64), model.identity)

    def _emit(self, update: LayerUpdate | None) -> None:
        if update is not None:
            self._events.on_update(update)
            self._metrics.snapshots_published.inc()

    def _publish(self, scan: ClusterScan, *, is_complete: bool) -> None:
        with self._metrics.stage_seconds.labels("publish").time():
            now = Moment(self._events.frames_received(scan.scan_id), time.time_ns(), is_complete)
            self._emit(network_update(scan, now))
            if is_complete or time.monotonic() >= self._next_refined:
                self._emit(refined_update(scan, now))
        received_ns, scan.shown_ns = scan.shown_ns, []
        if received_ns:
            waited_s = (time.monotonic_ns() - np.array(received_ns, dtype=np.int64)) / 1e9
            self._metrics.frame_latency.observe(waited_s)
            self.latency_s = float(np.median(waited_s))
        if self._events.is_newest(scan.scan_id):
            for layer, value in scan.rfactors.items():
                self._metrics.rfactor.labels(layer).set(value)
            if is_complete:
                self._metrics.coverage.set(scan.coverage())
