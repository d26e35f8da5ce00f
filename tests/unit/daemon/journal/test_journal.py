"""The journal: what was written is read back, whatever the disk did."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.journal import (
    Journal,
    Keeper,
    Kind,
    RecordBatch,
    ScanNames,
    StoredStart,
    pack,
    positions_of,
    stored_start,
    unpack,
)
from daemon.journal import folder as folder_module
from daemon.journal import scan_log as scan_log_module
from daemon.journal import store as store_module
from daemon.journal.reading import group_frames, summary
from daemon.journal.record import HEADER, LOG, Record, frame_record, plain_record, read_records
from ptychopinn.config.sections import DataConfig
from ptychopinn.data import StreamDataset
from streams.codecs import CODECS, EncodedFrame
from streams.errors import CodecError
from streams.frame import Frame, Position, PositionM, ScanStart, StreamGeometry
from streams.refusal_reasons import RefusalReason

OLD = Path(__file__).parents[3] / "data" / "logs" / "old-journal"
WHERE = PositionM(1e-6, -2e-6)


def pattern(index: int, dtype: str = "uint16") -> np.ndarray:
    return np.random.default_rng(index).poisson(3.0, (32, 48)).astype(dtype)


def frame(index: int) -> Record:
    return frame_record(index, WHERE, pack(pattern(index)))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "journal", 1 << 30)
    opened.start()
    yield opened
    opened.stop()


def again(folder: Path, scan_id: str = "a") -> list[Record]:
    return list(Journal(folder, 1 << 30).replay(scan_id))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "float32", "int32", "float64"])
@pytest.mark.parametrize("encoding", ["", "bslz4"])
def test_patterns_come_back_as_they_came_or_as_they_were_made(dtype: str, encoding: str):
    codec, counts = CODECS["native"](), pattern(3, dtype)
    (message,) = codec.parse(codec.encode_frame("a", 3, counts, None, encoding), 0)
    assert isinstance(message, EncodedFrame)
    decoded = message.decode().counts
    kept = pack(decoded, message)
    assert bytes(kept.payload) == bytes(message.payload)
    np.testing.assert_array_equal(unpack(kept), counts)
    cut = np.array(decoded[:16, :16])
    packed = pack(cut, message)
    assert len(packed.payload) < len(message.payload)
    np.testing.assert_array_equal(unpack(packed), cut)
    assert unpack(packed).dtype == counts.dtype


def test_frames_are_read_back_by_index_while_the_scan_runs_and_after_it(journal: Journal, tmp_path: Path):
    for begin in (0, 5):
        assert journal.commit(
            [RecordBatch("a", [frame(i) for i in range(begin, begin + 5)]), RecordBatch("b", [frame(77)])]
        )
    for i in range(10):
        np.testing.assert_array_equal(journal.read("a", i), pattern(i))
    assert journal.has("b", 77)
    assert not journal.has("a", 77)
    assert journal.read("a", 77) is None
    records = again(tmp_path / "journal")
    assert [(r.kind, r.index, r.position_m) for r in records] == [(Kind.FRAME, i, WHERE) for i in range(10)]


@settings(max_examples=60, deadline=None)
@given(cut=st.floats(0, 1), flip=st.booleans())
def test_a_torn_or_damaged_file_costs_only_what_is_damaged(
    tmp_path_factory: pytest.TempPathFactory, cut: float, flip: bool
):
    path = tmp_path_factory.mktemp("torn") / "1.journal"
    records = [frame(i) for i in range(6)] + [plain_record(Kind.END, ended_by="end")]
    parts = [b"".join(record.buffers()) for record in records]
    whole, ends = b"".join(parts), np.cumsum([len(part) for part in parts])
    at = min(int(cut * len(whole)), len(whole) - 1)
    if flip:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1 :])
        left = [i for i in range(7) if not ends[i] - len(parts[i]) <= at < ends[i]]
    else:
        path.write_bytes(whole[:at])
        left = [i for i in range(7) if ends[i] <= at]
    found = [(record.kind, record.index) for _, record in read_records(path, pixels=True)]
    assert found == [(records[i].kind, records[i].index) for i in left]


def test_what_a_crash_left_half_written_is_passed_over_and_never_written_into(tmp_path: Path):
    folder = tmp_path / "journal"
    for begin in (0, 3):
        opened = Journal(folder, 1 << 30)
        assert [r.index for r in opened.replay("a")] == list(range(begin))
        opened.start()
        assert opened.commit([RecordBatch("a", [frame(i) for i in range(begin, begin + 3)])])
        opened.stop()
        with (folder / "a" / f"{begin // 3 + 1:06d}.journal").open("ab") as file:
            file.write(b"".join(frame(99).buffers())[:-7])
    assert [r.index for r in again(folder)] == list(range(6))


def test_a_damaged_frame_is_said_when_it_is_read_back(journal: Journal, tmp_path: Path):
    journal.commit([RecordBatch("a", [frame(0), frame(1)])])
    (path,) = (tmp_path / "journal" / "a").glob("*.journal")
    content = bytearray(path.read_bytes())
    content[HEADER.size + 20] ^= 1
    path.write_bytes(content)
    assert journal.read("a", 0) is None
    np.testing.assert_array_equal(journal.read("a", 1), pattern(1))


def test_who_reads_when_a_scan_has_just_been_closed_opens_nothing(tmp_path: Path):
    scan = scan_log_module.ScanLog(tmp_path / "a")
    scan.append([frame(0)])
    assert scan.read(0) is not None
    scan.close()
    before = len(os.listdir("/proc/self/fd"))
    assert scan.read(0) is None
    assert len(os.listdir("/proc/self/fd")) == before


def test_finished_scans_go_first_when_the_bound_is_reached(tmp_path: Path):
    one = sum(map(len, frame(0).buffers()))
    opened = Journal(tmp_path, 10 * one, segment_bytes=3 * one)
    opened.start()
    for name in ("a", "b"):
        opened.commit([RecordBatch(name, [frame(i) for i in range(4)])])
        opened.close(name)
    assert opened.commit([RecordBatch("c", [frame(i) for i in range(5)])])
    assert not (tmp_path / "a").exists()
    assert (tmp_path / "b").exists()
    assert opened.commit([RecordBatch("c", [frame(5), frame(6), frame(7)])])
    assert not (tmp_path / "b").exists()
    assert opened.trouble is None
    assert not opened.commit([RecordBatch("c", [frame(i) for i in range(8, 12)])])
    assert "journal_bytes" in (opened.trouble or "")
    assert opened.skipped == 4
    assert opened.bytes <= 10 * one
    opened.stop()


def test_a_full_disk_is_said_counted_and_survived(journal: Journal, monkeypatch: pytest.MonkeyPatch):
    assert journal.commit([RecordBatch("old", [frame(0)])])
    journal.close("old")
    assert journal.commit([RecordBatch("a", [frame(0)])])
    really_write, is_full = os.writev, True

    def writev(descriptor: int, buffers: list[bytes]) -> int:
        if is_full:
            os.write(descriptor, b"half of it")
            raise OSError(errno.ENOSPC, "No space left on device")
        return really_write(descriptor, buffers)

    monkeypatch.setattr(scan_log_module.os, "writev", writev)
    monkeypatch.setattr(store_module, "RETRY_S", 0.0)
    assert not journal.commit([RecordBatch("a", [frame(1), frame(2)])])
    assert "is full" in (journal.trouble or "")
    assert journal.skipped == 2
    assert not (journal.folder / "old").exists()
    is_full = False
    assert journal.commit([RecordBatch("a", [frame(3)])])
    assert journal.trouble is None
    assert [r.index for r in again(journal.folder)] == [0, 3]
    np.testing.assert_array_equal(journal.read("a", 3), pattern(3))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.EMFILE, "files and connections are open"),
        (errno.EFBIG, "limit of file size"),
        (errno.EIO, "reports faults"),
        (errno.EROFS, "is read-only"),
        (errno.EACCES, "may not be written to"),
    ],
)
def test_fault_that_is_not_lack_of_room_deletes_nothing(
    code: int, words: str, journal: Journal, monkeypatch: pytest.MonkeyPatch
):
    assert journal.commit([RecordBatch("old", [frame(0)])])
    journal.close("old")

    def refuse(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr(scan_log_module.os, "writev", refuse)
        assert not journal.commit([RecordBatch("a", [frame(1)])])
        assert words in (journal.trouble or "")
    monkeypatch.setattr(store_module, "RETRY_S", 0.0)
    journal._retry_at = 0.0
    assert journal.commit([RecordBatch("a", [frame(2)])])
    assert journal.trouble is None
    assert (journal.folder / "old").exists()


def test_limit_of_file_size_makes_more_segments(journal: Journal, monkeypatch: pytest.MonkeyPatch):
    really_write = os.writev

    def writev(descriptor: int, buffers: list[bytes]) -> int:
        if os.fstat(descriptor).st_size + sum(map(len, buffers)) > 20_000:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        return really_write(descriptor, buffers)

    monkeypatch.setattr(scan_log_module.os, "writev", writev)
    for index in range(40):
        assert journal.commit([RecordBatch("a", [frame(index)])])
    assert journal.trouble is None
    assert len(scan_log_module.segments(journal.folder / "a")) > 1
    assert [r.index for r in again(journal.folder)] == list(range(40))


def test_room_is_made_only_on_its_own_disk_and_only_if_that_is_enough(journal: Journal, tmp_path: Path, monkeypatch):
    assert journal.commit([RecordBatch("old", [frame(0)])])
    journal.close("old")
    assert not journal.make_room(Path("/proc"), 1)
    monkeypatch.setattr(folder_module, "free_bytes", lambda _folder: 0)
    assert not journal.make_room(tmp_path / "out", journal.bytes + 1)
    assert (journal.folder / "old").exists()
    assert journal.make_room(tmp_path / "out", journal.bytes)
    assert not (journal.folder / "old").exists()


def test_finished_scan_that_cannot_be_deleted_is_still_counted(journal: Journal, monkeypatch):
    assert journal.commit([RecordBatch("old", [frame(0)])])
    journal.close("old")
    before = journal.bytes
    monkeypatch.setattr(folder_module.shutil, "rmtree", lambda *_, **__: None)
    assert not journal.make_room(journal.folder, 1)
    assert journal.bytes == before


def test_folder_deleted_under_a_scan_is_made_again(journal: Journal):
    assert journal.commit([RecordBatch("a", [frame(0)])])
    scan_log_module.segments(journal.folder / "a")[0].unlink()
    (journal.folder / "a").rmdir()
    assert journal.commit([RecordBatch("a", [frame(1)])])
    assert journal.read("a", 0) is None
    np.testing.assert_array_equal(journal.read("a", 1), pattern(1))


def test_descriptors_are_given_back_where_a_segment_cannot_begin(journal: Journal, monkeypatch):
    def refuse(_folder: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(scan_log_module, "sync_folder", refuse)
    before = len(os.listdir("/proc/self/fd"))
    for index in range(5):
        journal._retry_at = 0.0
        assert not journal.commit([RecordBatch("a", [frame(index)])])
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_disk_that_does_not_answer_holds_nobody(journal: Journal, monkeypatch: pytest.MonkeyPatch):
    answers, really_sync = threading.Event(), os.fdatasync

    def fdatasync(descriptor: int) -> None:
        answers.wait()
        really_sync(descriptor)

    monkeypatch.setattr(scan_log_module.os, "fdatasync", fdatasync)
    monkeypatch.setattr(store_module, "COMMIT_WAIT_S", 0.05)
    monkeypatch.setattr(store_module, "MAX_QUEUED_BYTES", 4 * len(frame(0).payload))
    assert not journal.commit([RecordBatch("a", [frame(0)])])
    assert not journal.commit([RecordBatch("a", [frame(1)])])
    assert "does not respond" in (journal.trouble or "")
    assert not journal.commit([RecordBatch("a", [frame(i) for i in range(2, 12)])])
    assert journal.skipped == 10
    answers.set()
    monkeypatch.setattr(store_module, "COMMIT_WAIT_S", 60.0)
    assert journal.commit([RecordBatch("a", [frame(12)])])
    assert journal.trouble is None
    assert [r.index for r in again(journal.folder)] == [0, 1, 12]


def test_a_journal_made_before_the_common_log_is_read_and_written_as_the_same_bytes(tmp_path: Path):
    shutil.copytree(OLD, tmp_path / "journal")
    journal = Journal(tmp_path / "journal", 1 << 30)
    assert journal.unfinished() == ["star"]
    records = list(journal.replay("star"))
    kinds = [record.kind.name for record in records]
    assert kinds == ["START", "FRAME", "POSITIONS"] + ["FRAME", "POSITIONS"] * 2 + ["REFUSED", "NOTE"] + [
        "FRAME", "POSITIONS"
    ] * 3 + ["REFUSED", "NOTE", "END"]  # fmt: skip
    for index in range(6):
        expected = (np.arange(64, dtype=np.uint16).reshape(8, 8) * (index + 1)) % 97
        np.testing.assert_array_equal(journal.read("star", index), expected)
    assert stored_start("star", records[0]).start.geometry.photon_energy_eV == 8800.0
    assert [(p.scan_id, p.index) for p in keeper_of(journal).loose()] == [("next", 0), ("next", 3)]
    for path in sorted(OLD.glob("*/*.journal")):
        written = b"".join(part for _, record in read_records(path, pixels=True) for part in record.buffers())
        assert written == path.read_bytes()


def test_a_record_of_a_newer_version_is_passed_over(tmp_path: Path):
    newer = LOG.encode((99, 0, 0, 0, 0, 0), (-1, 0.0, 0.0), [b"new"])
    other = frame_record(8, None, replace(pack(pattern(8)), dtype=np.dtype("<u2"))).buffers()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "000001.journal").write_bytes(b"".join([*frame(0).buffers(), *newer, *other]))
    assert [record.index for record in again(tmp_path)] == [0, 8]


def test_summary_reads_the_optics_that_it_knows(journal: Journal):
    optics = {"object_pixel_size_m": 1e-8, "of_a_newer_version": 3}
    assert journal.commit([RecordBatch("a", [frame(0), plain_record(Kind.NOTE, optics=optics)])])
    found = summary(journal.folder / "a")
    assert (found.frames, found.object_pixel_size_m, found.photon_energy_eV) == (1, 1e-8, None)


def test_a_frame_too_long_for_the_journal_is_named(journal: Journal, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(LOG, "max_body_bytes", 1000)
    assert not journal.commit(
        [
            RecordBatch(
                "a", [frame_record(0, None, pack(np.random.default_rng(0).integers(0, 1 << 30, (64, 64), np.uint32)))]
            )
        ]
    )
    assert "the limit is 1000 bytes" in (journal.trouble or "")


def keeper_of(journal: Journal) -> Keeper:
    return Keeper(journal, ScanNames(journal.folder), 60.0)


def test_a_start_comes_back_whole(journal: Journal):
    keeper = keeper_of(journal)
    geometry = StreamGeometry(
        photon_energy_eV=8000.0,
        beam_center_px=(3.5, 4.0),
        mask=np.eye(4, dtype=bool),
        frame_shape=(4, 4),
        frame_dtype=np.dtype("uint16"),
    )
    start = ScanStart("wire", 9, {"a": [1, "x"]}, geometry)
    keeper.open(StoredStart("wire-2", "2026-01-01", start, was_heard=False))
    assert keeper.flush(keeper.take())
    (record,) = again(journal.folder, "wire-2")
    back = stored_start("wire-2", record)
    assert (back.started, back.was_heard, back.start) == ("2026-01-01", False, start)
    assert back.start.geometry.beam_center_px == (3.5, 4.0)
    assert back.start.geometry.frame_dtype == np.dtype("uint16")
    np.testing.assert_array_equal(back.start.geometry.mask, geometry.mask)


def test_positions_before_their_scan_are_its_own(journal: Journal):
    keeper = keeper_of(journal)
    keeper.positions([Position(None, 0, WHERE), Position("other", 5, WHERE)], lambda _: None)
    keeper.flush(keeper.take())
    assert [(p.scan_id, p.index) for p in keeper_of(journal).loose()] == [(None, 0), ("other", 5)]
    keeper.open(StoredStart("a", "", ScanStart("a")))
    keeper.positions([Position(None, 1, WHERE)], lambda _: "a")
    keeper.frame("a", Frame("a", 0, pattern(0), 0), pack(pattern(0)))
    keeper.refused("a", CodecError(RefusalReason.CORRUPT, "damaged", "a", 4))
    keeper.end("a", "silence")
    assert keeper.flush(keeper.take())
    records = again(journal.folder)
    kinds = [Kind.START, Kind.POSITIONS, Kind.POSITIONS, Kind.FRAME, Kind.REFUSED, Kind.END]
    assert [r.kind for r in records] == kinds
    assert [positions_of(r.payload) for r in records[1:3]] == [[(0, WHERE)], [(1, WHERE)]]
    assert records[4].plain() == {"reason": "corrupt", "index": 4, "words": "damaged"}
    assert [p.index for p in keeper_of(Journal(journal.folder, 1 << 30)).loose()] == [5]


def test_names_are_taken_where_a_folder_has_them(tmp_path: Path):
    (tmp_path / "a").mkdir()
    names = ScanNames(tmp_path)
    assert names.is_taken("a")
    assert not names.is_taken("b")


def test_scans_are_played_again_in_the_order_in_which_they_began(journal: Journal):
    keeper = keeper_of(journal)
    for name in ("z", "a", "m"):
        keeper.open(StoredStart(name, "", ScanStart(name)))
        keeper.flush(keeper.take())
    journal.close("a")
    assert Journal(journal.folder, 1 << 30).unfinished() == ["z", "m"]


def test_a_journal_is_a_stream_to_train_on(journal: Journal, tmp_path: Path):
    side, pixel_m = 64, 2e-8
    images = {i: np.full((side, side), (i + 1) ** 2, dtype=np.uint16) for i in range(30)}
    places = {i: PositionM(pixel_m * 6 * (i // 6), pixel_m * 6 * (i % 6)) for i in images}
    records = [frame_record(i, None if i == 7 else places[i], pack(images[i])) for i in sorted(images, reverse=True)]
    assert journal.commit([RecordBatch("a", records)])
    probe = torch.ones(1, side, side, dtype=torch.complex64)
    config = DataConfig(n_subsample=1, x_bounds=(0, 1), y_bounds=(0, 1))
    frames = group_frames(tmp_path / "journal" / "a", pixel_m)
    batches = list(StreamDataset(frames, probe, config, batch_size=8, seed=0, chunk_frames=16))
    members = torch.cat([batch.group["nn_indices"] for batch in batches])
    assert set(members.flatten().tolist()) <= set(images) - {7}
    assert len(members) == 29
    amplitude = torch.cat([batch.group["images"] for batch in batches])
    assert (amplitude[:, :, 3, 3] == members + 1).all()
    where = torch.cat([batch.group["coords_global"] for batch in batches])[:, :, 0]
    torch.testing.assert_close(where, torch.stack((6.0 * (members // 6), 6.0 * (members % 6)), dim=-1))
