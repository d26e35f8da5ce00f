"""The book of scans: what damaged or foreign records cost."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from daemon.results.records import ScanBook


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
    book = ScanBook(tmp_path)
    book.open("good", "2026-01-01")
    book.change("good", state="complete", rfactor=float("nan"), center_px=(3, 4), notes=("a note",))
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "scan.json").write_text(text)
    again = ScanBook(tmp_path)
    assert [scan["id"] for scan in again.listing(lambda _: {})] == ["good"]
    assert (again.get("good") or book).center_px == (3, 4)


def test_what_is_no_file_is_passed_over(tmp_path: Path):
    for name in ("pipe", "folder", "link"):
        (tmp_path / name).mkdir()
    os.mkfifo(tmp_path / "pipe" / "scan.json")
    (tmp_path / "folder" / "scan.json").mkdir()
    (tmp_path / "link" / "scan.json").symlink_to("/nonexistent")
    assert ScanBook(tmp_path).listing(lambda _: {}) == []


def test_a_record_of_a_newer_version_is_read_as_far_as_it_is_known(tmp_path: Path):
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "scan.json").write_text(record(newer_field={"a": 1}, rfactor=0.1))
    (scan,) = ScanBook(tmp_path).listing(lambda _: {})
    assert (scan["id"], scan["rfactor"]) == ("odd", 0.1)


def test_records_are_written_whole(tmp_path: Path) -> None:
    book = ScanBook(tmp_path)
    book.change("one", state="complete")
    folder = tmp_path / "one"
    assert [path.name for path in folder.iterdir()] == ["scan.json"]
    assert json.loads((folder / "scan.json").read_text())["state"] == "complete"
