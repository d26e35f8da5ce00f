"""The engine's publications: layers to viewers, labels to the fine-tuning, checkpoints to disk, each in its time.

Publishing takes a third of the time at most, checkpoints a fiftieth: where they take long they come less often.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

import numpy as np

from daemon.engine.options import EngineOptions
from daemon.engine.outgoing import Sender
from daemon.engine.ports import EngineEvents, FrameLearner
from daemon.engine.scan import ScanWork
from daemon.engine.scan_output import outgoing_update, scan_result
from daemon.engine.sums import SumsPort, sums_update
from daemon.metrics import Metrics
from daemon.publish.snapshot import LayerName
from ptychopinn.device import to_host

REFINED_PERIOD_S = 0.4
REFINED_BYTES_PER_S = 25e6
PUBLISH_SHARE, CHECKPOINT_SHARE = 0.5, 0.02  # of the time between two
LABELS, LABEL_VISITS = 16, 8
COVERAGE_PERIOD_S = 5.0
"""Time between two measurements of the covered share, s: each reads the weight of the whole canvas, some ms."""


Attempt = Callable[[ScanWork, str, Callable[[], Any], Callable[[], None]], bool]


class Publishing:
    """Used by the engine's thread alone; ``latency_s`` and ``learner`` by others too."""

    def __init__(
        self, options: EngineOptions, metrics: Metrics, events: EngineEvents, on_fault: Callable[[str], None]
    ) -> None:
        self._options = options
        self._metrics = metrics
        self._events = events
        self._sender = Sender(events.on_update, on_fault)
        self._next = time.monotonic()
        self._next_checkpoint = time.monotonic() + options.checkpoint_s
        self._next_coverage = 0.0
        self.learner: FrameLearner | None = None
        self.latency_s: float | None = None

    @property
    def wait_s(self) -> float:
        """Time until the next publication, not below 0."""
        return max(0.0, self._next - time.monotonic())

    def publish_due(self, works: Collection[ScanWork], attempt: Attempt) -> bool:
        """Publish every open scan, and write checkpoints, if it is time; whether it was."""
        begun = time.monotonic()
        if begun < self._next:
            return False
        for work in works:
            publish = partial(self.publish, work, is_complete=False)
            attempt(work, "publishing", publish, work.drop_refined)
        self._checkpoint_due(works, attempt)
        now = time.monotonic()
        self._next = max(begun + self._options.publish_period_s, now + (now - begun) / PUBLISH_SHARE)
        return True

    def publish(self, work: ScanWork, *, is_complete: bool) -> None:
        """Publish what has changed in a scan's layers; ``is_complete`` where nothing more is to come.

        The updates are handed on in another thread. A complete one is waited for, as its scan is closed then.
        """
        if self._sender.is_full and not is_complete:
            return
        with self._metrics.stage_seconds.labels("publish").time():
            waiting_ns, work.waiting_ns = work.waiting_ns, []
            if self._events.sums is not None:
                self._hand_sums(work, self._events.sums, is_complete=is_complete)
            else:
                self._emit(work, "network", is_complete, partial(self._note_latency, waiting_ns))
            if work.refiner is not None and (is_complete or time.monotonic() >= work.next_refined):
                if not is_complete:
                    work.refiner.admit_all()
                    work.scores.estimate()
                size_bytes = self._emit(work, "refined", is_complete)
                if self.learner is not None:
                    for index, patch in work.refiner.settled(LABELS, LABEL_VISITS):
                        self.learner.label(work.scan_id, index, np.asarray(to_host(patch)))
                work.next_refined = time.monotonic() + max(REFINED_PERIOD_S, size_bytes / REFINED_BYTES_PER_S)
            if self._events.is_newest(work.scan_id):
                self._show_scores(work)
        if is_complete:
            self._sender.flush()

    def flush(self) -> None:
        """Wait until all updates have been handed on."""
        self._sender.flush()

    def _hand_sums(self, work: ScanWork, port: SumsPort, *, is_complete: bool) -> None:
        if (is_complete or port.wants()) and (update := sums_update(work, is_complete=is_complete)) is not None:
            port.take(update)

    def _show_scores(self, work: ScanWork) -> None:
        if time.monotonic() >= self._next_coverage:
            self._metrics.coverage.set(work.coverage)
            self._next_coverage = time.monotonic() + COVERAGE_PERIOD_S
        for layer, value in work.scores.rfactors.items():
            self._metrics.rfactor.labels(layer).set(value)
        if work.scores.certainty is not None:
            self._metrics.expected_correlation.labels("refined").set(work.scores.certainty.expected_correlation)
        found, pixel_size_m = work.resolution.latest, work.pixel_size_m
        if found is not None and pixel_size_m is not None:
            self._metrics.set_resolution(found.frc_nm(pixel_size_m), found.no_gain_s)
        else:
            self._metrics.set_resolution(None, None)

    def _checkpoint(self, work: ScanWork) -> None:
        self._events.on_checkpoint(scan_result(work))

    def _checkpoint_due(self, works: Collection[ScanWork], attempt: Attempt) -> None:
        begun = time.monotonic()
        if begun < self._next_checkpoint:
            return
        for work in works:
            if work.stitched and work.finish_by is None:  # the product of one that has ended comes at once
                attempt(work, "the checkpoint", partial(self._checkpoint, work), lambda: None)
        now = time.monotonic()
        self._next_checkpoint = now + max(self._options.checkpoint_s, (now - begun) / CHECKPOINT_SHARE)

    def _emit(
        self, work: ScanWork, layer: LayerName, is_complete: bool, on_sent: Callable[[], None] = lambda: None
    ) -> int:
        outgoing = outgoing_update(
            work,
            layer,
            frames_received=self._events.frames_received(work.scan_id),
            time_ns=time.time_ns(),
            is_complete=is_complete,
        )
        if outgoing is None:
            on_sent()
            return 0
        self._sender.put(outgoing, on_sent)
        self._metrics.snapshots_published.inc()
        return outgoing.nbytes

    def _note_latency(self, waiting_ns: Sequence[int]) -> None:
        """Note how long frames took until they were handed on; in the thread that does."""
        if not waiting_ns:
            return
        waited_s = (time.monotonic_ns() - np.array(waiting_ns, dtype=np.int64)) / 1e9
        self._metrics.frame_latency.observe(waited_s)
        self.latency_s = float(np.median(waited_s))
