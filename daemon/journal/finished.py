"""Single frames of finished scans, from their closed journals."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from daemon.errors import JournalError
from daemon.journal.patterns import unpack
from daemon.journal.scan_log import ScanLog, segments
from streams.errors import CodecError

log = logging.getLogger(__name__)


class FinishedFrames:
    """Reads the journal of one finished scan at a time; safe from any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._scan_id = ""
        self._log: ScanLog | None = None

    def read(self, scan_id: str, index: int) -> NDArray[Any] | None:
        """Return the counts ``(rows, columns)`` of a frame; None where the journal does not have it any more."""
        with self._lock:
            try:
                self._open(scan_id)
                record = None if self._log is None else self._log.read(index)
                return None if record is None or record.packed is None else unpack(record.packed)
            except (JournalError, CodecError, OSError) as fault:
                log.warning("scan %s, frame %d: %s", scan_id, index, fault)
                return None

    def _open(self, scan_id: str) -> None:
        if scan_id == self._scan_id and self._log is not None:
            return
        if self._log is not None:
            self._log.close()
        folder = self._folder / scan_id
        self._scan_id, self._log = scan_id, ScanLog(folder) if segments(folder) else None
        if self._log is not None:
            for _ in self._log.records():  # notes the place of each frame
                pass
