"""One sink's thread: takes what happens from the hub into a bounded queue, and hands it to the sink at the sink's pace."""

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
TRIES = 5
FIRST_WAIT_S = 1.0
SLOW_S = 30.0

log = logging.getLogger(__name__)
Count = Callable[[str, str], None]
Result = Literal["ok", "failed", "dropped"]


class Delivery:
    """Serves one sink; a slow one loses intermediate pictures, then the oldest events, and is named.

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
        self._changed_scans: dict[str, None] = {}
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
        """What is wrong with it, in words; None if nothing is."""
        since = self._busy_since
        if since is not None and time.monotonic() - since > SLOW_S:
            return f"the sink {self.kind} has been busy with one thing for {time.monotonic() - since:.0f} s"
        return self._failure

    def status(self) -> SinkStatus:
        """Return what it has done."""
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
        """Follow the hub from now on."""
        self._hub.subscribe(self._take)
        self._thread.start()

    def stop(self, wait_s: float) -> None:
        """Deliver what waits, close; a sink that takes longer than ``wait_s`` is left behind."""
        self._hub.unsubscribe(self._take)
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(wait_s)
        if self._thread.is_alive():
            log.warning("the sink %s did not end within %.0f s and is left behind", self.kind, wait_s)

    # the publishing thread

    def _take(self, event: HubEvent) -> None:
        with self._changed:
            if event.scan is not None:
                if len(self._events) >= MAX_EVENTS:
                    self._events.popleft()
                    self._note("dropped", f"the sink {self.kind} is too slow: events of scans were dropped")
                self._events.append(event.scan)
            elif event.topic == "layer" and self._sink.wants_pictures:
                self._changed_scans[event.scan_id] = None
                while len(self._changed_scans) > MAX_EVENTS:
                    del self._changed_scans[next(iter(self._changed_scans))]
            else:
                return
            self._changed.notify_all()

    # the sink's thread

    def _run(self) -> None:
        while (job := self._next_job()) is not None:
            job()
        try:
            self._sink.close()
        except Exception:
            log.exception("the sink %s did not close well", self.kind)

    def _next_job(self) -> Callable[[], None] | None:
        """Return what is to do next, waiting for it; None when all is done and the daemon stops."""
        with self._changed:
            while True:
                if self._events:
                    scan_id = self._events[0]["scan_id"]
                    if self._events[0]["state"] == "ended" and scan_id in self._changed_scans:
                        del self._changed_scans[scan_id]
                        return lambda: self._show(scan_id)
                    news = self._events.popleft()
                    return lambda: self._deliver(news)
                if self._stopping.is_set():
                    return None
                wait_s = self._next_picture - time.monotonic() if self._changed_scans else None
                if wait_s is not None and wait_s <= 0:
                    first = next(iter(self._changed_scans))
                    del self._changed_scans[first]
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
        """Call the sink; each try that fails is counted, and the next one waits twice as long."""
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
            except Exception as fault:  # whatever a plug-in does, the scan goes on
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
