"""A recording: every message of every stream, byte for byte, with its arrival time, in one append-only file.

The layout is in ``deploy/docs/reference/recording.md``. A recorder that is killed leaves whole messages up to the last one.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from types import TracebackType

from streams.errors import LogError, RecordingError
from streams.framed_log import Buffer, Fields, LogFormat, LogReader, LogWriter
from streams.untrusted import read_json

__all__ = ["MAGIC", "Message", "Recording", "RecordingWriter", "is_recording"]

MAGIC = b"PTYCHOLIVE\r\n\x1a\n"
VERSION = 1
_VERSION = struct.Struct("<H")
_FORMAT = LogFormat(
    mark=b"\xc5REC",
    head=struct.Struct("<4sBBHqQII"),  # mark, kind, stream, parts, time_ns, length, two checksums
    length_index=4,
    max_body_bytes=1 << 34,  # 16 GiB, more than a receiver takes; a file with a damaged length must not ask for memory
    preamble=MAGIC + _VERSION.pack(VERSION),
)
_MAX_STREAMS = 255  # their number is one byte
_MAX_PARTS = 65535  # their count has two bytes


_ABOUT, _MESSAGE, _END = 0, 1, 2  # kinds of records


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
        Facts of each stream by its name: ``endpoint``, ``socket``, ``format``.
    about
        Further plain data to keep.

    Raises
    ------
    OSError
        If the file exists; and from any call, when the disk is full or broken: the file then ends with the last whole record.
    """

    def __init__(self, path: Path, streams: Mapping[str, Mapping[str, str]], about: Mapping[str, str]) -> None:
        self.path = path
        self.messages = dict.fromkeys(streams, 0)
        self._numbers = {name: number for number, name in enumerate(streams)}
        if len(streams) > _MAX_STREAMS:
            raise RecordingError(f"{len(streams)} streams do not fit into a recording; record at most {_MAX_STREAMS}")
        self._log = LogWriter(path, _FORMAT.preamble)
        known = [{"name": name, **facts} for name, facts in streams.items()]
        try:
            self._append((_ABOUT, 0, 0, 0), [json.dumps({**about, "streams": known}).encode()])
        except BaseException:
            self._log.close()
            raise

    def __enter__(self) -> RecordingWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._log.close()

    @property
    def bytes(self) -> int:
        """Length of the file."""
        return self._log.bytes

    def write(self, stream: str, time_ns: int, parts: Sequence[Buffer]) -> None:
        """Append a message; the operating system has it when this returns.

        Raises
        ------
        RecordingError
            If the message is too large for the format.
        """
        try:
            lengths = struct.pack(f"<{len(parts)}I", *map(len, parts))
            fields = (_MESSAGE, self._numbers[stream], len(parts), time_ns)
            self._log.append(_FORMAT.encode(fields, (), (lengths, *parts)))
        except (LogError, struct.error) as fault:
            raise RecordingError(
                f"{self.path}: a message of {len(parts)} parts, {sum(map(len, parts))} bytes does not fit into a recording; "
                f"the limits are {_MAX_PARTS} parts, 4 GiB for each and {_FORMAT.max_body_bytes >> 30} GiB in all"
            ) from fault
        self.messages[stream] += 1

    def sync(self) -> None:
        """Wait until the disk has everything that was written."""
        self._log.sync()

    def end(self, time_ns: int, facts: Mapping[str, object]) -> None:
        """Mark the recording as ended on purpose, with further facts of it; and sync."""
        self._append((_END, 0, 0, time_ns), [json.dumps({"messages": self.messages, **facts}).encode()])
        self.sync()

    def _append(self, fields: tuple[int, int, int, int], body: Sequence[Buffer]) -> None:
        self._log.append(_FORMAT.encode(fields, (), body))


class Recording:
    """A recording to be read. Each iteration yields all its messages.

    Attributes
    ----------
    about, streams
        Facts of the recording, and of each stream by its name.
    cut_bytes
        After an iteration: bytes at the file's end that are not a whole record, and were left out.
    damaged
        After an iteration: damaged places that were left out, each one message or more.
    ending
        After an iteration: facts of the end; None if the recorder was killed.

    Raises
    ------
    RecordingError
        Naming the file, if it cannot be read or is not a recording.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cut_bytes = self.damaged = 0
        self.ending: dict[str, object] | None = None
        self.about: dict[str, object] = {}
        self.streams: dict[str, dict[str, object]] = {}
        with self._open() as file:
            first = next(LogReader(file.fileno(), _FORMAT).entries(), None)
        if first is None:
            raise RecordingError(f"{path} ends before its first record; the recorder was stopped before it began")
        if first.body is not None and first.fields[0] == _ABOUT:
            self._read_about(self._facts(first.body))
        else:
            self._read_names_in_end()

    def _read_about(self, about: dict[str, object]) -> None:
        self.about = about
        known = about.get("streams")
        for facts in known if isinstance(known, list) else []:
            if isinstance(facts, dict):
                self.streams[str(facts.get("name"))] = facts

    def _read_names_in_end(self) -> None:
        """Take the streams' names from the end's record, which has them in the same order: the first record is damaged."""
        with self._open() as file:
            ends = [
                entry.body for entry in LogReader(file.fileno(), _FORMAT).entries(_is_end) if entry.body is not None
            ]
        counts = self._facts(ends[-1]).get("messages") if ends else None
        if not isinstance(counts, dict):
            raise RecordingError(
                f"{self.path}: its first record is damaged and it has no end, so its streams are unknown"
            )
        self.streams = {str(name): {} for name in counts}

    @property
    def is_whole(self) -> bool:
        """Whether the last iteration found everything that was written."""
        return self.ending is not None and self.cut_bytes == 0 and self.damaged == 0

    def __iter__(self) -> Iterator[Message]:
        names = list(self.streams)
        self.cut_bytes = self.damaged = 0
        self.ending = None
        with self._open() as file:
            reader = LogReader(file.fileno(), _FORMAT)
            for entry in reader.entries():
                kind, stream, parts, time_ns, _ = entry.fields
                body = entry.body or b""
                if kind == _END:
                    self.ending = self._facts(body)
                elif kind == _MESSAGE and stream < len(names) and (split := _split(body, parts)) is not None:
                    yield Message(names[stream], time_ns, split)
            self.cut_bytes, self.damaged = reader.torn_bytes, reader.damaged

    def _open(self) -> FileIO:
        try:
            file = self.path.open("rb", buffering=0)
        except OSError as fault:
            raise RecordingError(f"{self.path} cannot be read ({fault.strerror}); check path and rights") from fault
        try:
            self._check(file.read(len(_FORMAT.preamble)))
        except BaseException:
            file.close()
            raise
        return file

    def _check(self, preamble: bytes) -> None:
        if len(preamble) < len(_FORMAT.preamble) or not preamble.startswith(MAGIC):
            raise RecordingError(f"{self.path} is not a recording; give a file that `ptycholive record` wrote")
        (version,) = _VERSION.unpack_from(preamble, len(MAGIC))
        if version != VERSION:
            raise RecordingError(
                f"{self.path} has version {version} of the format; this program reads version {VERSION}"
            )

    def _facts(self, body: bytes) -> dict[str, object]:
        try:
            facts = read_json(body)
        except ValueError as fault:
            raise RecordingError(
                f"{self.path}: a record of facts is not JSON; the file was not written by `ptycholive record`"
            ) from fault
        return facts if isinstance(facts, dict) else {}


def _is_end(fields: Fields) -> bool:
    return bool(fields[0] == _END)


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
