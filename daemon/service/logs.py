"""The daemon's log on stderr: one line for each event, as text or JSON; repeated lines are counted instead of written.

Lines of the same logger, level and format are one kind, whatever values they contain. ``BURST`` lines of each kind are
written within ``WINDOW_S``; further ones are counted, and one line states their number at the end of that time.
"""

from __future__ import annotations

import codecs
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
"""Lines of a kind that are written in a window: enough to see that they repeat."""
WINDOW_S = 10.0
"""Seconds in which lines of a kind are counted: at most 30 lines a minute of each."""
MAX_KINDS = 1000
"""Kinds that are counted; the code has some hundred, a hostile sender must not make more."""
MAX_MESSAGE = 2000
"""Characters of a line: a long sentence, but not the content of a file."""
INNER_FRAMES = 3
"""Innermost places of a traceback that the text format shows."""

log = logging.getLogger(__name__)

codecs.lookup("unicode_escape")  # loaded now: its module cannot be opened when too many files are open


class TextFormatter(logging.Formatter):
    """``2026-11-24T13:48:02.123Z WARNING daemon.engine: words``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        fault = f" [{_fault_words(record)}]" if _has_fault(record) else ""
        return f"{_when(record)} {record.levelname} {record.name}: {_words(record)}{fault}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the message and traceback of an exception."""

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
    """Writes lines, and limits those of one kind."""

    def __init__(self, stream: TextIO, *, window_s: float = WINDOW_S, burst: int = BURST) -> None:
        super().__init__(stream)
        self._window_s = window_s
        self._burst = burst
        self._kinds: dict[tuple[str, int, str], _Kind] = {}
        self._timer: threading.Timer | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line, or count it. The caller holds the handler's lock."""
        now = time.monotonic()
        self._write_counts(now)
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
        """Write the numbers of lines that were held back, if due."""
        self.acquire()
        try:
            self._timer = None
            self._write_counts(float("inf") if everything else time.monotonic())
            if any(kind.held_back for kind in self._kinds.values()):
                self._start_timer()
        finally:
            self.release()

    def _start_timer(self) -> None:
        self._timer = threading.Timer(self._window_s, self.flush_counts)
        self._timer.daemon = True
        self._timer.start()

    def close(self) -> None:
        """Write the numbers of lines that were held back, and close."""
        if self._timer is not None:
            self._timer.cancel()
        self.flush_counts(everything=True)
        super().close()

    def _write_counts(self, now: float) -> None:
        for key in [key for key, kind in self._kinds.items() if now - kind.began >= self._window_s]:
            kind = self._kinds.pop(key)
            if kind.held_back:
                first = kind.first
                words = f"{kind.held_back} more like: {_words(first)}"
                super().emit(logging.LogRecord(first.name, first.levelno, "", 0, words, args=(), exc_info=None))


def start_logging(options: Log, stream: TextIO | None = None) -> None:
    """Configure all loggers of the process."""
    handler = FoldingHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonFormatter() if options.format == "json" else TextFormatter())
    logging.basicConfig(handlers=[handler], level=options.level.upper(), force=True)
    logging.captureWarnings(True)
    threading.excepthook = _log_end_of_thread


def _log_end_of_thread(end: threading.ExceptHookArgs) -> None:
    if end.exc_value is not None and not isinstance(end.exc_value, SystemExit):
        name = "?" if end.thread is None else end.thread.name
        fault = (end.exc_type, end.exc_value, end.exc_traceback)
        log.critical("the thread %s ended with an exception", name, exc_info=fault)


def _when(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _words(record: logging.LogRecord) -> str:
    return _on_one_line(record.getMessage())


def _has_fault(record: logging.LogRecord) -> bool:
    return bool(record.exc_info) and record.exc_info != (None, None, None)


def _fault_words(record: logging.LogRecord) -> str:
    """Return type, message and innermost places of an exception, on one line."""
    kind, fault, trace = record.exc_info or (None, None, None)
    places = [
        f"{frame.name} {frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in traceback.extract_tb(trace)
    ]
    inner = " < ".join(reversed(places[-INNER_FRAMES:]))
    name = "fault" if kind is None else kind.__name__
    return _on_one_line(f"{name}: {fault}" + (f" in {inner}" if inner else ""))


def _on_one_line(words: str) -> str:
    """Return a text of bounded length without control characters, which a terminal or a log reader would execute."""
    clean = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words[:MAX_MESSAGE])
    return clean if len(words) <= MAX_MESSAGE else f"{clean}… ({len(words)} characters)"
