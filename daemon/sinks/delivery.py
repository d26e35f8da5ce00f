"""The thread of one sink: queues the hub's events within a bound, and delivers them to the sink at its own pace."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from daemon.config import SinkOptions
from daemon.messages import ScanNews, SinkStatus
from daemon.publish.hub import HubEvent, UpdateHub
from daemon.publish.snapshot import LayerCanvas
from daemon.sinks.base import Sink

MAX_EVENTS = 256
"""Events that wait for a slow sink, of a hundred scans; older ones are dropped."""
TRIES = 5
"""Deliveries of a scan's end that are tried."""
FIRST_WAIT_S = 1.0
"""Wait before the second try; doubled each time, so that five tries take at least 15 s."""
SLOW_S = 30.0
"""Duration of one delivery that is reported; a product of a large scan takes some seconds."""

log = logging.getLogger(__name__)
Count = Callable[[str, str], None]
Result = Literal["ok", "failed", "dropped"]


class Delivery:
    """Serves one sink. A slow sink misses intermediate pictures, then the oldest events, and is reported.

    Parameters
    ----------
    count
        Called with the sink's kind and ``ok``, ``failed`` or ``dropped``.
    """

    def __init__(self, hub: UpdateHub, sink: Sink, options: SinkOptions, count: Count) -> None:
        self._hub = hub
        self._sink = sink
        self._options = options
        self._count = count
        self._changed = threading.Condition()
        self._events: deque[ScanNews] = deque()
        self._changed_scans: deque[str] = deque()
        self._shown: tuple[str, int] = ("", 0)
        self._next_picture = 0.0
        self._is_open = False
        self._stopping = threading.Event()
        self._busy_since: float | None = None
        self._failure: str | None = None
        self._results: dict[Result, int] = {"ok": 0, "failed": 0, "dropped": 0}
        self._thread = threading.Thread(target=self._run, name=f"sink-{options.kind}", daemon=True)

    @property
    def kind(self) -> str:
        """Name of the plug-in."""
        return self._options.kind

    @property
    def trouble(self) -> str | None:
        """A sentence about the present fault; None if there is none."""
        since = self._busy_since
        if since is not None and time.monotonic() - since > SLOW_S:
            return f"the sink {self.kind} has been busy with one delivery for {time.monotonic() - since:.0f} s"
        return self._failure

    def status(self) -> SinkStatus:
        """Return the numbers of its deliveries."""
        results = self._results
        return {
            "kind": self.kind,
            "ok": results["ok"],
            "failed": results["failed"],
            "dropped": results["dropped"],
            "waiting": len(self._events),
            "trouble": self.trouble,
        }

    def start(self) -> None:
        """Start the thread and receive the hub's events."""
        self._hub.subscribe(self._take)
        self._thread.start()

    def stop(self, wait_s: float) -> None:
        """Deliver the queued events and close; a sink that takes longer than ``wait_s`` is abandoned."""
        self._hub.unsubscribe(self._take)
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(wait_s)
        if self._thread.is_alive():
            log.warning("the sink %s did not end within %.0f s and is abandoned", self.kind, wait_s)

    # called by the publishing thread

    def _take(self, event: HubEvent) -> None:
        with self._changed:
            if event.scan is not None:
                if len(self._events) >= MAX_EVENTS:
                    self._events.popleft()
                    self._note("dropped", f"the sink {self.kind} is too slow: events of scans were dropped")
                self._events.append(event.scan)
            elif event.topic == "layer" and self._sink.wants_pictures:
                if (
                    event.scan_id not in self._changed_scans
                ):  # few: those whose picture has changed since the last delivery
                    self._changed_scans.append(event.scan_id)
                if len(self._changed_scans) > MAX_EVENTS:
                    self._changed_scans.popleft()
            else:
                return
            self._changed.notify_all()

    # called by the sink's thread

    def _run(self) -> None:
        while (job := self._next_job()) is not None:
            job()
        try:
            self._sink.close()
        except Exception:
            log.exception("the sink %s failed while closing", self.kind)

    def _next_job(self) -> Callable[[], None] | None:
        """Wait for the next delivery and return it; None when all is done and the daemon stops."""
        with self._changed:
            while True:
                if self._events:
                    scan_id = self._events[0]["scan_id"]
                    if self._events[0]["state"] == "ended" and scan_id in self._changed_scans:
                        self._changed_scans.remove(scan_id)
                        return lambda: self._show(scan_id)
                    news = self._events.popleft()
                    return lambda: self._deliver(news)
                if self._stopping.is_set():
                    return None
                wait_s = self._next_picture - time.monotonic() if self._changed_scans else None
                if wait_s is not None and wait_s <= 0:
                    first = self._changed_scans.popleft()
                    return lambda: self._show(first)
                self._changed.wait(wait_s)

    def _deliver(self, news: ScanNews) -> None:
        scan_id = news["scan_id"]
        if news["state"] == "started":
            expected = news["expected"]
            self._call(lambda: self._sink.start_scan(scan_id, expected))
            return
        product, result, verdict = news["product"], news["result"], news["verdict"]
        if product is not None:
            self._call(lambda: self._sink.take_product(scan_id, Path(product)), TRIES)
        self._call(lambda: self._sink.end_scan(scan_id, result, verdict), TRIES)

    def _show(self, scan_id: str) -> None:
        picture = self._picture(scan_id)
        if picture is not None and (scan_id, picture.version) != self._shown:
            self._shown = (scan_id, picture.version)
            self._call(lambda: self._sink.show(picture))
        self._next_picture = time.monotonic() + self._options.period_s

    def _picture(self, scan_id: str) -> LayerCanvas | None:
        wanted = self._options.layer
        other = "network" if wanted == "refined" else "refined"
        return self._hub.canvas(scan_id, wanted) or self._hub.canvas(scan_id, other)

    def _call(self, deliver: Callable[[], None], tries: int = 1) -> None:
        """Call the sink; each failed try is counted, and the wait before the next one doubles."""
        wait_s = FIRST_WAIT_S
        for k in range(tries):
            if k > 0 and self._stopping.wait(wait_s):
                break
            wait_s *= 2 if k else 1
            self._busy_since = time.monotonic()
            try:
                if not self._is_open:
                    self._sink.open()
                    self._is_open = True
                deliver()
            except Exception as fault:  # a plug-in must not end the thread or the scan
                log.warning("the sink %s failed", self.kind, exc_info=True)
                self._note("failed", f"the sink {self.kind} failed: {str(fault)[:200] or type(fault).__name__}")
            else:
                self._note("ok", None)
                return
            finally:
                self._busy_since = None

    def _note(self, result: Result, failure: str | None) -> None:
        with self._changed:
            self._results[result] += 1
            self._failure = failure
        self._count(self.kind, result)
