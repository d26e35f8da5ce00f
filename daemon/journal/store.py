"""The journal of all scans: one thread writes, many records with one ``fdatasync``, within a bound on disk.

A caller of :meth:`Journal.commit` waits until its records are on the disk, yet never long: where the disk does not
answer for a second, or is full, the daemon goes on without, and says so. When the bound is reached, finished scans go
first, the oldest before others.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from daemon.errors import JournalError
from daemon.journal.claims import copy_of, sort_out
from daemon.journal.patterns import unpack
from daemon.journal.record import Kind, Record
from daemon.journal.scan_log import SEGMENT_BYTES, ScanLog, bytes_of, sync_folder
from daemon.service.disk import are_on_one_disk, fault_words, free_bytes, is_full
from streams.errors import CodecError

PATIENCE_S = 1.0
LAGGING_BYTES = 64 << 20
RETRY_S = 5.0
LOOSE = ".loose"
CLOSED_NAME = "closed"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Records of one scan, in order; ``then`` says what becomes of its journal after them."""

    scan_id: str
    records: Sequence[Record] = ()
    then: Literal["go_on", "close", "delete"] = "go_on"

    @property
    def frames(self) -> int:
        """How many of them are frames."""
        return sum(record.kind == Kind.FRAME for record in self.records)

    @property
    def bytes(self) -> int:
        """Bytes of the payloads."""
        return sum(len(record.payload) for record in self.records)


@dataclass(slots=True, eq=False)
class _Job:
    batches: Sequence[Batch]
    since: float = field(default_factory=time.monotonic)
    done: threading.Event = field(default_factory=threading.Event)
    is_written: bool = True


class Journal:
    """Keeps the scans that run and, within ``limit_bytes``, those that ran. Safe from any thread.

    Parameters
    ----------
    folder
        Has a folder for each scan.
    limit_bytes
        Bound on all of them together.
    """

    def __init__(self, folder: Path, limit_bytes: int, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.folder = folder
        self._limit_bytes = limit_bytes
        self._segment_bytes = segment_bytes
        self._logs: dict[str, ScanLog] = {}
        self._finished: OrderedDict[str, int] = OrderedDict()
        self._jobs: deque[_Job] = deque()
        self._queued_bytes = 0
        self._changed = threading.Condition()
        self._is_closing = False
        self._retry_at = 0.0
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self.fault: str | None = None
        self.skipped = 0
        self.bytes = 0
        self.left_alone: dict[str, str] = {}
        """Folders that are none of this journal's, and why; nothing is written or deleted there."""
        self._unfinished: dict[str, str] = {}
        self._look_around()

    def _look_around(self) -> None:
        found = [path for path in self.folder.glob("*") if path.is_dir()]
        open_ones = [path for path in found if not (path / CLOSED_NAME).exists() and path.name != LOOSE]
        claims = sort_out(open_ones)
        self._unfinished = claims.to_play
        for name, reason in claims.left_alone.items():
            self.leave_alone(name, reason)
        for path in sorted(found, key=lambda path: path.stat().st_mtime):
            if path.name in self.left_alone:
                continue
            self.bytes += (size := bytes_of(path))
            if (path / CLOSED_NAME).exists():
                self._finished[path.name] = size

    @property
    def is_lagging(self) -> bool:
        """Whether records have waited for the disk longer than a caller waits."""
        jobs = self._jobs
        return bool(jobs) and time.monotonic() - jobs[0].since > PATIENCE_S

    @property
    def trouble(self) -> str | None:
        """What is wrong with it now, in words; None while every record reaches the disk in time."""
        if self.fault is None and self.is_lagging:
            return f"the disk of the journal {self.folder} does not answer; frames are taken without waiting for it"
        return self.fault

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, end the thread and close the files."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        for scan in self._logs.values():
            scan.close()

    def has_scan(self, scan_id: str) -> bool:
        """Whether there is a journal of that name, running or finished."""
        return scan_id in self._logs or (self.folder / scan_id).exists()

    def commit(self, batches: Sequence[Batch]) -> bool:
        """Have records on the disk; False where they are not (yet): the disk is full, or does not answer in time."""
        job = _Job([batch for batch in batches if batch.records or batch.then != "go_on"])
        if not job.batches:
            return True
        size = sum(batch.bytes for batch in job.batches)
        with self._changed:
            if self._is_closing or (self._jobs and self._queued_bytes + size > LAGGING_BYTES):
                self.skipped += sum(batch.frames for batch in job.batches)
                return False
            self._jobs.append(job)
            self._queued_bytes += size
            self._changed.notify_all()
            oldest = self._jobs[0].since
        job.done.wait(max(0.0, oldest + PATIENCE_S - time.monotonic()))
        return job.done.is_set() and job.is_written

    def close(self, scan_id: str) -> None:
        """Enter that a scan is closed: it will not be played again, and its journal may be deleted."""
        self.commit([Batch(scan_id, then="close")])

    def unfinished(self) -> list[str]:
        """Return the scans that were not closed, oldest first."""
        gone = {*self._finished, *self._logs, *self.left_alone}
        return [name for name in self._unfinished if name not in gone]

    def begun(self, scan_id: str) -> str:
        """Return when an unfinished scan began, as its start says."""
        return self._unfinished[scan_id]

    def leave_alone(self, scan_id: str, reason: str) -> None:
        """Neither play a journal again nor delete it."""
        if self._unfinished.pop(scan_id, None) is not None:
            self.bytes -= bytes_of(self.folder / scan_id)
        log.warning("%s", reason)
        self.left_alone[scan_id] = reason

    def replay(self, scan_id: str) -> Iterator[Record]:
        """Yield the records of an unfinished scan and open it for more; frames come without pixels (see ``read``)."""
        yield from self._log(scan_id).records()

    def loose(self) -> list[Record]:
        """Return the positions that came before their scan."""
        return list(self._log(LOOSE).records())

    def has(self, scan_id: str, index: int) -> bool:
        """Whether a frame can be read back."""
        scan = self._logs.get(scan_id)
        return scan is not None and scan.places.get(index) is not None

    def read(self, scan_id: str, index: int) -> NDArray[Any] | None:
        """Return the counts ``(rows, columns)`` of a frame; None, and a line in the log, if they cannot be had."""
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
                while not self._jobs and not self._is_closing:
                    self._changed.wait()
                if not self._jobs:
                    return
                jobs = list(self._jobs)
            self._write(jobs)
            with self._changed:
                for job in jobs:
                    self._jobs.popleft()
                    self._queued_bytes -= sum(batch.bytes for batch in job.batches)
                    job.done.set()

    def _write(self, jobs: Sequence[_Job]) -> None:
        """Write the records of each scan together, so that many share one ``fdatasync``.

        Positions without a scan come last: they are deleted once they are in the journal of theirs.
        """
        together: dict[str, list[tuple[Batch, _Job]]] = {}
        for job in jobs:
            for batch in job.batches:
                together.setdefault(batch.scan_id, []).append((batch, job))
        for scan_id, parts in sorted(together.items(), key=lambda item: item[0] == LOOSE):
            if not self._append(scan_id, [batch for batch, _ in parts]):
                for batch, job in parts:
                    job.is_written = False
                    self.skipped += batch.frames

    def _append(self, scan_id: str, batches: Sequence[Batch]) -> bool:
        ends = {batch.then for batch in batches}
        if "delete" in ends:
            batches = batches[1 + max(i for i, batch in enumerate(batches) if batch.then == "delete") :]
            self._delete(scan_id)
        records = [record for batch in batches for record in batch.records]
        if self.fault is not None and time.monotonic() < self._retry_at and ends == {"go_on"}:
            return False
        try:
            if records:
                self._make_room(sum(batch.bytes for batch in batches))
                self.bytes += self._append_making_room(scan_id, records)
                self._recover()
        except Exception as fault:  # the thread must not end, nor may a full disk stop the scan
            self._fail(fault)
            return False
        finally:
            if "close" in ends:
                self._put_away(scan_id)
        return True

    def _make_room(self, due: int) -> None:
        while self.bytes + due > self._limit_bytes:
            if not self.drop_oldest():
                why = "finished scans cannot be deleted, and all" if self._finished else "the running scans"
                raise JournalError(f"{why} have reached [limits] journal_bytes = {self._limit_bytes}")

    def _append_making_room(self, scan_id: str, records: Sequence[Record]) -> int:
        need = sum(len(record.payload) for record in records)
        while True:
            try:
                return self._log(scan_id).append(records)
            except OSError as fault:
                if not is_full(fault) or not self.make_room(self.folder, need):
                    raise JournalError(fault_words(fault, self.folder)) from fault

    def make_room(self, folder: Path, need_bytes: int) -> bool:
        """Delete the oldest finished scan for the full disk of ``folder``; False where that cannot give it ``need_bytes``."""
        try:
            if not are_on_one_disk(folder, self.folder):
                return False
            with self._changed:
                kept = sum(self._finished.values())
            return free_bytes(self.folder) + kept >= need_bytes and self.drop_oldest()
        except OSError:
            return False

    def _fail(self, fault: Exception) -> None:
        if self.fault is None:
            log.error("the journal stops: %s", fault, exc_info=not isinstance(fault, JournalError))
        self.fault = f"frames are not kept on disk, so that a crash would lose them: {fault}"
        self._retry_at = time.monotonic() + RETRY_S

    def _recover(self) -> None:
        if self.fault is not None:
            log.warning("the journal is written again")
        self.fault = None

    def _put_away(self, scan_id: str) -> None:
        scan, folder = self._logs.pop(scan_id, None), self.folder / scan_id
        if scan is not None:
            scan.close()
        elif scan_id in self._finished or not folder.is_dir():
            return
        self._finished[scan_id] = bytes_of(folder) if scan is None else scan.bytes
        try:
            (folder / CLOSED_NAME).touch()
            sync_folder(folder)
        except OSError as fault:  # it is played again at the next start, and found to be closed
            log.error("scan %s: its journal was not closed (%s)", scan_id, fault.strerror)

    def drop_oldest(self) -> bool:
        """Delete the journal of the oldest finished scan; False where there is none."""
        while True:
            with self._changed:
                if not self._finished:
                    return False
                scan_id, size = self._finished.popitem(last=False)
                self.bytes -= size
            reason = copy_of(self.folder / scan_id)
            if reason is None:
                return self._is_deleted(scan_id, size)
            self.leave_alone(scan_id, reason)

    def _is_deleted(self, scan_id: str, size: int) -> bool:
        """Delete a finished scan's folder; one that stays (a read-only disk, files of others) is counted as before."""
        shutil.rmtree(self.folder / scan_id, ignore_errors=True)
        if not (self.folder / scan_id).exists():
            return True
        with self._changed:
            self._finished[scan_id] = size
            self._finished.move_to_end(scan_id, last=False)
            self.bytes += size
        return False

    def _delete(self, scan_id: str) -> None:
        scan = self._logs.pop(scan_id, None)
        if scan is not None:
            scan.close()
            self.bytes -= scan.bytes
        shutil.rmtree(self.folder / scan_id, ignore_errors=True)
