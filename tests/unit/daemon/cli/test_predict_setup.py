"""``predict`` reads its bundle once and sets its threads; a bundle is found beside the configuration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from daemon.cli.prediction import cpu_threads
from daemon.config import load_config
from daemon.results.records import ScanBook


@pytest.mark.parametrize(("asked", "wanted"), [("", 2), ("1", 1), ("99", 99), ("x", 2), ("0", 2)])
def test_threads_are_two_or_as_asked_but_no_more_than_cores(
    asked: str, wanted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    for cores in (1, 2, 8):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, n=cores: set(range(n)))
        assert cpu_threads() == min(cores, wanted)


def test_a_bundle_is_found_beside_the_configuration(tmp_path: Path) -> None:
    lines = ['[frames]\nendpoint = "tcp://127.0.0.1:9"', "[detector]\ncenter_px = [8, 8]\nsize_px = 16"]
    lines += ['[optics]\nobject_pixel_size_m = 1e-8\nprobe_file = "p.h5"', '[model]\nbundle = "mine.zip"']
    (tmp_path / "c.toml").write_text("\n".join(lines))
    (tmp_path / "p.h5").touch()
    assert load_config(tmp_path / "c.toml").model.bundle == "mine.zip"
    (tmp_path / "mine.zip").touch()
    assert load_config(tmp_path / "c.toml").model.bundle == str(tmp_path / "mine.zip")
    assert load_config(tmp_path / "c.toml", ["model.bundle=shipped"]).model.bundle == "shipped"


def test_records_are_written_whole(tmp_path: Path) -> None:
    book = ScanBook(tmp_path)
    book.change("one", state="complete")
    folder = tmp_path / "one"
    assert [path.name for path in folder.iterdir()] == ["scan.json"]
    assert json.loads((folder / "scan.json").read_text())["state"] == "complete"
