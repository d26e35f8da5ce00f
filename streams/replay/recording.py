"""A recording: every message of every stream, byte for byte, with its arrival time, in one append-only file.

The layout is in ``deploy/docs/reference/recording.md``. Each record has a checksum of its head and one of its body, and is
written by one call, so what a killed recorder leaves is whole up to its last record; a torn one is cut off on reading.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from streams.errors import RecordingError
from streams.untrusted import read_json

__all__ = ["MAGIC", "Message", "Recording", "RecordingWriter", "is_recording"]

MAGIC = b"PTYCHOLIVE\r\n\x1a\n"
VERSION = 1
_FILE_HEAD = struct.Struct("<14sH")
_HEAD = struct.Struct("<4sBBHqQII")
_SYNC = b"\xc5REC"
_ABOUT, _MESSAGE, _END = 0, 1, 2
_MOST_STREAMS = 255


@dataclass(frozen=True, slots=True)
class Message:
    """One message: ``stream`` is the stream's name, ``time_ns`` counts from the recording's beginning."""

    stream: str
    time_ns: int
    parts: list[bytes]


class RecordingWriter:
    """Appends to a new file.

    Parameters
    ----------
    streams
        By name what is known of each stream: ``endpoint``, ``socket``, ``format``.
    about
        Further plain data to keep.

    Raises
    ------
    OSError
        If the file exists; and from any call, when the disk is full or gone: it then ends with the last whole record.
    """

    def __init__(self, path: Path, streams: Mapping[str, Mapping[str, Any]], about: Mapping[str, Any]) -> None:
        self.path = path
        self.messages = dict.fromkeys(streams, 0)
        self.bytes = 0
        self._numbers = {name: number for number, name in enumerate(streams)}
        if len(streams) > _MOST_STREAMS:
            raise RecordingError(f"{len(streams)} streams do not fit into a recording; record at most {_MOST_STREAMS}")
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        known = [{"name": name, **facts} for name, facts in streams.items()]
        try:
            self._write([_FILE_HEAD.pack(MAGIC, VERSION)])
            self._record(_ABOUT, 0, 0, 0, [json.dumps({**about, "streams": known}).encode()])
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> RecordingWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    def write(self, stream: str, time_ns: int, parts: Sequence[bytes | memoryview]) -> None:
        """Append a message; the operating system has it when this returns."""
        lengths = struct.pack(f"<{len(parts)}I", *map(len, parts))
        self._record(_MESSAGE, self._numbers[stream], len(parts), time_ns, [lengths, *parts])
        self.messages[stream] += 1

    def sync(self) -> None:
        """Have all that was appended on the disk when this returns."""
        os.fdatasync(self._file)

    def end(self, time_ns: int, facts: Mapping[str, Any]) -> None:
        """Say that the recording was ended on purpose, with what is to be known of it; and sync."""
        self._record(_END, 0, 0, time_ns, [json.dumps({"messages": self.messages, **facts}).encode()])
        self.sync()

    def _record(self, kind: int, stream: int, parts: int, time_ns: int, body: Sequence[bytes | memoryview]) -> None:
        size, crc = 0, 0
        for piece in body:
            size += len(piece)
            crc = zlib.crc32(piece, crc)
        head = _HEAD.pack(_SYNC, kind, stream, parts, time_ns, size, crc, 0)
        self._write([head[:-4] + struct.pack("<I", zlib.crc32(head[:-4])), *body])

    def _write(self, pieces: Sequence[bytes | memoryview]) -> None:
        due = sum(map(len, pieces))
        done = 0
        try:
            done = os.writev(self._file, pieces)
            if done < due:
                rest = memoryview(b"".join(pieces))
                while done < due:
                    done += os.write(self._file, rest[done:])
        except OSError:
            os.ftruncate(self._file, self.bytes)
            raise
        self.bytes += done


class Recording:
    """A recording to be read; iterate over it for its messages, again and again.

    After a whole iteration ``cut_bytes`` says how much of a torn end was left out, ``damaged`` how many messages whose
    bytes are not the ones that were written were left out, and ``is_whole`` whether neither was and the end was written.

    Raises
    ------
    RecordingError
        Naming the file, if it cannot be read or is no recording.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cut_bytes = self.damaged = 0
        self.ending: dict[str, Any] | None = None
        with self._open() as file:
            found = next(self._records(file), None)
        if found is None or found[0] != _ABOUT:
            raise RecordingError(f"{path} ends before its first record; the recorder was stopped before it began")
        self.about = self._facts(found[4])
        self.streams: dict[str, dict[str, Any]] = {}
        for known in self.about.get("streams", []):
            self.streams[str(known.get("name"))] = dict(known)

    @property
    def is_whole(self) -> bool:
        """Whether the last iteration found all that was ever written."""
        return self.ending is not None and self.cut_bytes == 0 and self.damaged == 0

    def __iter__(self) -> Iterator[Message]:
        names = list(self.streams)
        self.cut_bytes = self.damaged = 0
        self.ending = None
        with self._open() as file:
            for kind, stream, parts, time_ns, body in self._records(file):
                if kind == _END:
                    self.ending = self._facts(body)
                elif kind == _MESSAGE and stream < len(names) and (split := _split(body, parts)) is not None:
                    yield Message(names[stream], time_ns, split)

    def _open(self) -> BinaryIO:
        try:
            file = self.path.open("rb")
        except OSError as fault:
            raise RecordingError(f"{self.path} cannot be read ({fault.strerror}); check path and rights") from fault
        head = file.read(_FILE_HEAD.size)
        if len(head) < _FILE_HEAD.size or _FILE_HEAD.unpack(head)[0] != MAGIC:
            file.close()
            raise RecordingError(f"{self.path} is no recording; give a file that `record` wrote")
        version = _FILE_HEAD.unpack(head)[1]
        if version != VERSION:
            file.close()
            raise RecordingError(f"{self.path} has version {version} of the format, this program reads {VERSION}")
        return file

    def _records(self, file: BinaryIO) -> Iterator[tuple[int, int, int, int, bytes]]:
        end = os.fstat(file.fileno()).st_size
        while (place := file.tell()) < end:
            head = file.read(_HEAD.size)
            if len(head) < _HEAD.size or zlib.crc32(head[:-4]) != struct.unpack("<I", head[-4:])[0]:
                self.cut_bytes = end - place
                return
            sync, kind, stream, parts, time_ns, size, crc, _ = _HEAD.unpack(head)
            if sync != _SYNC or size > end - file.tell():
                self.cut_bytes = end - place
                return
            body = file.read(size)
            if zlib.crc32(body) == crc:
                yield kind, stream, parts, time_ns, body
            elif file.tell() == end:
                self.cut_bytes = end - place
            else:
                self.damaged += 1

    def _facts(self, body: bytes) -> dict[str, Any]:
        try:
            facts = read_json(body)
        except ValueError as fault:
            raise RecordingError(
                f"{self.path}: what it says of itself is not JSON; it was not made by `record`"
            ) from fault
        return facts if isinstance(facts, dict) else {}


def is_recording(path: Path) -> bool:
    """Whether a file begins as a recording does; False for one that cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def _split(body: bytes, count: int) -> list[bytes] | None:
    """Return the parts of a message, or None if its lengths do not fit."""
    if len(body) < 4 * count:
        return None
    lengths = struct.unpack_from(f"<{count}I", body)
    parts, at = [], 4 * count
    for length in lengths:
        parts.append(body[at : at + length])
        at += length
    return parts if at == len(body) else None
