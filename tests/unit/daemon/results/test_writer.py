"""Products on a disk that is full, broken or gone: said, kept, written when it takes them again."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from daemon.files import Product, read_product
from daemon.intake.scan import Scan
from daemon.messages import ScanState
from daemon.results import writer as output
from daemon.results.disk import ResultDisk
from daemon.results.records import RecordFiles, ScanRecord
from daemon.results.writer import ProductWriter

PATIENCE_S = 30.0


def make_product(size: int = 40) -> Product:
    return Product(
        name="scan",
        comments="",
        indexes=np.arange(3),
        positions_m=np.zeros((3, 2)),
        probe=np.ones((1, 8, 8), dtype=np.complex64),
        pixel_size_m=1e-8,
        photon_energy_eV=None,
        detector_distance_m=None,
        object=np.ones((size, size), dtype=np.complex64),
        object_origin_px=(0.0, 0.0),
    )


class Disk:
    """The disk, which refuses every write with ``code`` while there is one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, code: int | None) -> None:
        self.code = code
        self._write = os.pwrite
        self.refused = threading.Event()
        monkeypatch.setattr(os, "pwrite", self.pwrite)

    def pwrite(self, descriptor: int, content: memoryview, place: int) -> int:
        if self.code is not None:
            self.refused.set()
            raise OSError(self.code, os.strerror(self.code))
        return self._write(descriptor, content, place)


class Told:
    """What the writer tells of one scan."""

    def __init__(self) -> None:
        self.first: list[Path | None] = []
        self.was_told, self.came_late = threading.Event(), threading.Event()

    def on_written(self, path: Path | None) -> None:
        self.first.append(path)
        self.was_told.set()

    def on_late(self, path: Path) -> None:
        self.first.append(path)
        self.came_late.set()


@pytest.fixture(autouse=True)
def no_tidying(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "release_memory", lambda: None)


@pytest.fixture
def start(request: pytest.FixtureRequest) -> Callable[..., ProductWriter]:
    def started(**options: object) -> ProductWriter:
        writer = ProductWriter(2, disk=ResultDisk(retry_s=0.02), **options)  # type: ignore[arg-type]
        request.addfinalizer(writer.stop)
        writer.start()
        return writer

    return started


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "is full"),
        (errno.EDQUOT, "quota"),
        (errno.EIO, "reports faults"),
        (errno.EROFS, "is read-only"),
        (errno.EACCES, "may not be written to"),
        (errno.EFBIG, "limit of file size"),
        (errno.EMFILE, "files and connections are open"),
        (errno.ESTALE, "has gone"),
        (errno.EINVAL, "Invalid argument"),
    ],
)
def test_product_is_written_once_the_disk_takes_it(code: int, words: str, tmp_path: Path, monkeypatch, start) -> None:
    disk, told, asked = Disk(monkeypatch, code), Told(), []
    writer = start(make_room=lambda folder, need: bool(asked.append((folder, need))))
    writer.finish(tmp_path / "s", make_product, told.on_written, told.on_late)
    assert told.was_told.wait(PATIENCE_S)
    assert told.first == [None]
    assert words in str(writer.failure)
    assert writer.waiting <= 1
    assert not list(tmp_path.rglob("*.h5"))
    assert bool(asked) == (code in (errno.ENOSPC, errno.EDQUOT))
    disk.code = None
    assert told.came_late.wait(PATIENCE_S)
    assert read_product(told.first[1]).indexes.size == 3
    assert writer.failure is None
    assert os.listdir(tmp_path / "s") == ["product.h5"]


def test_room_is_made_until_the_product_fits(tmp_path: Path, monkeypatch, start) -> None:
    disk, told, left = Disk(monkeypatch, errno.ENOSPC), Told(), [3, 2, 1]

    def make_room(_folder: Path, need: int) -> bool:
        assert need == 40 * 40 * 8
        left.pop()
        disk.code = errno.ENOSPC if left else None
        return True

    writer = start(make_room=make_room)
    writer.finish(tmp_path / "s", make_product, told.on_written, told.on_late)
    assert told.was_told.wait(PATIENCE_S)
    assert told.first == [tmp_path / "s/product.h5"]
    assert not left


def test_no_room_is_made_for_an_improvement_or_a_checkpoint(tmp_path: Path, monkeypatch, start) -> None:
    disk, told, asked = Disk(monkeypatch, errno.ENOSPC), Told(), []
    writer = start(make_room=lambda *about: bool(asked.append(about)))
    writer.checkpoint(tmp_path / "s", make_product)
    assert disk.refused.wait(PATIENCE_S)
    writer.finish(tmp_path / "s", make_product, told.on_written)
    assert told.was_told.wait(PATIENCE_S)
    assert not asked
    assert writer.waiting == 0
    assert "of s " in str(writer.failure)  # the checkpoint, until something is written
    disk.code = None
    writer.finish(tmp_path / "other", make_product, told.on_written, told.on_late)
    writer.stop()
    assert writer.failure is None


def test_what_no_disk_mends_is_not_tried_again(tmp_path: Path, start) -> None:
    told = Told()
    writer = start()
    bad = replace(make_product(), indexes=np.zeros(3, dtype=np.int64))
    writer.finish(tmp_path / "s", lambda: bad, told.on_written, told.on_late)
    assert told.was_told.wait(PATIENCE_S)
    assert told.first == [None]
    assert writer.waiting == 0
    assert "a frame index occurs twice" in str(writer.failure)


def test_products_that_wait_are_bounded_and_the_end_tries_them_once_more(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(output, "WAITING_BYTES", 3 * make_product().object.nbytes)
    disk, told = Disk(monkeypatch, errno.ENOSPC), [Told() for _ in range(4)]
    writer = ProductWriter(2, disk=ResultDisk(retry_s=1000.0))
    writer.start()
    for number, one in enumerate(told):
        writer.finish(tmp_path / str(number), make_product, one.on_written, one.on_late)
        assert one.was_told.wait(PATIENCE_S)
    disk.code = None
    writer.stop()
    assert [one.came_late.is_set() for one in told] == [False, False, True, True]
    assert "a restart computes it from the journal" in str(writer.failure)


def test_end_of_the_daemon_does_not_wait_for_a_full_disk(tmp_path: Path, monkeypatch, start) -> None:
    Disk(monkeypatch, errno.ENOSPC)
    told, writer = Told(), start()
    writer.finish(tmp_path / "s", make_product, told.on_written, told.on_late)
    assert told.was_told.wait(PATIENCE_S)
    writer.stop()
    assert not writer.is_alive
    assert told.first == [None]


def test_record_is_written_once_the_disk_takes_it(tmp_path: Path, monkeypatch, start) -> None:
    (tmp_path / "s").write_text("in the way")
    records = RecordFiles(tmp_path)
    scan = Scan(records, ScanRecord("s"))
    scan.change(state=ScanState.COMPLETE)
    assert "the record of scan s is not written" in str(records.failure)
    assert not scan.is_written
    written = threading.Event()

    def retry() -> None:
        if scan.write_again():
            written.set()

    start(retry_others=retry)
    (tmp_path / "s").unlink()
    assert written.wait(PATIENCE_S)
    assert records.failure is None
    (found,) = RecordFiles(tmp_path).read()
    assert found.state == "complete"


def test_record_names_no_file_outside_its_folder(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("secret")
    out = tmp_path / "out"
    for name, product in (("a", str(secret)), ("b", "../b/product.h5")):
        (out / name).mkdir(parents=True)
        (out / name / "scan.json").write_text(json.dumps({"id": name, "state": "complete", "product": product}))
    (out / "b/product.h5").touch()
    (out / "a/token").symlink_to(secret)
    products = {record.id: record.product for record in RecordFiles(out).read()}
    assert products == {"a": None, "b": str(out / "b/product.h5")}
