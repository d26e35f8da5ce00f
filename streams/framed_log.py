"""An append-only log of entries, each with a head and a body that have checksums of their own.

A :class:`LogFormat` describes the heads of one kind of file. :class:`LogWriter` appends: an append that fails leaves nothing
behind. :class:`LogReader` reads forward, also while the file is written, and finds the next entry after damage.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any
from zlib import crc32

from streams.errors import LogError

__all__ = ["Buffer", "Entry", "Fields", "LogFormat", "LogReader", "LogWriter"]

Buffer = bytes | memoryview
Fields = tuple[Any, ...]

_CRC = struct.Struct("<I")
_BUFFERS_PER_WRITE = 512
"""Buffers in one ``writev`` call; Linux takes at most 1024."""
_SEARCH_BYTES = 1 << 20
"""Bytes read at once in the search for the next head: few system calls, little memory."""
_MAX_READS = 4
"""A damaged file is read at most this many times its size; a crafted one could otherwise take hours."""


class Entry:
    """One entry of a log.

    Attributes
    ----------
    place, end
        Where it begins and ends in its file, bytes.
    fields
        Of its head, without mark and checksums; the body's length is among them.
    body
        None where it was not read.
    """

    __slots__ = ("body", "crc", "end", "fields", "place")

    def __init__(self, place: int, end: int, fields: Fields, crc: int) -> None:
        self.place = place
        self.end = end
        self.fields = fields
        self.crc = crc
        self.body: bytes | None = None


class LogFormat:
    """The layout of a log's entries.

    Attributes
    ----------
    mark
        Bytes with which each head begins.
    head
        The head: mark, fields with the body's length among them, CRC-32 of the body, CRC-32 of the head before it.
    length_index
        Number of fields before the body's length.
    max_body_bytes
        Longest body; a longer one is neither written nor read.
    preamble
        Bytes at the beginning of each file.
    """

    def __init__(
        self, mark: bytes, head: struct.Struct, length_index: int, max_body_bytes: int, preamble: bytes = b""
    ) -> None:
        self.mark = mark
        self.head = head
        self.length_index = length_index
        self.max_body_bytes = max_body_bytes
        self.preamble = preamble
        self._pack = struct.Struct(head.format[:-1]).pack  # without the checksum of the head itself

    def encode(self, before: Fields, after: Fields, body: Sequence[Buffer]) -> list[Buffer]:
        """Return the buffers of an entry.

        Parameters
        ----------
        before, after
            Fields of its head before and after the body's length.

        Raises
        ------
        LogError
            If the body is too long.
        """
        length = crc = 0
        for part in body:
            length += len(part)
            crc = crc32(part, crc)
        if length > self.max_body_bytes:
            raise LogError(f"an entry of {length} bytes is too long; the limit is {self.max_body_bytes} bytes")
        head = self._pack(self.mark, *before, length, *after, crc)
        return [head + _CRC.pack(crc32(head)), *body]

    def decode_head(self, raw: bytes, place: int) -> Entry | None:
        """Return the entry, without its body, whose head are the bytes ``raw`` at ``place``; None if they are not a head."""
        if not raw.startswith(self.mark) or len(raw) != self.head.size:
            return None
        values = self.head.unpack(raw)
        if crc32(raw[: -_CRC.size]) != values[-1]:
            return None
        length = values[1 + self.length_index]
        if length > self.max_body_bytes:
            return None
        return Entry(place, place + len(raw) + length, values[1:-2], values[-2])

    def entry_at(self, descriptor: int, place: int) -> Entry:
        """Return the entry at a place of an open file.

        Raises
        ------
        LogError
            If no whole entry lies there.
        """
        entry = self.decode_head(_read(descriptor, self.head.size, place), place)
        if entry is None:
            raise LogError(f"there is no entry at byte {place}")
        if not self.read_body(descriptor, entry):
            raise LogError(f"the entry at byte {place} is damaged")
        return entry

    def read_body(self, descriptor: int, entry: Entry) -> bool:
        """Read an entry's body; False, and no body, if that is not the one that was written."""
        begin = entry.place + self.head.size
        body = _read(descriptor, entry.end - begin, begin)
        if crc32(body) != entry.crc or len(body) != entry.end - begin:
            return False
        entry.body = body
        return True


class LogWriter:
    """Appends to a new file.

    Attributes
    ----------
    bytes
        Length of the file up to the last whole entry.
    is_torn
        Whether a failed append left bytes behind that could not be cut off.

    Raises
    ------
    OSError
        If the file exists; and from an append, when the disk is full or broken.
    """

    def __init__(self, path: Path, preamble: bytes = b"", mode: int = 0o644) -> None:
        self.bytes = 0
        self.is_torn = False
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, mode)
        try:
            if preamble:
                self.append([preamble])
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> LogWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def is_deleted(self) -> bool:
        """Whether the file has no name any more, so that its content would be lost."""
        return os.fstat(self._descriptor).st_nlink == 0

    def append(self, buffers: Sequence[Buffer], *, sync: bool = False) -> int:
        """Append buffers, one system call where they are few; return their bytes. After a fault none of them is left.

        Parameters
        ----------
        sync
            Wait until the disk has them.
        """
        if self.is_torn:
            os.ftruncate(self._descriptor, self.bytes)
            self.is_torn = False
        try:
            written = self._write(buffers)
            if sync:
                self.sync()
        except BaseException:
            self._cut_back()
            raise
        self.bytes += written
        return written

    def sync(self) -> None:
        """Wait until the disk has everything that was appended."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _write(self, buffers: Sequence[Buffer]) -> int:
        if len(buffers) > _BUFFERS_PER_WRITE:
            parts = range(0, len(buffers), _BUFFERS_PER_WRITE)
            return sum(self._write(buffers[begin : begin + _BUFFERS_PER_WRITE]) for begin in parts)
        due = sum(map(len, buffers))
        written = os.writev(self._descriptor, buffers)
        if written < due:  # a nearly full disk, or more than the kernel takes at once
            rest = memoryview(b"".join(buffers))[written:]
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        return due

    def _cut_back(self) -> None:
        try:
            os.ftruncate(self._descriptor, self.bytes)
        except OSError:
            self.is_torn = True


class LogReader:
    """Reads a log forward; each reading goes on where the one before stopped.

    Where there is no head, the reader searches for the next one. A body is taken only if its checksum fits. If no entry
    follows a damaged body where the head says, bytes were lost, and the search begins in that body; else nothing in the
    body counts as an entry, since a message may hold a log itself.

    Attributes
    ----------
    place
        Byte at which the next entry is expected.
    damaged
        Damaged places passed over, each one entry or more.
    torn_bytes
        Bytes at the file's end that are not a whole entry, once a reading has come there.
    """

    def __init__(self, descriptor: int, log: LogFormat) -> None:
        self._descriptor = descriptor
        self._log = log
        self.place = len(log.preamble)
        self.damaged = 0
        self.torn_bytes = 0
        self._gap: int | None = None
        self._unproved: Entry | None = None
        self._body_bytes = 0

    def entries(
        self, wants_body: Callable[[Fields], bool] | None = None, *, is_growing: bool = False
    ) -> Iterator[Entry]:
        """Yield whole entries up to the file's present end.

        Parameters
        ----------
        wants_body
            Whether to read the body of an entry with these fields; else it comes unchecked, without its body. None reads all.
        is_growing
            The file is still written: an incomplete entry at its end is left for the next reading.
        """
        size = os.fstat(self._descriptor).st_size
        self.torn_bytes = 0
        if size < self.place:  # an entry that was read has been cut off since
            self.place = max(size, len(self._log.preamble))
        while self.place < size or self._is_more_in_damaged(size):
            entry = self._log.decode_head(_read(self._descriptor, self._log.head.size, self.place), self.place)
            if entry is None or entry.end > size:
                may_come = entry is not None or self.place + self._log.head.size > size
                if (is_growing and may_come) or not self._pass_damage(size, is_growing):
                    return
                continue
            if self._gap is not None:
                self.damaged += 1
                self._gap = None
            self.place = entry.end
            self._unproved = entry
            if wants_body is not None and not wants_body(entry.fields):
                yield entry
            elif self._read_body(entry):
                self._unproved = None
                yield entry
            else:
                self._gap = entry.place
        if self._gap is not None:
            self.torn_bytes = size - self._gap

    def _read_body(self, entry: Entry) -> bool:
        self._body_bytes += entry.end - entry.place
        return self._log.read_body(self._descriptor, entry)

    def _is_more_in_damaged(self, size: int) -> bool:
        """Whether a damaged entry at the file's end, from which bytes were lost, holds a head of a later one; go there."""
        before, self._unproved = self._unproved, None
        if before is None or self._gap is None or self._body_bytes >= _MAX_READS * size:
            return False
        found = self._find_head(before.place + self._log.head.size, size)
        if found < size:
            self.place = found
        return found < size

    def _pass_damage(self, size: int, is_growing: bool) -> bool:
        """Go to the next head, or the end; False if the file grows and there is none yet."""
        begin, search_from = self.place, self.place + 1
        before = self._unproved
        if before is not None and self._body_bytes < _MAX_READS * size and not self._read_body(before):
            begin, search_from = before.place, before.place + self._log.head.size
        if self._gap is None:
            self._gap = begin
        found = self._find_head(search_from, size)
        if found == size and is_growing:
            return False
        self.place = found
        self._unproved = None
        return True

    def _find_head(self, begin: int, size: int) -> int:
        """Return the first place at or after ``begin`` where a head of an entry within the file lies, else its size."""
        mark, head_bytes = self._log.mark, self._log.head.size
        while begin + head_bytes <= size:
            block = os.pread(self._descriptor, _SEARCH_BYTES, begin)
            if len(block) < head_bytes:
                break
            at = block.find(mark)
            while 0 <= at <= len(block) - head_bytes:
                entry = self._log.decode_head(block[at : at + head_bytes], begin + at)
                if entry is not None and entry.end <= size:
                    return entry.place
                at = block.find(mark, at + 1)
            begin += at if at >= 0 else len(block) - len(mark) + 1
        return size


def _read(descriptor: int, length: int, place: int) -> bytes:
    """Return bytes of a file, fewer only at its end; one system call gives at most 2 GiB."""
    found = os.pread(descriptor, length, place)
    while 0 < len(found) < length and (more := os.pread(descriptor, length - len(found), place + len(found))):
        found += more
    return found
