"""Files that hang or end whoever reads them, that point to other files, or need too much memory."""

from __future__ import annotations

import os
import resource
from io import BytesIO
from pathlib import Path

import h5py
import numpy as np
import pytest

from daemon.files import apart, read_probe, read_product, read_scan
from daemon.files.apart import FOLLOWING, Limits, read_apart
from daemon.files.datasets import read_datasets
from daemon.files.structure import is_hdf5
from ptychopinn.errors import FileFormatError

HEAP, HEAD = b"GCOL", 16
PIXEL = ("pixel_width_m", "pixel_height_m")


def freeze(path: Path) -> None:
    """Say of the free space of the heap with the texts that it is empty: the library looks for its end for ever."""
    content = bytearray(path.read_bytes())
    first = content.find(HEAP) + HEAD
    size = int.from_bytes(content[first + 8 : first + 16], "little")
    free = first + HEAD + -(-size // 8) * 8
    content[free + 8 : free + 16] = bytes(8)
    path.write_bytes(content)


def write_small(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file["probe_position_indexes"] = np.arange(3)
        file["object"] = np.ones((1, 4, 4), dtype=np.complex64)
        file["live/values"] = np.arange(6.0).reshape(2, 3)
        file["object"].attrs.update(dict.fromkeys(PIXEL, 1e-8) | dict.fromkeys(("center_x_m", "center_y_m"), 0.0))
        file.attrs["name"] = "scan"
    return path


@pytest.fixture
def frozen(tmp_path: Path) -> Path:
    freeze(path := write_small(tmp_path / "frozen.h5"))
    return path


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "TIMEOUT_S", 1.0)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("reader", [read_product, read_scan, read_probe])
def test_file_that_hangs_the_library_is_refused_by_every_reader(reader, frozen: Path) -> None:
    with pytest.raises(FileFormatError, match="reading took over 1 s"):
        reader(frozen)


def test_file_that_hangs_is_refused_apart_and_the_next_is_read(frozen: Path, tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(FileFormatError, match="reading took over"):
        read_apart(read_product, frozen, Limits(timeout_s=1.0))
    monkeypatch.setattr(apart._Readers, "take", None)
    with pytest.raises(FileFormatError, match="reading took over"):
        read_apart(read_product, frozen)  # told at once, without a process
    monkeypatch.undo()
    found = read_datasets(write_small(tmp_path / "good.h5"), ["live/values", "absent", "live"])
    assert list(found) == ["live/values"]
    np.testing.assert_array_equal(found["live/values"], np.arange(6.0).reshape(2, 3))


def test_process_that_a_file_ends_is_told_and_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_small(tmp_path / "good.h5")
    killed = apart._Reader()
    killed._process.kill()
    with monkeypatch.context() as patched:
        patched.setattr(apart._readers, "take", lambda: killed)
        with pytest.raises(FileFormatError, match="the process that read it ended with SIGKILL"):
            read_datasets(path, ["object"])
    path.touch()
    assert read_datasets(path, ["object"])["object"].shape == (1, 4, 4)


def test_process_that_went_while_it_waited_is_replaced_without_a_word(tmp_path: Path) -> None:
    path = write_small(tmp_path / "good.h5")
    read_datasets(path, ["object"])
    for reader in apart._readers._idle:
        reader._process.kill()
        reader._process.wait()
    assert "object" in read_datasets(path, ["object"])


def test_answer_of_many_megabytes_comes_whole(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 1000, (40, 256, 256)).astype(np.uint16)
    with h5py.File(tmp_path / "large.h5", "w") as file:
        file["a"], file["b"] = values, values[::2].astype(">f4")
    found = read_datasets(tmp_path / "large.h5", ["a", "b"])
    np.testing.assert_array_equal(found["a"], values)
    np.testing.assert_array_equal(found["b"], values[::2])
    assert found["a"].flags.writeable


def test_data_that_need_too_much_memory_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        file.create_dataset("a", (1 << 20, 1 << 12), "f8", chunks=(1, 1 << 12))  # 32 GiB, of which none is written
    with pytest.raises(FileFormatError, match="memory"):
        read_datasets(tmp_path / "huge.h5", ["a"], Limits(memory_bytes=2 << 30))


def test_a_lack_of_descriptors_is_said_and_not_blamed_on_the_file(tmp_path: Path) -> None:
    path = write_small(tmp_path / "a.h5")
    apart._readers.end_all()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, before[1]))
    try:
        with pytest.raises(FileFormatError, match="no process can be started"):
            read_apart(read_product, path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert set(read_datasets(path, ["live/values"])) == {"live/values"}


def test_answer_that_is_too_large_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "large.h5", "w") as file:
        file["a"] = np.zeros(2_000_000)
    with pytest.raises(FileFormatError, match=r"the answer of 0\.0 GB is too large"):
        read_datasets(tmp_path / "large.h5", ["a"], Limits(answer_bytes=1 << 20))
    assert read_datasets(tmp_path / "large.h5", ["a"])["a"].size == 2_000_000


def external_link(file: h5py.File, other: Path) -> None:
    file["a"] = h5py.ExternalLink(str(other), "/secret")


def external_storage(file: h5py.File, other: Path) -> None:
    file.create_dataset("a", (4,), "u1", external=[(str(other), 0, 4)])


def virtual_dataset(file: h5py.File, other: Path) -> None:
    layout = h5py.VirtualLayout((4,), "u1")
    layout[:] = h5py.VirtualSource(str(other), "secret", (4,))
    file.create_virtual_dataset("a", layout)


@pytest.mark.parametrize("point", [external_link, external_storage, virtual_dataset])
def test_other_files_are_read_only_where_that_is_asked_for(point, tmp_path: Path) -> None:
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["secret"] = np.array([1, 2, 3, 4], dtype=np.uint8)
    with h5py.File(tmp_path / "pointing.h5", "w") as file:
        point(file.create_group("deep"), other)
        file["again"] = h5py.SoftLink("/deep")
        file["deep/round"] = file["/"]
    with pytest.raises(FileFormatError, match="/a points to another file"):
        read_datasets(tmp_path / "pointing.h5", ["deep/a"])
    assert read_datasets(tmp_path / "pointing.h5", ["deep/a"], FOLLOWING)["deep/a"].shape == (4,)


def test_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.h5")
    with pytest.raises(FileFormatError, match="is a pipe or device"):
        read_product(tmp_path / "pipe.h5")


def test_answer_that_is_no_data_is_not_built() -> None:
    with pytest.raises(Exception, match="must not occur in an answer"):
        apart._Unpickler(BytesIO(b"cos\nsystem\n(S'true'\ntR.")).load()


def test_signature_is_found_behind_a_user_block(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w", userblock_size=1024) as file:
        file["a"] = 1
    assert is_hdf5(tmp_path / "a.h5")
    (tmp_path / "b").write_bytes(b"\0" * 5000)
    assert not is_hdf5(tmp_path / "b")
