"""Counts refused messages by stream and reason, and logs each kind once."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, defaultdict

from daemon.metrics import Metrics
from streams.refusal_reasons import RefusalReason

__all__ = ["Refusals"]

FAULT_SHOWN_S = 30.0
"""The status shows the latest fault for this time."""
MOST_SAID = 1024
"""Kinds of refusals that are remembered to log each once; bounded, since senders choose the names of scans."""

log = logging.getLogger(__name__)


class Refusals:
    """Counts; safe from any thread.

    A message that a receiver cannot hand on, one that a reader or codec refuses, and a frame that is refused later all come
    here. Those of a scan are in its account as well.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._lock = threading.Lock()
        self._counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._said: set[tuple[str, str, str | None]] = set()
        self._last: tuple[float, str] | None = None

    @property
    def last(self) -> str | None:
        """The fault of the latest refused message, for a short time."""
        last = self._last
        return last[1] if last is not None and time.monotonic() - last[0] < FAULT_SHOWN_S else None

    def say(self, words: str) -> None:
        """Take a fault that no message was refused for as the latest."""
        self._last = (time.monotonic(), words)

    def add(self, stream: str, reason: RefusalReason, words: str = "", scan_id: str | None = None) -> None:
        """Count a message of a stream; its words are logged the first time in a scan."""
        self._metrics.frames_refused.labels(reason).inc()
        key = (stream, reason, scan_id)
        with self._lock:
            self._counts[stream][reason] += 1
            is_new = bool(words) and key not in self._said
            if is_new:
                if len(self._said) >= MOST_SAID:
                    self._said.clear()
                self._said.add(key)
        if is_new:
            log.warning("%s stream: refused (%s): %s; further ones are counted alone", stream, reason, words)
        if words:
            self.say(words)

    def of(self, stream: str) -> dict[str, int]:
        """Return how many messages of a stream were refused, by reason."""
        with self._lock:
            return dict(self._counts[stream])
