"""The journal of all scans: one thread writes records, many with one ``fdatasync``.

:meth:`Journal.commit` waits until the records are on the disk, but not long: if the disk is full or does not respond for a
second, the daemon continues without the journal and reports it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from daemon.errors import JournalError
from daemon.journal.batch import RecordBatch
from daemon.journal.folder import LOOSE, JournalFolder
from daemon.journal.patterns import unpack
from daemon.journal.record import Record
from daemon.journal.scan_log import SEGMENT_BYTES, ScanLog
from daemon.service.descriptors import reserve
from daemon.service.disk import fault_words, is_full
from streams.errors import CodecError

COMMIT_WAIT_S = 1.0
"""Longest wait of a commit: a busy disk needs up to about 0.1 s, and frames wait in the receive queue meanwhile."""
MAX_QUEUED_BYTES = 64 << 20
"""Records that wait in memory for a slow disk, 64 MiB: some thousand frames. Later ones are skipped."""
RETRY_S = 5.0
"""Time from a fault of the disk to the next try: a full or broken disk seldom recovers faster."""

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Commit:
    batches: Sequence[RecordBatch]
    bytes: int
    since: float = field(default_factory=time.monotonic)
    done: threading.Event = field(default_factory=threading.Event)
    is_written: bool = True


class Journal:
    """Keeps running scans and, within ``limit_bytes``, finished ones. Safe from any thread.

    Parameters
    ----------
    folder
        Has a folder for each scan.
    limit_bytes
        Limit for all of them together.

    Attributes
    ----------
    fault
        The reason why records cannot be written now.
    skipped
        Frames that could not be written.
    """

    def __init__(self, folder: Path, limit_bytes: int, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.folder = folder
        self.fault: str | None = None
        self.skipped = 0
        self._folder = JournalFolder(folder, limit_bytes)
        self._segment_bytes = segment_bytes
        self._logs: dict[str, ScanLog] = {}
        self._queue: deque[_Commit] = deque()
        self._queued_bytes = 0
        self._changed = threading.Condition()
        self._is_closing = False
        self._retry_at = 0.0
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    @property
    def bytes(self) -> int:
        """Length of all segments, but for those of folders left alone."""
        return self._folder.bytes

    @property
    def left_alone(self) -> dict[str, str]:
        """The reason for each folder that does not belong to this journal; nothing is written or deleted there."""
        return self._folder.left_alone

    @property
    def is_lagging(self) -> bool:
        """Whether records have waited for the disk longer than a commit waits."""
        queue = self._queue
        return bool(queue) and time.monotonic() - queue[0].since > COMMIT_WAIT_S

    @property
    def trouble(self) -> str | None:
        """A sentence about the present fault; None while every record reaches the disk in time."""
        if self.fault is None and self.is_lagging:
            return f"the disk of the journal {self.folder} does not respond; frames are accepted without waiting for it"
        return self.fault

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Write the queued records, end the thread and close the files."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        for scan in self._logs.values():
            scan.close()

    def commit(self, batches: Sequence[RecordBatch]) -> bool:
        """Write records and wait for the disk; False if they are not there (yet): it is full, or does not respond in time."""
        batches = [batch for batch in batches if batch.records or batch.then != "go_on"]
        if not batches:
            return True
        commit = _Commit(batches, sum(batch.bytes for batch in batches))
        with self._changed:
            if self._is_closing or (self._queue and self._queued_bytes + commit.bytes > MAX_QUEUED_BYTES):
                self.skipped += sum(batch.frames for batch in commit.batches)
                return False
            self._queue.append(commit)
            self._queued_bytes += commit.bytes
            self._changed.notify_all()
            oldest = self._queue[0].since
        commit.done.wait(max(0.0, oldest + COMMIT_WAIT_S - time.monotonic()))
        return commit.done.is_set() and commit.is_written

    def close(self, scan_id: str) -> None:
        """Mark a scan as finished: it is not replayed, and its journal may be deleted."""
        self.commit([RecordBatch(scan_id, then="close")])

    def unfinished(self) -> list[str]:
        """Return the scans that were not finished, oldest first."""
        return self._folder.unfinished(self._logs)

    def begun(self, scan_id: str) -> str:
        """Return the time at which an unfinished scan began, as its first record says."""
        return self._folder.started(scan_id)

    def leave_alone(self, scan_id: str, reason: str) -> None:
        """Neither replay a journal nor delete it, from now on."""
        self._folder.leave_alone(scan_id, reason)

    def make_room(self, folder: Path, need_bytes: int) -> bool:
        """Delete the oldest finished scan for the full disk of ``folder``; False if that cannot give ``need_bytes``."""
        return self._folder.make_room(folder, need_bytes)

    def replay(self, scan_id: str) -> Iterator[Record]:
        """Yield the records of an unfinished scan and open it for more; frames come without pixels (see ``read``)."""
        yield from self._log(scan_id).records()

    def loose(self) -> list[Record]:
        """Return the positions that arrived before their scan."""
        return list(self._log(LOOSE).records())

    def has(self, scan_id: str, index: int) -> bool:
        """Whether a frame can be read back."""
        scan = self._logs.get(scan_id)
        return scan is not None and scan.places.get(index) is not None

    def read(self, scan_id: str, index: int) -> NDArray[Any] | None:
        """Return the counts ``(rows, columns)`` of a frame; None, and a line in the log, if it cannot be read."""
        scan = self._logs.get(scan_id)
        try:
            record = None if scan is None else scan.read(index)
            return None if record is None or record.packed is None else unpack(record.packed)
        except (JournalError, CodecError) as fault:
            log.error("scan %s, frame %d: %s", scan_id, index, fault)
            return None

    def _log(self, scan_id: str) -> ScanLog:
        scan = self._logs.get(scan_id)
        if scan is None:
            scan = self._logs[scan_id] = ScanLog(self.folder / scan_id, self._segment_bytes)
        return scan

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._is_closing:
                    self._changed.wait()
                if not self._queue:
                    return
                commits = list(self._queue)
            self._write(commits)
            with self._changed:
                for commit in commits:
                    self._queue.popleft()
                    self._queued_bytes -= commit.bytes
                    commit.done.set()

    def _write(self, commits: Sequence[_Commit]) -> None:
        """Write the records of each scan together, so that many share one ``fdatasync``.

        Positions without a scan come last: they are deleted once they are in the journal of their scan.
        """
        together: dict[str, list[tuple[RecordBatch, _Commit]]] = {}
        for commit in commits:
            for batch in commit.batches:
                together.setdefault(batch.scan_id, []).append((batch, commit))
        for scan_id, parts in sorted(together.items(), key=lambda item: item[0] == LOOSE):
            if not self._append(scan_id, [batch for batch, _ in parts]):
                for batch, commit in parts:
                    commit.is_written = False
                    self.skipped += batch.frames

    def _append(self, scan_id: str, batches: Sequence[RecordBatch]) -> bool:
        ends = {batch.then for batch in batches}
        if "delete" in ends:
            batches = batches[1 + max(i for i, batch in enumerate(batches) if batch.then == "delete") :]
            self._delete(scan_id)
        records = [record for batch in batches for record in batch.records]
        if self.fault is not None and time.monotonic() < self._retry_at and ends == {"go_on"}:
            return False
        try:
            if records:
                due = sum(batch.bytes for batch in batches)
                self._folder.reserve(due)
                self._folder.add_bytes(self._append_making_room(scan_id, records, due))
                self._clear_fault()
        except Exception as fault:  # the thread must not end, nor may a full disk stop the scan
            self._set_fault(fault)
            return False
        finally:
            if "close" in ends:
                self._close(scan_id)
        return True

    def _append_making_room(self, scan_id: str, records: Sequence[Record], need: int) -> int:
        while True:
            try:
                return reserve.lend(lambda: self._log(scan_id).append(records))
            except OSError as fault:
                if not is_full(fault) or not self._folder.make_room(self.folder, need):
                    raise JournalError(fault_words(fault, self.folder)) from fault

    def _set_fault(self, fault: Exception) -> None:
        if self.fault is None:
            log.error("the journal stops: %s", fault, exc_info=not isinstance(fault, JournalError))
        self.fault = f"frames are not kept on disk, so that a crash would lose them: {fault}"
        self._retry_at = time.monotonic() + RETRY_S

    def _clear_fault(self) -> None:
        if self.fault is not None:
            log.warning("the journal is written again")
        self.fault = None

    def _close(self, scan_id: str) -> None:
        scan = self._logs.pop(scan_id, None)
        if scan is not None:
            scan.close()
        self._folder.close(scan_id, None if scan is None else scan.bytes)

    def _delete(self, scan_id: str) -> None:
        scan = self._logs.pop(scan_id, None)
        if scan is not None:
            scan.close()
        self._folder.delete(scan_id, 0 if scan is None else scan.bytes)
