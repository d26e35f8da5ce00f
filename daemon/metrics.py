"""Every Prometheus metric of the daemon; users rely on names and labels."""

from __future__ import annotations

import math
import shutil
import threading
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from daemon.messages import Grade, Phase, ScanState, VerdictFields
from streams.refusal_reasons import RefusalReason

# Upper bounds of histograms: stages and latency in s, batches in frames
STAGE_BUCKETS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0)
LATENCY_BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
Loss = Literal["missing", "without_position", "pending", "refused"]
STAGES = ("decode", "join", "journal", "group", "predict", "stitch", "publish")
LOSSES: tuple[Loss, ...] = ("missing", "without_position", "pending", "refused")


class HttpRefusal(StrEnum):
    """Why the HTTP server refused a request or ended a connection."""

    TOKEN = "token"
    ORIGIN = "origin"
    HOST = "host"
    HEADERS = "headers"
    BODY = "body"
    BUSY = "busy"
    CONNECTIONS = "connections"
    SLOW = "slow"
    STUCK = "stuck"


class BatchHistogram(Collector):
    """A histogram that takes many values at once: value by value they cost the engine more than the frames' other books."""

    def __init__(self, name: str, text: str, buckets: tuple[float, ...]) -> None:
        self._name, self._text = name, text
        self._bounds = np.array(buckets)
        self._counts = np.zeros(len(buckets) + 1, dtype=np.int64)
        self._sum = 0.0
        self._lock = threading.Lock()

    def observe(self, values: NDArray[np.float64]) -> None:
        """Count values ``(n,)``."""
        counts = np.bincount(np.searchsorted(self._bounds, values), minlength=len(self._counts))
        with self._lock:
            self._counts += counts
            self._sum += float(values.sum())

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yield the buckets, for the registry."""
        with self._lock:
            counts, total = self._counts.cumsum().tolist(), self._sum
        names = [*map(floatToGoString, self._bounds.tolist()), "+Inf"]
        yield HistogramMetricFamily(self._name, self._text, list(zip(names, counts, strict=True)), total)


class Metrics:
    """The metrics of one daemon, in a registry of its own: tests run several daemons in one process."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # one more series for each counter, which is not needed
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)  # memory, time and open files of the process
        self._lock = threading.Lock()
        self._totals: dict[tuple[int, str], int] = {}

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"ptycholive_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"ptycholive_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"ptycholive_{name}", text, labels, registry=registry, buckets=buckets)

        self.frames_received = counter(
            "frames_received", "Frame messages received, including duplicates and refused frames."
        )
        self.frames_stitched = counter("frames_stitched", "Frames stitched into a mosaic.")
        self.frames_refused = counter("frames_refused", "Frames not stitched, by reason.", "reason")
        self.stream_bytes = counter("stream_bytes", "Bytes received.", "stream")
        self.stream_connected = gauge("stream_connected", "1 while the stream has a peer.", "stream")
        self.handshake_failures = counter("stream_handshake_failures", "Failed handshakes.", "stream")
        self.queue_depth = gauge("queue_depth", "Items in the queue of a stage.", "stage")
        self.queue_bytes = gauge("queue_bytes", "Bytes in the queue of a stage.", "stage")
        self.stage_seconds = histogram("stage_seconds", "Time for one batch in a stage, s.", STAGE_BUCKETS, "stage")
        self.frame_latency = BatchHistogram(
            "ptycholive_frame_latency_seconds",
            "Time from receiving a frame to publishing an update that shows it, s.",
            LATENCY_BUCKETS,
        )
        registry.register(self.frame_latency)
        self.batch_frames = histogram("batch_frames", "Frames per batch on the device.", BATCH_BUCKETS)
        self.snapshots_published = counter("snapshots_published", "Layer updates published.")
        self.subscribers = gauge("subscribers", "Connected viewers, over ZeroMQ and in browsers.")
        self.rfactor = gauge("rfactor", "R-factor of a layer of the newest scan.", "layer")
        self.expected_correlation = gauge(
            "expected_correlation",
            "Expected phase correlation with the truth, for a layer of the newest scan.",
            "layer",
        )
        self.position_error = gauge(
            "position_error_px",
            "Mean distance between measured and found positions of the newest scan whose positions were found, px.",
        )
        self.frc_nm = gauge(
            "frc_nm",
            "Resolution of the newest scan by Fourier ring correlation of two halves of its frames, nm.",
            "layer",
        )
        self.frc_no_gain = gauge("frc_no_gain_seconds", "Time without a gain in this resolution, s.", "layer")
        self.refine_updates = counter("refine_updates", "Updates of the refined layer, counted in frames.")
        self.coverage = gauge(
            "coverage_ratio",
            "Share of the rectangle around the newest scan's picture that has more than 5 % of the largest weight.",
        )
        self.model_generation = gauge("model_generation", "Generation of the active model.")
        self.scans = counter("scans", "Closed scans, by verdict.", "verdict")
        self.scan_frames_pending = gauge(
            "scan_frames_pending", "Frames received but not yet stitched, refused or given up."
        )
        self.device_memory = gauge("device_memory_bytes", "Memory held on the device.")
        self.stage_failures = counter(
            "stage_failures", "Internal errors of a stage; the stage continues after each.", "stage"
        )
        self.backlog_frames = gauge("backlog_frames", "Frames on disk that wait for the device.")
        self.backlog_age = gauge(
            "backlog_age_seconds",
            "Waiting time of the oldest frame that waits for the device, in memory or on disk, s.",
        )
        self.journal_bytes = gauge("journal_bytes", "Size of the journal.")
        self.journal_skipped = counter("journal_frames_skipped", "Frames that could not be written to the journal.")
        self.journal_behind = gauge(
            "journal_behind", "1 while the daemon accepts frames without writing them to the journal first."
        )
        self.http_refused = counter(
            "http_refused", "HTTP requests and connections that the daemon refused or ended, by reason.", "reason"
        )
        self.sink_deliveries = counter("sink_deliveries", "Deliveries to a sink, by result.", "sink", "result")
        self.finetune_steps = counter("finetune_steps", "Training steps of fine-tuning.")
        self.finetune_loss = gauge("finetune_loss", "Training loss of fine-tuning.")
        self.finetune_heldout_rfactor = gauge("finetune_heldout_rfactor", "R-factor on held-out frames.", "model")
        self.finetune_promotions = counter("finetune_promotions", "Fine-tuning candidates, by result.", "result")
        self.frames_lost = counter("frames_lost", "Frames missing from the pictures of closed scans, by cause.", "why")
        self.misfits = counter(
            "misfits", "Scans whose first frames showed that patterns, positions or probe do not fit."
        )
        self.phase = gauge("phase", "1 for the current phase of the daemon, 0 for the others.", "phase")
        self.assessment = gauge("assessment", "1 for the grade of the newest scan, 0 for the others.", "grade")
        self.webhook_messages = counter("webhook_messages", "Messages of the webhook, by result.", "result")
        self.degraded = gauge("degraded", "1 while a lasting fault exists; the status names it.")
        self.disk_size = gauge("disk_size_bytes", "Size of the disk that holds a folder of the daemon.", "folder")
        self.disk_free = gauge(
            "disk_free_bytes", "Free space for the daemon on the disk that holds a folder of it.", "folder"
        )
        self.products_waiting = gauge("products_waiting", "Products of ended scans that could not be written yet.")
        self.worker_up = gauge("worker_up", "1 while a worker of the cluster takes frames.", "worker")
        self.worker_restarts = gauge("worker_restarts", "How often a worker was lost and started again.", "worker")
        self.worker_frames_stitched = gauge("worker_frames_stitched", "Frames that a worker has stitched.", "worker")
        self.worker_frames_waiting = gauge("worker_frames_waiting", "Frames that wait for a worker.", "worker")
        self.worker_tiles_age = gauge(
            "worker_tiles_age_seconds", "Time since a worker's part of a picture changed, s.", "worker"
        )
        self.exposed: Callable[[], CollectorRegistry] = lambda: registry
        self.build = Info("ptycholive_build", "Version, torch, device.", registry=registry)
        self._make_known_labels()

    def _make_known_labels(self) -> None:
        """Start each counter at 0: Prometheus does not count the step from no series to 1."""
        known: tuple[tuple[Counter | Gauge | Histogram, tuple[str, ...]], ...] = (
            (self.frames_refused, tuple(RefusalReason)),
            (self.frames_lost, LOSSES),
            (self.http_refused, tuple(HttpRefusal)),
            (self.scans, (ScanState.COMPLETE, ScanState.INCOMPLETE, ScanState.STOPPED)),
            (self.stage_failures, ("intake", "engine", "status", "finetune")),
            (self.finetune_promotions, ("promoted", "kept", "worse", "diverged")),
            (self.handshake_failures, ("frames", "positions", "metadata", "publish")),
            (self.stage_seconds, STAGES),
            (self.queue_depth, ("decode", "engine")),
            (self.queue_bytes, ("decode", "engine")),
            (self.phase, tuple(Phase)),
            (self.assessment, tuple(Grade)),
            (self.webhook_messages, ("ok", "failed", "dropped")),
        )
        for metric, labels in known:
            for label in labels:
                metric.labels(label)

    def set_grade(self, grade: Grade) -> None:
        """Set the grade of the newest scan."""
        for one in Grade:
            self.assessment.labels(one).set(one == grade)

    def set_state(self, phase: Phase, is_degraded: bool) -> None:
        """Set the phase of the daemon, and whether a lasting fault exists."""
        for name in Phase:
            self.phase.labels(name).set(name == phase)
        self.degraded.set(is_degraded)

    def start_scan(self) -> None:
        """Drop the figures of the scan before: those of the new one are not known yet."""
        self.rfactor.clear()
        self.expected_correlation.clear()
        self.coverage.set(0)
        self.set_resolution(None, None)

    def set_resolution(self, frc_nm: float | None, no_gain_s: float | None) -> None:
        """Set the resolution of the refined layer; without one there is no series."""
        for metric, value in ((self.frc_nm, frc_nm), (self.frc_no_gain, no_gain_s)):
            if value is None:
                metric.clear()
            else:
                metric.labels("refined").set(value)

    def count_scan(self, state: ScanState, verdict: VerdictFields) -> None:
        """Count a closed scan and the frames that it lacks."""
        self.scans.labels(state).inc()
        for why in LOSSES:
            lost = verdict[why]
            self.frames_lost.labels(why).inc(sum(lost.values()) if isinstance(lost, dict) else lost)

    def watch_disk(self, name: str, folder: Path) -> None:
        """Measure the disk of a folder at each scrape; NaN if that fails."""
        self.disk_size.labels(name).set_function(_disk_bytes(folder, "total"))
        self.disk_free.labels(name).set_function(_disk_bytes(folder, "free"))

    def set_stream(self, name: str, is_connected: bool, total_bytes: int, handshake_failures: int) -> None:
        """Set the metrics of a stream to the totals of its receiver."""
        self.stream_connected.labels(name).set(is_connected)
        self._raise_to(self.stream_bytes, name, total_bytes)
        self.set_handshake_failures(name, handshake_failures)

    def set_handshake_failures(self, name: str, total: int) -> None:
        """Set the number of failed handshakes of a socket to its total."""
        self._raise_to(self.handshake_failures, name, total)

    def _raise_to(self, counter: Counter, name: str, total: int) -> None:
        with self._lock:
            known = self._totals.get((id(counter), name), 0)
            (counter.labels(name) if name else counter).inc(max(0, total - known))
            self._totals[id(counter), name] = max(total, known)

    def set_journal(self, size_bytes: int, skipped: int, is_behind: bool) -> None:
        """Set the metrics of the journal."""
        self.journal_bytes.set(size_bytes)
        self.journal_behind.set(is_behind)
        self._raise_to(self.journal_skipped, "", skipped)

    def count_http_refused(self, reason: HttpRefusal) -> None:
        """Count a request or connection that was refused or ended."""
        self.http_refused.labels(reason).inc()

    def count_sink(self, kind: str, result: str) -> None:
        """Count a delivery to a sink."""
        self.sink_deliveries.labels(kind, result).inc()

    def value(self, sample: str, **labels: str) -> float | None:
        """Return a sample's value, or None before it has one."""
        known = self.registry.restricted_registry([sample])  # only the metric of that name is collected
        found = (one for metric in known.collect() for one in metric.samples)
        return next((one.value for one in found if one.name == sample and one.labels == labels), None)

    def text(self) -> tuple[bytes, str]:
        """Return the exposition and its content type."""
        return generate_latest(self.exposed()), CONTENT_TYPE_LATEST


def _disk_bytes(folder: Path, what: str) -> Callable[[], float]:
    def measure() -> float:
        try:
            return float(getattr(shutil.disk_usage(folder), what))
        except OSError:
            return math.nan

    return measure
