"""The journal of one scan: a folder of numbered segment files, appended to by the journal's thread, read by any."""

from __future__ import annotations

import errno
import logging
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path

from daemon.errors import JournalError
from daemon.journal.places import PlaceTable
from daemon.journal.record import Buffer, Kind, Record, read_at, walk

SEGMENT_BYTES = 256 << 20
OPEN_FILES = 8
_BUFFERS_A_WRITE = 512
SUFFIX = ".journal"

log = logging.getLogger(__name__)

_NUMBER = re.compile("[0-9]{6}")


class ScanLog:
    """Appends records; knows where each frame is.

    Opening a folder that has segments begins a new one, so that what a crash left at the end of the last is passed over
    and never written into.
    """

    def __init__(self, folder: Path, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.folder = folder
        self.places = PlaceTable()
        self.bytes = bytes_of(folder)
        self.skipped = 0
        self._segment_bytes = segment_bytes
        self._number = max((int(path.stem) for path in segments(folder)), default=0)
        self._descriptor: int | None = None
        self._offset = 0
        self._reading: OrderedDict[int, int] = OrderedDict()
        self._reading_lock = threading.Lock()
        self._is_closed = False

    def append(self, records: Sequence[Record]) -> int:
        """Write records and have them on the disk; return the bytes. Raises ``OSError``, and then nothing is written."""
        if self._descriptor is None or self._offset >= self._segment_bytes or self._is_deleted():
            self._begin_segment()
        begun, offset = self._offset, self._offset
        buffers: list[Buffer] = []
        places: list[tuple[int, int]] = []
        for record in records:
            if record.kind == Kind.FRAME:
                places.append((record.index, offset))
            parts = record.buffers()
            buffers += parts
            offset += sum(map(len, parts))
        try:
            self._write(buffers)
            os.fdatasync(self._file)
        except OSError as fault:
            self._cut_back(begun)
            if fault.errno == errno.EFBIG and begun:
                self._begin_segment()  # a limit of file size, or a disk that knows no large files
                return self.append(records)
            raise
        for index, place in places:
            self.places.put(index, self._number, place)
        self._offset = offset
        self.bytes += offset - begun
        return offset - begun

    @property
    def _file(self) -> int:
        if self._descriptor is None:
            raise JournalError(f"{self.folder}: no segment is open")
        return self._descriptor

    def _begin_segment(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        number = self._number + 1
        while os.path.lexists(self._path(number)):  # something that is no segment has this name
            number += 1
        path = self._path(number)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o640)
        try:
            for folder in (self.folder, self.folder.parent):
                sync_folder(folder)
        except OSError:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor, self._offset, self._number = descriptor, 0, number

    def _is_deleted(self) -> bool:
        """Whether somebody has deleted the segment, so that what is written to it is lost."""
        return os.fstat(self._file).st_nlink == 0

    def _write(self, buffers: Sequence[Buffer]) -> None:
        for begin in range(0, len(buffers), _BUFFERS_A_WRITE):
            part = buffers[begin : begin + _BUFFERS_A_WRITE]
            due = sum(map(len, part))
            written = os.writev(self._file, part)
            if written < due:  # a nearly full disk, or more than the kernel takes at once
                rest = memoryview(b"".join(part))[written:]
                while rest:
                    rest = rest[os.write(self._file, rest) :]

    def _cut_back(self, length: int) -> None:
        """Leave no half record behind; a new segment follows if even that fails."""
        try:
            os.ftruncate(self._file, length)
        except OSError:
            os.close(self._file)
            self._descriptor = None

    def read(self, index: int) -> Record | None:
        """Return a frame's record, None if it is not here or all is closed. Raises :class:`JournalError` if it is unreadable."""
        place = self.places.get(index)
        if place is None:
            return None
        segment, offset = place
        path = self._path(segment)
        with self._reading_lock:
            if self._is_closed:
                return None
            try:
                return read_at(self._open(segment), offset, path)
            except OSError as fault:
                raise JournalError(f"{path} cannot be read ({fault.strerror})") from fault

    def _open(self, segment: int) -> int:
        if segment in self._reading:
            self._reading.move_to_end(segment)
            return self._reading[segment]
        self._reading[segment] = os.open(self._path(segment), os.O_RDONLY | os.O_CLOEXEC)
        if len(self._reading) > OPEN_FILES:
            os.close(self._reading.popitem(last=False)[1])
        return self._reading[segment]

    def records(self) -> Iterator[Record]:
        """Yield what was written before this object began to append; frames get their place but no pixels."""
        for path in segments(self.folder):
            try:
                yield from self._records_of(path)
            except OSError as fault:
                log.error("%s cannot be read (%s); it is passed over", path, fault.strerror)

    def _records_of(self, path: Path) -> Iterator[Record]:
        number = int(path.stem)
        with path.open("rb") as file:
            for offset, head, record in walk(file, check_frames=False):
                if record is None:
                    self.places.put(head.index, number, offset)
                    record = Record(head.kind, b"", head.index, head.position_m)
                yield record

    def close(self) -> None:
        """Close every file."""
        with self._reading_lock:
            self._is_closed = True  # a reader that comes late must open nothing
            while self._reading:
                os.close(self._reading.popitem()[1])
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}{SUFFIX}"


def segments(folder: Path) -> list[Path]:
    """Return a scan's segment files in their order."""
    return sorted(path for path in folder.glob(f"*{SUFFIX}") if _NUMBER.fullmatch(path.stem) and path.is_file())


def bytes_of(folder: Path) -> int:
    """Return how many bytes a scan's segment files have."""
    return sum(path.stat().st_size for path in segments(folder))


def sync_folder(folder: Path) -> None:
    """Have a folder's names on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
