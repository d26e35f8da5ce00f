"""Writing HDF5 on a disk that fails at any moment: the fault is raised, no file is left, the process lives."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from ptychopinn.hdf5_file import atomic_hdf5

FRAMES = 300


def write(path: Path) -> None:
    """A file with an index of chunks larger than the library's cache keeps, packed data, text and attributes."""
    rng = np.random.default_rng(0)
    with atomic_hdf5(path) as file:
        frames = file.create_dataset("frames", (FRAMES, 8, 8), "u2", chunks=(1, 8, 8), compression="gzip")
        frames[:] = rng.integers(0, 99, (FRAMES, 8, 8))
        file["text"] = "configuration\n" * 5000
        for number in range(20):
            group = file.create_group(f"group {number}")
            group.attrs["words"], group["values"] = "a word", rng.random((50, 50))


def failing_at(number: int, code: int, written: list[int]):
    """Return a ``pwrite`` of a disk that takes so many writes, the last of them in part."""

    def pwrite(descriptor: int, content: memoryview, place: int, real=os.pwrite) -> int:
        written.append(len(content))
        if len(written) > number:
            raise OSError(code, os.strerror(code))
        return real(descriptor, content[: len(content) // 2 or 1] if len(written) == number else content, place)

    return pwrite


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_disk_that_fails_at_any_write_is_a_fault_and_leaves_nothing(code: int, tmp_path: Path, monkeypatch) -> None:
    path, written = tmp_path / "a.h5", []
    monkeypatch.setattr(os, "pwrite", failing_at(10**9, code, written))
    write(path)
    before = path.read_bytes()
    count = len(written)
    assert count > 50
    for number in [*range(6), *range(6, count, max(1, count // 12)), count - 1]:
        monkeypatch.setattr(os, "pwrite", failing_at(number, code, []))
        with pytest.raises(OSError, match=os.strerror(code)) as raised:
            write(path)
        assert raised.value.errno == code
        assert os.listdir(tmp_path) == ["a.h5"]
        assert path.read_bytes() == before
    monkeypatch.undo()
    write(path)
    with h5py.File(path) as file:
        assert file["frames"].shape == (FRAMES, 8, 8)


def test_file_holds_the_same_as_one_that_the_library_writes_itself(tmp_path: Path) -> None:
    values = np.arange(300_000, dtype=np.float32).reshape(3, 100, 1000)

    def fill(file: h5py.File) -> None:
        file.create_dataset("a", data=values, chunks=(1, 50, 100), compression="gzip")
        file["b"], file.attrs["c"] = values, "d"

    with atomic_hdf5(tmp_path / "a.h5") as file:
        fill(file)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        fill(file)
    sizes = [(tmp_path / name).stat().st_size for name in ("a.h5", "b.h5")]
    assert abs(sizes[0] - sizes[1]) < 10_000
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["a"], values)
        np.testing.assert_array_equal(file["b"], values)
        assert file.attrs["c"] == "d"


LIMITED = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {folder!r})
from test_hdf5_file import write
path = Path({path!r})
for limit in range(2000, {size}, {size} // 9):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        write(path)
        print("written", limit)
    except OSError as fault:
        print(fault.errno)
"""


def test_process_lives_on_under_a_limit_of_file_size(tmp_path: Path) -> None:
    write(tmp_path / "whole.h5")
    size = (tmp_path / "whole.h5").stat().st_size
    script = LIMITED.format(folder=str(Path(__file__).parent), path=str(tmp_path / "a.h5"), size=size)
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert set(ran.stdout.split()) == {str(errno.EFBIG)}
    assert sorted(os.listdir(tmp_path)) == ["whole.h5"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def write_and_fail(path: Path) -> None:
    with atomic_hdf5(path) as file:
        file["a"] = 1
        raise ValueError("its own")


def test_fault_of_the_program_that_writes_is_its_own(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="its own"):
        write_and_fail(tmp_path / "a.h5")
    assert not os.listdir(tmp_path)
