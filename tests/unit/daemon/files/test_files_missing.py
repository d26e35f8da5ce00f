"""Frames that a file should hold and does not: lost sources, frames never written, frames without light; files cut short."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from daemon.files import Severity, read_scan
from daemon.files.hdf5_faults import FILTERS
from ptychopinn.errors import FileFormatError
from tests.support.scan_files import FRAMES, PATTERNS, N, counts, write_cxi

WRITER = """
import h5py, os, signal, sys
file = h5py.File(sys.argv[1], "a", libver="latest")
data = file["entry_1/data_1/data"]
data[0] = data[0]
file.flush()
if sys.argv[2] == "swmr":
    file.swmr_mode = True
os.kill(os.getpid(), signal.SIGKILL)
"""


def virtual(path: Path, *sources: tuple[str, slice, slice]) -> Path:
    """Write a scan whose patterns come from other files, each frames and columns of a pattern."""
    write_cxi(path, **{PATTERNS: None})
    layout = h5py.VirtualLayout(counts().shape, "u4")
    for name, frames, columns in sources:
        part = counts()[frames, :, columns]
        layout[frames, :, columns] = h5py.VirtualSource(name, "d", part.shape)
        if "gone" not in name:
            with h5py.File(path.with_name(name), "w") as file:
                file["d"] = part
    with h5py.File(path, "a") as file:
        file.create_virtual_dataset(PATTERNS, layout)
    return path


def test_frames_of_a_source_that_is_gone_are_left_out_and_named(tmp_path: Path) -> None:
    every = slice(0, N)
    path = virtual(tmp_path / "v.cxi", ("a.h5", slice(0, 9), every), ("gone.h5", slice(9, FRAMES), every))
    scan = read_scan(path)
    assert scan.indexes.tolist() == list(range(9))
    np.testing.assert_array_equal(scan.counts, counts()[:9])
    first = scan.doubts[0]
    assert (first.severity, first.topic) == (Severity.WRONG, "missing")
    assert str(first) == "7 of 16 frames are missing (9 to 15): gone.h5 does not exist"


def test_a_detector_module_that_is_gone_is_masked(tmp_path: Path) -> None:
    frames = slice(0, FRAMES)
    path = virtual(tmp_path / "v.cxi", ("left.h5", frames, slice(0, 9)), ("gone.h5", frames, slice(9, N)))
    scan = read_scan(path)
    assert len(scan.counts) == FRAMES
    assert scan.mask is not None
    np.testing.assert_array_equal(scan.mask, np.broadcast_to(np.arange(N) >= 9, (N, N)))
    assert str(scan.doubts[0]) == "112 pixels of each frame are missing: gone.h5 does not exist"


def test_a_virtual_data_set_without_any_source_left(tmp_path: Path) -> None:
    path = virtual(tmp_path / "v.cxi", ("gone.h5", slice(0, FRAMES), slice(0, N)))
    with pytest.raises(FileFormatError, match=r"holds none of its frames: 16 of 16 .* gone\.h5 does not exist"):
        read_scan(path)


@pytest.mark.parametrize(
    ("frames", "words"), [(4, "holds d of shape (4, 16, 16), which is too small"), (0, "cannot be")]
)
def test_a_source_that_is_short_or_broken_is_named(tmp_path: Path, frames: int, words: str) -> None:
    path = virtual(tmp_path / "v.cxi", ("a.h5", slice(0, FRAMES), slice(0, N)))
    (tmp_path / "a.h5").write_bytes(b"nothing")
    if frames:
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["d"] = counts()[:frames]
    with pytest.raises(FileFormatError, match=r"data comes from other files: a\.h5 " + re.escape(words)):
        read_scan(path)


def test_frames_never_written_are_left_out(tmp_path: Path) -> None:
    path = write_cxi(tmp_path / "s.cxi", **{PATTERNS: None})
    with h5py.File(path, "a") as file:
        data = file.create_dataset(PATTERNS, (FRAMES, N, N), "u4", chunks=(1, N, N), fillvalue=7)
        data[:5] = counts()[:5]
    scan = read_scan(path)
    assert len(scan.counts) == 5
    assert [(one.severity, str(one)) for one in scan.doubts] == [
        (Severity.DOUBT, "11 of 16 frames are missing (5 to 15): never written")
    ]


def test_frames_without_light_are_left_out_where_others_have_some(tmp_path: Path) -> None:
    dark = counts()
    dark[[3, 10, 11]] = 0
    scan = read_scan(write_cxi(tmp_path / "s.cxi", **{PATTERNS: dark}))
    assert len(scan.counts) == FRAMES - 3
    assert str(scan.doubts[0]) == "3 of 16 frames hold no photons (3, 10 to 11) and were left out"


def test_dark_frames_among_nearly_dark_ones_stay(tmp_path: Path) -> None:
    """At a few photons a frame, a frame without any is a measurement."""
    few = np.zeros((FRAMES, N, N), "u4")
    few[::2, 8, 8] = 3
    scan = read_scan(write_cxi(tmp_path / "s.cxi", **{PATTERNS: few}))
    assert len(scan.counts) == FRAMES
    assert "8 of 16 frames hold no photons" in str(scan.doubts[0])


def unclosed(path: Path, how: str) -> Path:
    """Write a scan with a writer that is killed with the file open."""
    write_cxi(path.with_suffix(".old"), **{PATTERNS: None})
    with h5py.File(path.with_suffix(".old")) as old, h5py.File(path, "w", libver="latest") as file:
        old.copy("entry_1", file)
        file.create_dataset(PATTERNS, data=counts(), chunks=(1, N, N), maxshape=(None, N, N))
    ended = subprocess.run([sys.executable, "-W", "ignore", "-c", WRITER, str(path), how], check=False)
    assert ended.returncode == -signal.SIGKILL
    return path


def test_a_file_that_its_writer_left_open(tmp_path: Path) -> None:
    scan = read_scan(unclosed(tmp_path / "swmr.cxi", "swmr"))
    assert len(scan.counts) == FRAMES
    assert "the program that wrote it did not close it" in str(scan.doubts[0])
    with pytest.raises(FileFormatError, match=r"was not closed by the program that wrote it.*h5clear -s"):
        read_scan(unclosed(tmp_path / "plain.cxi", "plain"))


def test_a_file_that_is_cut_short(tmp_path: Path) -> None:
    path = write_cxi(tmp_path / "s.cxi")
    whole = path.stat().st_size
    os.truncate(path, whole // 2)
    with pytest.raises(FileFormatError, match=rf"is cut short: it has {whole // 2:,} of {whole:,} bytes"):
        read_scan(path)


@pytest.mark.parametrize(
    ("code", "name"), [(32004, "LZ4"), (32001, "Blosc"), (32015, "Zstandard"), (4000, "unknown name")]
)
def test_a_filter_that_is_not_installed_is_named(tmp_path: Path, code: int, name: str) -> None:
    if h5py.h5z.filter_avail(code):
        pytest.skip("this environment has the filter")
    path = write_cxi(tmp_path / "s.cxi", **{PATTERNS: None})
    with h5py.File(path, "a") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((1, N, N))
        plist.set_filter(code, h5py.h5z.FLAG_OPTIONAL, (0, 0))
        space = h5py.h5s.create_simple((FRAMES, N, N))
        made = h5py.h5d.create(file["entry_1/data_1"].id, b"data", h5py.h5t.NATIVE_UINT32, space, plist)
        h5py.Dataset(made).id.write_direct_chunk((0, 0, 0), b"x" * 64)
    remedy = "pip install hdf5plugin" if code in FILTERS else "write the file with gzip"
    with pytest.raises(FileFormatError, match=rf"is compressed with filter {code} \({name}.*not installed: {remedy}"):
        read_scan(path)
