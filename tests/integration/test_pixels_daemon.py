"""Pixels, frames and probes that cannot be true, and faults in the engine's stages, through a real daemon: each scan ends."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon.app import Daemon
from daemon.cli.remote import show_scans, show_status
from daemon.client import Viewer
from daemon.engine.cadence import Publishing
from daemon.engine.improvement import Improvement
from daemon.engine.scan import ScanWork
from daemon.engine.scores import ScanScores
from daemon.files import ScanFile, read_product
from ptychopinn.mosaic.second_look import SecondLooks
from ptychopinn.refine.refined_layer import Refiner
from tests.support.daemon_tools import PATIENCE_S, adds_up, follow, real_scan, running_daemon, send

FRAMES = 40


@pytest.fixture(scope="module")
def scan() -> ScanFile:
    return real_scan()


def run(daemon: Daemon, scan: ScanFile, name: str, counts: np.ndarray | None = None) -> dict[str, Any]:
    """Send a scan and return how it ended."""
    changed = scan if counts is None else replace(scan, counts=counts)
    with Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        send(daemon, changed, FRAMES, scan_id=name)
        ended, _ = follow(viewer, name)
    assert adds_up(ended["verdict"])
    assert ended["verdict"]["pending"] == 0
    return ended


def is_finite(ended: dict[str, Any]) -> bool:
    product = read_product(ended["product"])
    rfactors = list(ended["rfactors"].values())
    return bool(np.isfinite(product.object).all() and np.isfinite(product.probe).all() and np.isfinite(rfactors).all())


def test_a_dead_pixel_costs_itself_alone_whatever_its_value_and_type(scan: ScanFile, tmp_path: Path):
    with running_daemon(tmp_path, "refine.enabled=true", "refine.finish_s=0.1") as daemon:
        good = run(daemon, scan, "good")["rfactors"]["network"]
        for value, dtype in ((2**32 - 2, "u4"), (10**7, "i8"), (2**20, "f4")):
            counts = scan.counts.astype(dtype)
            counts[:, 10, 10] = value
            ended = run(daemon, scan, f"dead-{dtype}-{value}", counts)
            assert is_finite(ended)
            assert ended["rfactors"]["network"] == pytest.approx(good, rel=0.05)
            assert sum("1 pixel" in note for note in ended["notes"]) == 1
            live, record = read_product(ended["product"]).live, daemon.scans.get(f"dead-{dtype}-{value}").record
            assert live is not None
            assert record is not None
            assert live.masked_pixels == record.masked_pixels == daemon.view.status()["masked_pixels"] == 1
            assert daemon._engine.failure is None


@pytest.mark.parametrize("value", [0, 2**32 - 1])
def test_frames_without_light_and_full_ones_end_as_a_scan_that_is_nonsense(
    scan: ScanFile, tmp_path: Path, capsys: pytest.CaptureFixture[str], value: int
):
    with running_daemon(tmp_path, "refine.enabled=true") as daemon:
        ended = run(daemon, scan, "s", np.full_like(scan.counts, value, dtype=np.uint32))
        for show, beginning in ((show_scans, "  nonsense by its own figures: "), (show_status, "Nonsense by its own")):
            show(daemon.addresses()["http"], None, False)
            assert beginning in capsys.readouterr().out
        assert is_finite(ended)
        assert any(note.startswith("nonsense by its own figures:") for note in ended["notes"])
        record = daemon.scans.get("s").record
        assert record is not None
        assert any(doubt["is_nonsense"] for doubt in record.doubts)


def test_one_frame_a_million_times_too_bright_leaves_all_finite(scan: ScanFile, tmp_path: Path):
    counts = scan.counts.astype(np.float64)
    counts[20] *= 1e6
    with running_daemon(tmp_path, "refine.enabled=true") as daemon:
        ended = run(daemon, scan, "s", counts)
    assert is_finite(ended)
    assert sum("leaves out 1 frame (20)" in note for note in ended["notes"]) == 1


def fail(*_arguments: object, **_options: object) -> None:
    raise RuntimeError("injected")


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (Refiner, "step"),
        (Refiner, "certainty"),
        (Refiner, "read"),
        (Refiner, "admit_all"),
        (SecondLooks, "step"),
        (Publishing, "publish"),
        (ScanWork, "settle_some"),
        (ScanScores, "estimate"),
    ],
)
def test_a_scan_ends_and_its_frames_are_there_whatever_stage_fails(
    scan: ScanFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: type, name: str
):
    with running_daemon(tmp_path, "refine.enabled=true") as daemon:
        monkeypatch.setattr(owner, name, fail)
        with Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
            send(daemon, scan, FRAMES, scan_id="s")
            for topic, header, _ in viewer.events():
                if topic == "scan" and header["state"] == "ended":
                    break
        assert adds_up(header["verdict"])
        assert header["verdict"]["stitched"] == FRAMES
        assert len(read_product(header["product"]).indexes) == FRAMES


@pytest.mark.parametrize("name", ["wants", "examine"])
def test_a_scan_ends_where_it_cannot_be_examined(
    scan: ScanFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    with running_daemon(tmp_path, "diagnosis.enabled=true", "diagnosis.frames=20") as daemon:
        monkeypatch.setattr(type(daemon._examiner), name, fail)
        assert run(daemon, scan, "s")["verdict"]["stitched"] == FRAMES


def test_a_fault_in_the_improvement_ends_it(scan: ScanFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with running_daemon(tmp_path, "refine.enabled=true") as daemon:
        seen: list[str] = []

        def failing(_: Improvement, work: ScanWork) -> None:
            seen.append(work.scan_id)
            fail()

        monkeypatch.setattr(Improvement, "_improve", failing)
        run(daemon, scan, "first")
        run(daemon, scan, "second")
        assert len(seen) <= 2
