"""The record of a scan is changed from several threads and reaches the disk in the order of its changes."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from daemon.intake.scan import Scan
from daemon.messages import ScanState
from daemon.results.disk import ResultDisk
from daemon.results.records import RecordFiles, ScanRecord

THREADS, NOTES = 8, 25


def test_no_change_is_lost_and_the_disk_has_the_last_one(tmp_path: Path) -> None:
    written: list[int] = []

    def write(_path: Path, content: bytes) -> None:
        written.append(len(json.loads(content)["notes"]))

    scan = Scan(RecordFiles(tmp_path, ResultDisk(write_record=write)), ScanRecord("s", ScanState.COMPLETE))
    together = threading.Barrier(THREADS)

    def note(number: int) -> None:
        together.wait()
        for i in range(NOTES):
            scan.note(f"{number} {i}")
            scan.note(f"{number} {i}")

    threads = [threading.Thread(target=note, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(scan.record.notes) == THREADS * NOTES
    assert written == list(range(1, THREADS * NOTES + 1))


def test_the_record_of_a_running_scan_is_not_written(tmp_path: Path) -> None:
    scan = Scan(RecordFiles(tmp_path), ScanRecord("s"))
    scan.note("a note")
    scan.change(state=ScanState.FINISHING)
    assert list(tmp_path.iterdir()) == []
    scan.change(state=ScanState.STOPPED)
    assert json.loads((tmp_path / "s" / "scan.json").read_text())["notes"] == ["a note"]
