"""The scans' folders in the folder of the journal: unfinished, finished, left alone; and room for new records.

Within the limit on disk, and on a full disk, finished scans are deleted, the oldest first.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections import OrderedDict
from collections.abc import Container
from pathlib import Path

from daemon.errors import JournalError
from daemon.journal.claims import claims_in, copy_of
from daemon.journal.scan_log import bytes_of, sync_folder
from daemon.service.descriptors import reserve
from daemon.service.disk import are_on_one_disk, free_bytes

CLOSED_NAME = "closed"
"""Empty file that marks a finished scan."""
LOOSE = ".loose"
"""Folder of the positions that arrived before their scan."""

log = logging.getLogger(__name__)


class JournalFolder:
    """Safe from any thread.

    Attributes
    ----------
    bytes
        Length of all segments, but for those of folders left alone.
    left_alone
        The reason for each folder that does not belong to this journal; nothing is written or deleted there.
    """

    def __init__(self, path: Path, limit_bytes: int) -> None:
        self.path = path
        self.bytes = 0
        self.left_alone: dict[str, str] = {}
        self._limit_bytes = limit_bytes
        self._unfinished: dict[str, str] = {}
        self._finished: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()
        self._list()

    def _list(self) -> None:
        found = [path for path in self.path.glob("*") if path.is_dir()]
        claims = claims_in(path for path in found if not (path / CLOSED_NAME).exists() and path.name != LOOSE)
        self._unfinished = claims.to_play
        for name, reason in claims.left_alone.items():
            self.leave_alone(name, reason)
        for path in sorted(found, key=lambda path: path.stat().st_mtime):
            if path.name in self.left_alone:
                continue
            self.bytes += (size := bytes_of(path))
            if (path / CLOSED_NAME).exists():
                self._finished[path.name] = size

    def unfinished(self, open_scans: Container[str]) -> list[str]:
        """Return the scans that were not finished and are not open yet, oldest first."""
        return [name for name in self._unfinished if not (name in open_scans or self._is_settled(name))]

    def started(self, scan_id: str) -> str:
        """Return the time at which an unfinished scan began, as its first record says."""
        return self._unfinished[scan_id]

    def _is_settled(self, name: str) -> bool:
        return name in self._finished or name in self.left_alone

    def leave_alone(self, scan_id: str, reason: str) -> None:
        """Neither replay a journal nor delete it, from now on."""
        if self._unfinished.pop(scan_id, None) is not None:
            self.add_bytes(-bytes_of(self.path / scan_id))
        log.warning("%s", reason)
        self.left_alone[scan_id] = reason

    def add_bytes(self, count: int) -> None:
        """Count bytes that were written, or deleted where negative."""
        with self._lock:
            self.bytes += count

    def close(self, scan_id: str, size: int | None) -> None:
        """Mark a scan as finished; ``size`` is None where its journal was not open."""
        folder = self.path / scan_id
        if size is None and (scan_id in self._finished or not folder.is_dir()):
            return
        with self._lock:
            self._finished[scan_id] = reserve.lend(lambda: bytes_of(folder)) if size is None else size
        try:
            reserve.lend(lambda: _mark_closed(folder))
        except OSError as fault:  # the next start replays it and finds its record
            log.error("scan %s: its journal could not be marked as finished (%s)", scan_id, fault.strerror)

    def delete(self, scan_id: str, size: int) -> None:
        """Delete the journal of a scan that is not finished."""
        self.add_bytes(-size)
        shutil.rmtree(self.path / scan_id, ignore_errors=True)

    def reserve(self, due_bytes: int) -> None:
        """Delete finished scans until as many bytes are within the limit.

        Raises
        ------
        JournalError
            If that is not enough.
        """
        while self.bytes + due_bytes > self._limit_bytes:
            if not self.drop_oldest():
                why = "finished scans cannot be deleted, and all" if self._finished else "the running scans"
                raise JournalError(f"{why} have reached [limits] journal_bytes = {self._limit_bytes}")

    def make_room(self, folder: Path, need_bytes: int) -> bool:
        """Delete the oldest finished scan for the full disk of ``folder``; False if that cannot give ``need_bytes``."""
        try:
            if not are_on_one_disk(folder, self.path):
                return False
            with self._lock:
                kept = sum(self._finished.values())
            return free_bytes(self.path) + kept >= need_bytes and self.drop_oldest()
        except OSError:
            return False

    def drop_oldest(self) -> bool:
        """Delete the journal of the oldest finished scan; False if there is none."""
        while True:
            with self._lock:
                if not self._finished:
                    return False
                scan_id, size = self._finished.popitem(last=False)
                self.bytes -= size
            reason = copy_of(self.path / scan_id)
            if reason is None:
                return self._is_deleted(scan_id, size)
            self.leave_alone(scan_id, reason)

    def _is_deleted(self, scan_id: str, size: int) -> bool:
        """Delete a finished scan's folder; one that stays (a read-only disk, foreign files) is counted as before."""
        shutil.rmtree(self.path / scan_id, ignore_errors=True)
        if not (self.path / scan_id).exists():
            return True
        with self._lock:
            self._finished[scan_id] = size
            self._finished.move_to_end(scan_id, last=False)
            self.bytes += size
        return False


def _mark_closed(folder: Path) -> None:
    (folder / CLOSED_NAME).touch()
    sync_folder(folder)
