"""Files are read once, and for training in parts."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon.cli import scan_input, training_run
from daemon.cli.scan_input import ScanReader
from daemon.cli.training_run import TrainingOptions, first_side_px, reader
from daemon.files import read_scan
from daemon.files.beginning import read_beginning
from ptychopinn.data import read_training_file

SIDE, FRAMES = 32, 1024
FRAME_BYTES = SIDE**2 * 2


def content(**more: Any) -> dict[str, Any]:
    """Return a scan in four parts of equal length."""
    counts = np.random.default_rng(0).poisson(20.0, (FRAMES, SIDE, SIDE)).astype(np.uint16)
    y, x = np.divmod(np.arange(FRAMES), 32)
    probe = np.exp(-((np.mgrid[:SIDE, :SIDE] - SIDE / 2) ** 2).sum(0) / 60).astype(np.complex64)
    return {"diff3d": counts, "xcoords": 2.0 * x, "ycoords": 2.0 * y, "probeGuess": 15 * probe, **more}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_the_beginning_is_that_of_the_scan(save: Any, tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    save(path, **content(scan_index=np.arange(FRAMES) // (FRAMES // 4)))
    few = read_beginning(path, 40 * FRAME_BYTES)
    np.testing.assert_array_equal(few.counts, content()["diff3d"][:40])
    assert few.positions_px is not None
    assert len(few.positions_px) == 40
    assert not few.doubts


def test_frames_that_stand_elsewhere_are_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    np.savez(path, **(content() | {"diff3d": np.moveaxis(content()["diff3d"], 0, -1)}))
    np.testing.assert_array_equal(read_beginning(path, 40 * FRAME_BYTES).counts, content()["diff3d"])


def test_training_reads_files_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_run, "read_beginning", lambda path: read_beginning(path, 64 * FRAME_BYTES))
    path, options = tmp_path / "s.npz", TrainingOptions()
    np.savez(path, **content())
    whole = read_training_file(path)
    tracemalloc.start()
    try:
        assert first_side_px([path], options, tmp_path / "m.zip") == SIDE
        found = reader(options, 1e5, scratch=tmp_path)(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < whole.amplitude.nbytes / 2
    np.testing.assert_array_equal(found.amplitude, whole.amplitude)
    assert [one.name for one in tmp_path.iterdir()] == ["s.npz"]


def test_a_file_of_several_scans_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []
    read = scan_input.read_content
    monkeypatch.setattr(scan_input, "read_content", lambda path: opened.append(path) or read(path))  # type: ignore[func-returns-value]
    paths = [tmp_path / "a.npz", tmp_path / "b.npz"]
    for path in paths:
        np.savez(path, **content(scan_index=np.arange(FRAMES) // (FRAMES // 4)))
    scans = ScanReader()
    for path in paths:
        for number in range(4):
            found, alone = scans.read(path, number), read_scan(path, scan_number=number)
            assert found.name == alone.name
            np.testing.assert_array_equal(found.counts, alone.counts)
            np.testing.assert_array_equal(found.positions_px, alone.positions_px)
    assert opened == paths
