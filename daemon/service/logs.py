"""What the daemon writes to stderr: one line an event, as text or JSON, and no flood of the same words.

Lines of the same origin and wording (whatever numbers they carry) are one kind. Of each kind ``BURST`` lines are written
within ``WINDOW_S``; further ones are counted, and one line says how many there were when the time is over.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TextIO

from daemon.config import Log

BURST = 5
WINDOW_S = 10.0
MAX_KINDS = 1000
MAX_MESSAGE = 2000
INNER_FRAMES = 3

log = logging.getLogger(__name__)


class TextFormatter(logging.Formatter):
    """``2026-11-24T13:48:02.123Z WARNING daemon.engine: words``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        fault = f" [{_fault_words(record)}]" if _has_fault(record) else ""
        return f"{_when(record)} {record.levelname} {record.name}: {_words(record)}{fault}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and of a fault its words and traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        line: dict[str, Any] = {
            "time": _when(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "thread": record.threadName,
            "message": _words(record),
        }
        if _has_fault(record) and record.exc_info:
            line["fault"] = _fault_words(record)
            line["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(line)


@dataclass(slots=True)
class _Kind:
    began: float
    written: int
    first: logging.LogRecord
    held_back: int = 0


class FoldingHandler(logging.StreamHandler[TextIO]):
    """Writes lines, those of one kind only so often."""

    def __init__(self, stream: TextIO, *, window_s: float = WINDOW_S, burst: int = BURST) -> None:
        super().__init__(stream)
        self._window_s = window_s
        self._burst = burst
        self._kinds: dict[tuple[str, int, str], _Kind] = {}
        self._timer: threading.Timer | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line, or count it (the caller holds the handler's lock)."""
        now = time.monotonic()
        self._say_what_was_held_back(now)
        key = (record.name, record.levelno, str(record.msg))
        kind = self._kinds.get(key)
        if kind is None:
            if len(self._kinds) >= MAX_KINDS:
                self._kinds.pop(next(iter(self._kinds)))
            kind = self._kinds[key] = _Kind(now, 0, record)
        if kind.written < self._burst:
            kind.written += 1
            super().emit(record)
            return
        kind.held_back += 1
        if self._timer is None:
            self._start_timer()

    def flush_counts(self, everything: bool = False) -> None:
        """Say what was held back and is due."""
        self.acquire()
        try:
            self._timer = None
            self._say_what_was_held_back(float("inf") if everything else time.monotonic())
            if any(kind.held_back for kind in self._kinds.values()):
                self._start_timer()
        finally:
            self.release()

    def _start_timer(self) -> None:
        self._timer = threading.Timer(self._window_s, self.flush_counts)
        self._timer.daemon = True
        self._timer.start()

    def close(self) -> None:
        """Say what was held back, and close."""
        if self._timer is not None:
            self._timer.cancel()
        self.flush_counts(everything=True)
        super().close()

    def _say_what_was_held_back(self, now: float) -> None:
        for key in [key for key, kind in self._kinds.items() if now - kind.began >= self._window_s]:
            kind = self._kinds.pop(key)
            if kind.held_back:
                first = kind.first
                words = f"{kind.held_back} more like: {_words(first)}"
                super().emit(logging.LogRecord(first.name, first.levelno, "", 0, words, (), None))


def start_logging(options: Log, stream: TextIO | None = None) -> None:
    """Have every logger of the process write as the configuration says."""
    handler = FoldingHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonFormatter() if options.format == "json" else TextFormatter())
    logging.basicConfig(handlers=[handler], level=options.level.upper(), force=True)
    logging.captureWarnings(True)
    threading.excepthook = _log_end_of_thread


def _log_end_of_thread(end: threading.ExceptHookArgs) -> None:
    if end.exc_value is not None and not isinstance(end.exc_value, SystemExit):
        name = "?" if end.thread is None else end.thread.name
        fault = (end.exc_type, end.exc_value, end.exc_traceback)
        log.critical("the thread %s ended by a fault", name, exc_info=fault)


def _when(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _words(record: logging.LogRecord) -> str:
    return _on_one_line(record.getMessage())


def _has_fault(record: logging.LogRecord) -> bool:
    return bool(record.exc_info) and record.exc_info != (None, None, None)


def _fault_words(record: logging.LogRecord) -> str:
    """Return a fault's kind, words and innermost places, without line breaks."""
    kind, fault, trace = record.exc_info or (None, None, None)
    places = [
        f"{frame.name} {frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in traceback.extract_tb(trace)
    ]
    inner = " < ".join(reversed(places[-INNER_FRAMES:]))
    name = "fault" if kind is None else kind.__name__
    return _on_one_line(f"{name}: {fault}" + (f" in {inner}" if inner else ""))


def _on_one_line(words: str) -> str:
    """Return words without control characters, which a terminal or a log reader would obey, and of bounded length."""
    clean = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words[:MAX_MESSAGE])
    return clean if len(words) <= MAX_MESSAGE else f"{clean}… ({len(words)} characters)"
