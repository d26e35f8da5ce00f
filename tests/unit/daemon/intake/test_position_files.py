"""Positions in files of a run: read once they are there, given up with a reason, never read from elsewhere."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from daemon.files.rows import read_rows
from daemon.intake.position_files import PositionFiles
from ptychopinn.errors import FileFormatError
from streams.frame import PositionNews
from streams.position_sources.bluesky import BlueskyReader
from streams.position_sources.samples import SourceOptions
from tests.support.position_tools import Gate, bluesky

START = {"uid": "u"}
KEYS = {name: {"external": "STREAM:", "shape": [1]} for name in ("y", "x")}
DESCRIPTOR = {"uid": "d", "name": "primary", "run_start": "u", "data_keys": KEYS}
DATUM = {"descriptor": "d", "indices": {"start": 0, "stop": 3}, "seq_nums": {"start": 1, "stop": 4}}


def hear(path: Path, folder: Path, patience_s: float, count: int) -> list[PositionNews]:
    """Return the news of a run whose positions are in a file."""
    reader, gate = BlueskyReader(SourceOptions(("y", "x"))), Gate()
    files = PositionFiles(reader, [folder], patience_s, gate)
    files.start()
    documents = [("start", START), ("descriptor", DESCRIPTOR)]
    for name in ("y", "x"):
        resource = {"uid": f"r{name}", "data_key": name, "mimetype": "application/x-hdf5", "uri": f"file://localhost{path}",
                    "parameters": {"dataset": f"/{name}"}}  # fmt: skip
        documents += [("stream_resource", resource), ("stream_datum", DATUM | {"stream_resource": f"r{name}"})]
    for name, document in documents:
        files.want(reader.parse([bluesky(name, document)]).wanted)
    news = gate.wait(count)
    files.stop()
    return news


def write(path: Path, rows: int = 3) -> None:
    with h5py.File(path, "w") as file:
        file["y"], file["x"] = np.arange(rows, dtype="f8"), np.arange(rows)[:, None] * 10


def test_positions_of_both_axes(tmp_path: Path) -> None:
    write(tmp_path / "a.h5")
    news = hear(tmp_path / "a.h5", tmp_path, 60, 2)
    assert [tuple(p.position_m) for p in news[1].positions] == [(0, 0), (1, 10), (2, 20)]
    assert news[0].fault is None


@pytest.mark.parametrize(
    ("rows", "words"), [(None, "there is no such file"), (2, "/y has 2 rows; 3 are needed"), (0, "/y has 0 rows")]
)
def test_what_never_comes_is_given_up_and_said(tmp_path: Path, rows: int | None, words: str) -> None:
    if rows is not None:
        write(tmp_path / "a.h5", rows)
    news = hear(tmp_path / "a.h5", tmp_path, 0.0, 2)
    assert "the positions y are in a file that was not read" in str(news[0].fault)
    assert words in str(news[0].fault)
    assert not any(each.positions for each in news)


def test_a_file_elsewhere_is_not_opened_not_even_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    write(tmp_path / "a.h5")
    (tmp_path / "ours" / "link.h5").symlink_to(tmp_path / "a.h5")
    for path in (tmp_path / "a.h5", tmp_path / "ours" / "link.h5", tmp_path / "ours" / ".." / "a.h5"):
        news = hear(path, tmp_path / "ours", 60, 2)
        assert "lies in none of [positions] resource_folders; add its folder there" in str(news[0].fault)


def test_rows_that_are_no_numbers_or_elsewhere(tmp_path: Path) -> None:
    write(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["text"], file["image"] = [b"a", b"b"], np.zeros((3, 4))
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["y"] = h5py.ExternalLink(str(tmp_path / "a.h5"), "/y")
    (tmp_path / "d.h5").write_bytes(b"not HDF5")
    for name, dataset, words in (
        ("b.h5", "text", "has no numeric dataset text"),
        ("b.h5", "image", "not one number for each row"),
        ("b.h5", "gone", "has no numeric dataset gone"),
        ("c.h5", "y", "c.h5"),
        ("d.h5", "y", "d.h5"),
    ):
        with pytest.raises(FileFormatError, match=words):
            read_rows(tmp_path / name, dataset=dataset, start=0, stop=3)
