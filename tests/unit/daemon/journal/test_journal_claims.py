"""Which journals are played again, which are left alone, and that those are neither counted nor deleted."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from daemon.errors import ConfigError
from daemon.intake.replay import close_recorded
from daemon.journal import Journal, Keeper, RecordBatch, ScanNames, StoredStart, pack
from daemon.journal import start as start_module
from daemon.journal.folder import JournalFolder
from daemon.journal.record import Kind, frame_record, plain_record
from daemon.messages import ScanState
from daemon.results.records import RecordFiles, ScanRecord
from daemon.takeover import FolderLocks
from streams.frame import Frame, PositionM, ScanStart
from tests.support.registry_tools import make_registry

COUNTS = np.arange(16, dtype=np.uint16).reshape(4, 4)
SUFFIXES = ["-001", "-1", "-2", "-03", ".bak", " copy", "~", " (copy)", "_old"]


def write(folder: Path, *scans: tuple[str, str], is_closed: bool = False) -> None:
    """Leave journals of scans (own name, sender's name), two frames each, as a killed daemon does."""
    journal = Journal(folder, 1 << 30)
    keeper = Keeper(journal, ScanNames(folder), 10.0)
    journal.start()
    for scan_id, wire_id in scans:
        keeper.open(StoredStart(scan_id, f"began {scan_id}", ScanStart(wire_id, 2)))
        for i in range(2):
            keeper.frame(scan_id, Frame(wire_id, i, COUNTS, 0, PositionM(0.0, i * 1e-6)), pack(COUNTS))
        assert keeper.flush(keeper.take())
        if is_closed:
            journal.close(scan_id)
    journal.stop()


@pytest.fixture
def old_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have starts written as older versions did, without the scan's own name."""

    def older(kind: Kind, **content: object):
        del content["scan_id"]
        return plain_record(kind, **content)

    monkeypatch.setattr(start_module, "plain_record", older)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_copy_of_a_scans_folder_is_named_and_left_alone(tmp_path: Path, suffix: str):
    write(tmp_path, ("S", "S"))
    shutil.copytree(tmp_path / "S", tmp_path / f"S{suffix}")
    journal = Journal(tmp_path, 1 << 30)
    assert journal.unfinished() == ["S"]
    assert list(journal.left_alone) == [f"S{suffix}"]
    assert "holds scan S: it is a copy or was renamed" in journal.left_alone[f"S{suffix}"]
    assert journal.bytes == sum(path.stat().st_size for path in (tmp_path / "S").iterdir())


@pytest.mark.usefixtures("old_starts")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_so_is_a_copy_of_a_journal_of_an_older_version(tmp_path: Path, suffix: str):
    write(tmp_path, ("S", "S"), ("S-2", "S"))
    for name in ("S", "S-2"):
        if not (tmp_path / f"{name}{suffix}").exists():
            shutil.copytree(tmp_path / name, tmp_path / f"{name}{suffix}")
    journal = Journal(tmp_path, 1 << 30)
    assert journal.unfinished() == ["S", "S-2"]
    assert set(journal.left_alone) == {f"S{suffix}", f"S-2{suffix}"} - {"S-2"}


def test_scans_that_a_sender_gave_one_name_are_all_played(tmp_path: Path):
    write(tmp_path, ("S-2", "S"), ("S", "S"), ("latest-2", "latest"))
    assert Journal(tmp_path, 1 << 30).unfinished() == ["S-2", "S", "latest-2"]


def test_a_folder_that_was_renamed_is_left_alone_until_it_has_its_name_again(tmp_path: Path):
    write(tmp_path, ("S", "S"))
    (tmp_path / "S").rename(tmp_path / "aside")
    journal = Journal(tmp_path, 1 << 30)
    assert (journal.unfinished(), list(journal.left_alone)) == ([], ["aside"])
    (tmp_path / "aside").rename(tmp_path / "S")
    assert Journal(tmp_path, 1 << 30).unfinished() == ["S"]


def test_what_is_no_segment_is_passed_over(tmp_path: Path):
    write(tmp_path, ("S", "S"))
    folder = tmp_path / "S"
    os.mkfifo(folder / "000002.journal")
    (folder / "000003.journal").mkdir()
    (folder / "000004.journal").symlink_to("/nonexistent")
    (folder / "99999999999999999999.journal").touch()
    (folder / "²³.journal").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    journal = Journal(tmp_path, 1 << 30)
    assert journal.unfinished() == ["S"]
    assert "does not say how its scan began" in journal.left_alone["empty"]
    assert [record.kind for record in journal.replay("S")] == [Kind.START, Kind.FRAME, Kind.FRAME]
    journal.start()
    assert journal.commit([RecordBatch("S", [frame_record(2, None, pack(COUNTS))])])
    journal.stop()
    assert (folder / "000005.journal").is_file()


@pytest.mark.parametrize("content", [{"wire_id": 5}, {}, {"wire_id": "S", "geometry": {"mask": 3}}])
def test_a_start_that_cannot_be_read_costs_its_own_scan_alone(tmp_path: Path, content: dict):
    write(tmp_path, ("S", "S"))
    (tmp_path / "T").mkdir()
    (tmp_path / "T" / "000001.journal").write_bytes(b"".join(plain_record(Kind.START, **content).buffers()))
    journal = Journal(tmp_path, 1 << 30)
    assert journal.unfinished() == ["S"]
    assert "cannot be read" in journal.left_alone["T"]


def test_a_copy_of_a_finished_scan_is_never_deleted_to_make_room(tmp_path: Path):
    write(tmp_path, ("S", "S"), is_closed=True)
    shutil.copytree(tmp_path / "S", tmp_path / "S-backup")
    os.utime(tmp_path / "S-backup", (0, 0))  # the older of the two
    folder = JournalFolder(tmp_path, 1 << 30)
    assert folder.drop_oldest()
    assert not folder.drop_oldest()
    assert [path.name for path in tmp_path.iterdir()] == ["S-backup"]
    assert folder.bytes == 0
    assert list(folder.left_alone) == ["S-backup"]


def test_a_scan_whose_record_is_written_is_closed_and_another_of_its_name_left_alone(tmp_path: Path):
    write(tmp_path / "journal", ("mine", "mine"), ("other", "other"))
    for scan_id, started in (("mine", "began mine"), ("other", "another day")):
        assert RecordFiles(tmp_path).write(ScanRecord(scan_id, ScanState.COMPLETE, started))
    journal = Journal(tmp_path / "journal", 1 << 30)
    journal.start()
    close_recorded(journal, make_registry(tmp_path)[0])
    journal.stop()
    assert journal.unfinished() == []
    assert "holds another scan than the finished one" in journal.left_alone["other"]
    assert (tmp_path / "journal" / "mine" / "closed").exists()
    assert not (tmp_path / "journal" / "other" / "closed").exists()


def test_a_folder_is_kept_for_one_daemon(tmp_path: Path):
    first = FolderLocks(tmp_path, tmp_path / "journal")
    with pytest.raises(ConfigError, match=rf"another daemon \(process {os.getpid()} on .+\) uses .+journal; stop it"):
        FolderLocks(tmp_path / "elsewhere", tmp_path / "journal")
    FolderLocks(tmp_path / "elsewhere").release()  # was given back when the other could not be had
    first.release()
    FolderLocks(tmp_path, tmp_path / "journal").release()


def test_what_a_killed_daemon_was_writing_is_deleted_and_what_others_write_is_not(tmp_path: Path):
    FolderLocks(tmp_path).release()
    (tmp_path / "S").mkdir()
    mine, others = f".product.h5.{os.getpid()}-abcd.part", f".iterative.h5.{os.getpid() + 1}-abcd.part"
    for folder in (tmp_path, tmp_path / "S"):
        (folder / mine).touch()
        (folder / others).touch()
    FolderLocks(tmp_path).release()
    assert {path.name for path in tmp_path.rglob("*.part")} == {others}
