"""The framed log: whatever happens to a file, nothing but the damaged entry is lost, and no wrong one is read."""

from __future__ import annotations

import errno
import os
import resource
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from streams.errors import LogError
from streams.framed_log import LogFormat, LogReader, LogWriter

LOG = LogFormat(mark=b"\xc5X", head=struct.Struct("<2sHIqII"), length_index=1, max_body_bytes=1000, preamble=b"a log\n")
Written = tuple[int, int, bytes]
ENTRIES: list[Written] = [
    (1, -5, b"first"),
    (2, 1 << 40, b""),
    (3, 0, b"\xc5X" * 20 + b"."),
    (4, 7, bytes(range(256))),
    (5, 8, b"x"),
    (6, 9, b"last, as long as others"),
]


def bytes_of(entry: Written) -> bytes:
    kind, number, body = entry
    return b"".join(LOG.encode((kind,), (number,), [body[:3], body[3:]]))


PARTS = [bytes_of(entry) for entry in ENTRIES]
WHOLE = LOG.preamble + b"".join(PARTS)
ENDS = list(accumulate([len(LOG.preamble), *map(len, PARTS)]))
"""Where the preamble and each entry end."""


@contextmanager
def reader_of(path: Path, content: bytes | None = None) -> Iterator[LogReader]:
    if content is not None:
        path.write_bytes(content)
    with path.open("rb", buffering=0) as file:
        yield LogReader(file.fileno(), LOG)


def read(reader: LogReader, **options: bool) -> list[Written]:
    return [(entry.fields[0], entry.fields[2], entry.body) for entry in reader.entries(**options)]


def untouched(begin: int, end: int) -> list[Written]:
    """The entries that have no byte in a range."""
    return [entry for i, entry in enumerate(ENTRIES) if ENDS[i + 1] <= begin or ENDS[i] >= end]


def test_entries_are_read_as_they_were_written(tmp_path: Path):
    with LogWriter(tmp_path / "log", LOG.preamble) as writer:
        for entry in ENTRIES:
            writer.append([bytes_of(entry)], sync=True)
        assert writer.bytes == len(WHOLE)
    assert (tmp_path / "log").read_bytes() == WHOLE
    with reader_of(tmp_path / "log") as reader:
        assert read(reader) == ENTRIES
        assert (reader.place, reader.damaged, reader.torn_bytes) == (len(WHOLE), 0, 0)
    with pytest.raises(FileExistsError):
        LogWriter(tmp_path / "log")


@pytest.mark.parametrize("change", [0x01, 0x80, 0xFF])
def test_a_byte_damaged_anywhere_costs_its_entry_alone(tmp_path: Path, change: int):
    for at in range(len(LOG.preamble), len(WHOLE)):
        damaged = bytearray(WHOLE)
        damaged[at] ^= change
        with reader_of(tmp_path / "log", bytes(damaged)) as reader:
            assert read(reader) == untouched(at, at + 1), at
            is_last = at >= ENDS[-2]
            assert (reader.damaged, reader.torn_bytes > 0) == (0 if is_last else 1, is_last)


def test_a_file_torn_anywhere_keeps_every_entry_before(tmp_path: Path):
    for length in range(len(WHOLE)):
        with reader_of(tmp_path / "log", WHOLE[:length]) as reader:
            kept = untouched(length, len(WHOLE))
            assert read(reader) == kept
            assert reader.torn_bytes == max(0, length - ENDS[len(kept)])


def test_an_entry_torn_anywhere_costs_none_that_follows(tmp_path: Path):
    for torn in range(len(ENTRIES) - 1):
        lost_alike = [end - ENDS[torn + 1] for end in ENDS[torn + 2 :]]  # looks as if bytes had been changed, not lost
        for length in sorted({*range(1, len(PARTS[torn]))} - {len(PARTS[torn]) - lost for lost in lost_alike}):
            content = WHOLE[: ENDS[torn] + length] + WHOLE[ENDS[torn + 1] :]
            with reader_of(tmp_path / "log", content) as reader:
                assert read(reader) == ENTRIES[:torn] + ENTRIES[torn + 1 :]
                assert (reader.damaged, reader.torn_bytes) == (1, 0)


def test_a_log_within_a_message_gives_no_entries_of_its_own(tmp_path: Path):
    inner = WHOLE[len(LOG.preamble) : ENDS[3]]
    content = bytearray(LOG.preamble + bytes_of((1, 1, inner)) + PARTS[4])
    with reader_of(tmp_path / "log", bytes(content)) as reader:
        assert read(reader) == [(1, 1, inner), ENTRIES[4]]
    content[len(LOG.preamble) + LOG.head.size + 2] ^= 1
    with reader_of(tmp_path / "log", bytes(content)) as reader:
        assert read(reader) == [ENTRIES[4]]


@given(
    begin=st.integers(len(LOG.preamble), len(WHOLE)),
    length=st.integers(0, 300),
    instead=st.binary(max_size=40) | st.integers(0, 300).map(bytes),
)
@settings(max_examples=300, deadline=None)
def test_bytes_lost_added_or_overwritten_cost_only_the_entries_they_touch(
    tmp_path_factory: pytest.TempPathFactory, begin: int, length: int, instead: bytes
):
    path = tmp_path_factory.getbasetemp() / "changed.log"
    end = min(begin + max(length, 1), len(WHOLE))
    alike = {
        b - a for a in ENDS for b in ENDS if b > a
    }  # lost bytes as long as entries look as if they had been changed
    assume(end - begin - len(instead) not in alike)
    with reader_of(path, WHOLE[:begin] + instead + WHOLE[end:]) as reader:
        found = read(reader)
    kept = untouched(begin, end)
    assert [entry for entry in found if entry in kept] == kept
    assert all(entry in ENTRIES for entry in found)


def test_bodies_that_are_not_asked_for_are_not_read_and_damage_is_found_all_the_same(tmp_path: Path):
    lost = WHOLE[: ENDS[3] + 30] + WHOLE[ENDS[3] + 80 :]  # of the fourth entry's body
    with reader_of(tmp_path / "log", lost) as reader:
        found = [(entry.fields[0], entry.body) for entry in reader.entries(lambda fields: fields[0] != 4)]
    assert found == [(kind, None if kind == 4 else body) for kind, _, body in ENTRIES]


def test_a_growing_file_is_followed_entry_by_entry(tmp_path: Path):
    path, found = tmp_path / "log", list[Written]()
    with reader_of(path, b"") as reader, path.open("ab", buffering=0) as file:
        for length, byte in enumerate(WHOLE, 1):
            file.write(bytes([byte]))
            found += read(reader, is_growing=True)
            assert found == untouched(length, len(WHOLE))
        assert (reader.damaged, reader.torn_bytes) == (0, 0)


def test_a_growing_file_is_followed_past_damage(tmp_path: Path):
    path, found = tmp_path / "log", list[Written]()
    content = WHOLE[: ENDS[2] + 5] + WHOLE[ENDS[3] :]
    with reader_of(path, b"") as reader, path.open("ab", buffering=0) as file:
        for byte in content:
            file.write(bytes([byte]))
            found += read(reader, is_growing=True)
        assert found == ENTRIES[:2] + ENTRIES[3:]
        assert (reader.damaged, reader.torn_bytes) == (1, 0)


def test_a_reader_goes_back_where_the_writer_took_an_entry_back(tmp_path: Path):
    with reader_of(tmp_path / "log", WHOLE) as reader:
        assert read(reader, is_growing=True) == ENTRIES
        (tmp_path / "log").write_bytes(WHOLE[: ENDS[5]])
        assert read(reader, is_growing=True) == []
        (tmp_path / "log").write_bytes(WHOLE[: ENDS[5]] + PARTS[0])
        assert read(reader, is_growing=True) == [ENTRIES[0]]


@contextmanager
def largest_file(length: int) -> Iterator[None]:
    """A disk that takes no more than this of a file: writes are short, then fail."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (length, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_full_at_any_byte_leaves_whole_entries(tmp_path: Path):
    for length in range(len(LOG.preamble), len(WHOLE)):
        path = tmp_path / f"log{length}"
        failed = list[Written]()
        with LogWriter(path, LOG.preamble) as writer:
            with largest_file(length):
                for entry in ENTRIES:
                    try:
                        writer.append([bytes_of(entry)[:10], bytes_of(entry)[10:]])
                    except OSError:
                        failed.append(entry)
            assert failed
            assert path.stat().st_size == writer.bytes <= length
            writer.append([bytes_of((9, 9, b"after"))])
        with reader_of(path) as reader:
            assert read(reader) == [entry for entry in ENTRIES if entry not in failed] + [(9, 9, b"after")]
            assert (reader.damaged, reader.torn_bytes) == (0, 0)


def test_a_failed_append_takes_back_all_its_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(_descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with LogWriter(tmp_path / "log", LOG.preamble) as writer:
        writer.append([PARTS[0]])
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", refuse)
            with pytest.raises(OSError, match="Input/output"):
                writer.append(PARTS[1:3], sync=True)
        assert (tmp_path / "log").read_bytes() == WHOLE[: ENDS[1]]


def test_a_torn_entry_that_could_not_be_cut_off_is_cut_off_by_the_next_append(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    path = tmp_path / "log"
    with LogWriter(path, LOG.preamble) as writer:
        writer.append([PARTS[0]])
        with monkeypatch.context() as patch, largest_file(ENDS[1] + 5):
            patch.setattr(os, "ftruncate", refuse)
            with pytest.raises(OSError, match="File too large"):
                writer.append([PARTS[3]])
            assert writer.is_torn
            with pytest.raises(OSError, match="Input/output"):
                writer.append([PARTS[1]])
        assert path.stat().st_size == ENDS[1] + 5
        writer.append([PARTS[1]])
        assert not writer.is_torn
    assert path.read_bytes() == WHOLE[: ENDS[2]]


def test_an_append_of_many_buffers_is_whole(tmp_path: Path):
    parts = [bytes([i % 256]) for i in range(3000)]
    log = LogFormat(LOG.mark, LOG.head, LOG.length_index, 1 << 20)
    with LogWriter(tmp_path / "log") as writer:
        writer.append(log.encode((1,), (2,), parts))
    with (tmp_path / "log").open("rb") as file:
        (entry,) = LogReader(file.fileno(), log).entries()
    assert entry.body == b"".join(parts)


def test_lengths_are_bounded(tmp_path: Path):
    with pytest.raises(LogError, match="1001 bytes is too long; the limit is 1000"):
        LOG.encode((1,), (2,), [bytes(1000), b"x"])
    larger = LogFormat(LOG.mark, LOG.head, LOG.length_index, 1 << 32)
    long = larger.encode((1,), (2,), [bytes(2000)])
    with reader_of(tmp_path / "log", WHOLE[: ENDS[1]] + b"".join(map(bytes, long)) + WHOLE[ENDS[1] :]) as reader:
        assert read(reader) == ENTRIES
        assert reader.damaged == 1


def test_one_entry_is_read_at_its_place_or_named_as_damaged(tmp_path: Path):
    damaged = bytearray(WHOLE)
    damaged[ENDS[4] - 1] ^= 1
    (tmp_path / "log").write_bytes(damaged)
    with (tmp_path / "log").open("rb") as file:
        assert LOG.entry_at(file.fileno(), ENDS[4]).body == b"x"
        with pytest.raises(LogError, match=f"entry at byte {ENDS[3]} is damaged"):
            LOG.entry_at(file.fileno(), ENDS[3])
        for place in (1, ENDS[4] + 1, len(WHOLE), len(WHOLE) + 100):
            with pytest.raises(LogError, match=f"no entry at byte {place}"):
                LOG.entry_at(file.fileno(), place)


def test_a_crafted_file_is_not_read_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Heads within bodies, each with a wrong body as long as the file's rest."""
    log = LogFormat(LOG.mark, LOG.head, LOG.length_index, 1 << 30)
    count = 4000
    heads = []
    for number in range(count):
        length = (count - number) * log.head.size - log.head.size
        heads.append(bytes(log.encode((number,), (0,), [memoryview(bytes(length))])[0]))
    content = b"".join(heads)
    (tmp_path / "log").write_bytes(content)
    asked, pread = 0, os.pread

    def counting(descriptor: int, length: int, place: int) -> bytes:
        nonlocal asked
        found = pread(descriptor, length, place)
        asked += len(found)
        return found

    monkeypatch.setattr(os, "pread", counting)
    with (tmp_path / "log").open("rb") as file:
        reader = LogReader(file.fileno(), log)
        assert list(reader.entries()) == []
    assert asked < 50 * len(content)
