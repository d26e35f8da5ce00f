"""The journal of one scan: a folder of numbered segment files, appended to by the journal's thread, read by any thread."""

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
from daemon.journal.record import HEADER, Kind, Record, read_at, read_records
from daemon.service.descriptors import reserve
from streams.framed_log import Buffer, LogWriter

SEGMENT_BYTES = 256 << 20
"""Length from which a new segment follows: large enough for few files, small enough to copy and to lose."""
MAX_OPEN_FILES = 8
"""Segments open for reading at once, of each scan; frames are mostly read in the order of writing."""
SUFFIX = ".journal"
_FILE_MODE = 0o640  # the group may read frames, others may not

log = logging.getLogger(__name__)

_NUMBER = re.compile("[0-9]{6}")


class ScanLog:
    """Appends records; knows where each frame is.

    Opening a folder that has segments begins a new one, so that nothing follows the incomplete record that a crash may have
    left at the end of the last.
    """

    def __init__(self, folder: Path, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.folder = folder
        self.places = PlaceTable()
        self.bytes = bytes_of(folder)
        self._segment_bytes = segment_bytes
        self._number = max((int(path.stem) for path in segments(folder)), default=0)
        self._writer: LogWriter | None = None
        self._reading: OrderedDict[int, int] = OrderedDict()
        self._reading_lock = threading.Lock()
        self._is_closed = False

    def append(self, records: Sequence[Record]) -> int:
        """Write records and wait for the disk; return the bytes. Raises ``OSError``, and then nothing is written."""
        writer = self._writer_with_room()
        offset = writer.bytes
        buffers: list[Buffer] = []
        places: list[tuple[int, int]] = []
        for record in records:
            if record.kind is Kind.FRAME:
                places.append((record.index, offset))
            buffers += record.buffers()
            offset += HEADER.size + len(record.payload)
        try:
            written = writer.append(buffers, sync=True)
        except OSError as fault:
            if fault.errno == errno.EFBIG and writer.bytes:
                self._begin_segment()  # a limit of file size, or a disk without large files
                return self.append(records)
            raise
        for index, place in places:
            self.places.put(index, self._number, place)
        self.bytes += written
        return written

    def _writer_with_room(self) -> LogWriter:
        writer = self._writer
        if writer is None or writer.bytes >= self._segment_bytes or writer.is_torn or writer.is_deleted:
            return self._begin_segment()
        return writer

    def _begin_segment(self) -> LogWriter:
        self.folder.mkdir(parents=True, exist_ok=True)
        number = self._number + 1
        while os.path.lexists(self._path(number)):  # something else than a segment has this name
            number += 1
        path = self._path(number)
        writer = LogWriter(path, mode=_FILE_MODE)
        try:
            for folder in (self.folder, self.folder.parent):
                sync_folder(folder)
        except OSError:
            writer.close()
            path.unlink(missing_ok=True)
            raise
        if self._writer is not None:
            self._writer.close()
        self._writer, self._number = writer, number
        return writer

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
                return read_at(reserve.lend(lambda: self._open(segment)), offset, path)
            except OSError as fault:
                raise JournalError(f"{path} cannot be read ({fault.strerror})") from fault

    def _open(self, segment: int) -> int:
        if segment in self._reading:
            self._reading.move_to_end(segment)
            return self._reading[segment]
        self._reading[segment] = os.open(self._path(segment), os.O_RDONLY | os.O_CLOEXEC)
        if len(self._reading) > MAX_OPEN_FILES:
            os.close(self._reading.popitem(last=False)[1])
        return self._reading[segment]

    def records(self) -> Iterator[Record]:
        """Yield the records written before this object began to append; frames come without pixels, their place is noted."""
        for path in segments(self.folder):
            try:
                for place, record in read_records(path, pixels=False):
                    if record.kind == Kind.FRAME:
                        self.places.put(record.index, int(path.stem), place)
                    yield record
            except OSError as fault:
                log.error("%s cannot be read (%s); its records are left out", path, fault.strerror)

    def close(self) -> None:
        """Close every file."""
        with self._reading_lock:
            self._is_closed = True  # a reader that comes late must open nothing
            while self._reading:
                os.close(self._reading.popitem()[1])
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}{SUFFIX}"


def segments(folder: Path) -> list[Path]:
    """Return a scan's segment files in their order."""
    return sorted(path for path in folder.glob(f"*{SUFFIX}") if _NUMBER.fullmatch(path.stem) and path.is_file())


def bytes_of(folder: Path) -> int:
    """Return the total length of a scan's segment files."""
    return sum(path.stat().st_size for path in segments(folder))


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in a folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
