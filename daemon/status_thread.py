"""The thread that publishes the status twice a second: to viewers, metrics and systemd."""

from __future__ import annotations

import logging
import threading

from daemon.messages import Phase
from daemon.metrics import Metrics
from daemon.outlets import Outlets
from daemon.publish.hub import UpdateHub
from daemon.service.allocator import release_memory
from daemon.service.descriptors import reserve
from daemon.service.systemd import Systemd
from daemon.status.report import StatusReport

TICK_S = 0.5
"""Between two status messages: a person sees the daemon live."""
TIDY_FIRST, TIDY_EVERY = 2, 20
"""Ticks: memory goes back soon after the last scan, and again, since that scan is improved and slow viewers go later."""

log = logging.getLogger(__name__)


class StatusThread:
    """Tells the status until ``stopping`` is set."""

    def __init__(
        self,
        view: StatusReport,
        outlets: Outlets,
        hub: UpdateHub,
        *,
        metrics: Metrics,
        systemd: Systemd,
        stopping: threading.Event,
    ) -> None:
        self._view = view
        self._outlets = outlets
        self._hub = hub
        self._metrics = metrics
        self._systemd = systemd
        self._stopping = stopping
        self._idle_ticks = 0
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def join(self) -> None:
        """Wait for its end, where it has been started."""
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(TICK_S):
            try:
                self._tick()
            except Exception:  # the watchdog is not fed then, which is right if it does not pass
                log.exception("the status could not be published")
                self._metrics.stage_failures.labels("status").inc()

    def _tick(self) -> None:
        reserve.look()
        status = self._view.tick()
        self._outlets.history.look()
        self._hub.publish_status(status)
        self._metrics.set_state(status["phase"], bool(status["degraded"]))
        self._metrics.set_grade(status["assessment"]["grade"])
        self._idle_ticks = self._idle_ticks + 1 if status["phase"] == Phase.IDLE else 0
        if self._idle_ticks % TIDY_EVERY == TIDY_FIRST:
            release_memory()
        self._systemd.notify(f"STATUS={status['sentence']}", *["WATCHDOG=1"] * self._view.health.is_alive)
