"""The records of scans: what damaged or foreign records cost."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from daemon.messages import ScanState
from daemon.results.records import RecordFiles, ScanRecord


def record(**fields: Any) -> str:
    return json.dumps({"id": "odd", "state": "complete", "started": "2026-01-01"} | fields)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[" * 200_000,
        record(started=5),
        record(product=7),
        record(notes=3),
        record(verdict="x"),
        record(state="asleep"),
        record(center_px=[1]),
        record(id="another"),
    ],
)
def test_a_record_that_cannot_be_read_costs_its_own_line_alone(tmp_path: Path, text: str):
    records = RecordFiles(tmp_path)
    good = ScanRecord("good", ScanState.COMPLETE, rfactor=float("nan"), center_px=(3, 4), notes=("a note",))
    assert records.write(good)
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "scan.json").write_text(text)
    (found,) = RecordFiles(tmp_path).read()
    assert (found.id, found.center_px) == ("good", (3, 4))


def test_what_is_no_file_is_passed_over(tmp_path: Path):
    for name in ("pipe", "folder", "link"):
        (tmp_path / name).mkdir()
    os.mkfifo(tmp_path / "pipe" / "scan.json")
    (tmp_path / "folder" / "scan.json").mkdir()
    (tmp_path / "link" / "scan.json").symlink_to("/nonexistent")
    assert RecordFiles(tmp_path).read() == []


def test_a_record_of_a_newer_version_is_read_as_far_as_it_is_known(tmp_path: Path):
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "scan.json").write_text(record(newer_field={"a": 1}, rfactor=0.1))
    (scan,) = RecordFiles(tmp_path).read()
    assert (scan.id, scan.rfactor) == ("odd", 0.1)


def test_records_are_written_whole(tmp_path: Path) -> None:
    assert RecordFiles(tmp_path).write(ScanRecord("one", ScanState.COMPLETE))
    folder = tmp_path / "one"
    assert [path.name for path in folder.iterdir()] == ["scan.json"]
    assert json.loads((folder / "scan.json").read_text())["state"] == "complete"
