"""A disk that is really full: a small one in memory, filled to several degrees while the daemon writes its product there."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.client import Viewer
from daemon.files import read_product
from tests.support.daemon_tools import PATIENCE_S, adds_up, follow, real_scan, running_daemon, send
from tests.support.slow_device import status_when

DISK_BYTES = 8 << 20
FRAMES = 60


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("a disk of its own takes the right to mount one")
    made = subprocess.run(
        [mount, "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no disk can be mounted here: {made.stderr.decode()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("left_bytes", [0, 20_000, 100_000, 300_000])
def test_product_is_written_once_the_full_disk_has_room(left_bytes: int, tmp_path: Path, small_disk: Path) -> None:
    settings = [f'output.directory="{small_disk}/out"', f'output.journal="{tmp_path}/journal"']
    scan = real_scan()
    with running_daemon(tmp_path, *settings) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        send(daemon, scan, FRAMES, scan_id="before")
        assert follow(viewer)[0]["product"] is not None
        fill = small_disk / "fill"
        fill.write_bytes(bytes(shutil.disk_usage(small_disk).free - left_bytes))
        send(daemon, scan, FRAMES, scan_id="full")
        ended, _ = follow(viewer, "full")
        assert ended["product"] is None
        assert adds_up(ended["verdict"])
        said = status_when(viewer, lambda s: s["state"] == "degraded")
        assert "The product of full is not written: the disk of" in said["sentence"]
        assert sorted(path.name for path in (tmp_path / "journal").glob("[!.]*")) == ["before", "full"]
        fill.unlink()
        ended, _ = follow(viewer, "full")
        assert read_product(ended["product"]).indexes.size == FRAMES
        status_when(viewer, lambda s: s["state"] != "degraded")
    assert not list(small_disk.rglob("*.part"))
