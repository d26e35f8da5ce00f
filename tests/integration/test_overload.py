"""A detector faster than the device, and faults inside: reception goes on, memory is bounded, every frame is accounted for."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from daemon.client import Viewer
from daemon.files import Product, ScanFile, read_product, write_product
from daemon.journal import scan_log
from daemon.publish.hub import HubEvent
from daemon.results.disk import ResultDisk
from ptychopinn.tensor_dict import TensorDict
from tests.support.daemon_tools import (
    PATIENCE_S,
    adds_up,
    follow,
    on_common_ground,
    real_scan,
    running_daemon,
    send,
    send_unfinished,
)
from tests.support.slow_device import FRAME_BYTES, SlowLift, status_when


@pytest.fixture(scope="module")
def scan() -> ScanFile:
    return real_scan()


def test_a_stalled_device_holds_nobody_and_the_newest_frames_come_first(scan: ScanFile, tmp_path: Path):
    goes_on, limit, model = threading.Event(), 40 * FRAME_BYTES, SlowLift()
    with (
        running_daemon(tmp_path, f"limits.queue_bytes={limit}", wrap_models=model) as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
    ):
        model.before = lambda _group: goes_on.wait()
        send(daemon, scan, 400)
        said = status_when(viewer, lambda s: (s["frames_received"] or 0) == 400)
        assert said["backlog_on_disk"] >= 400 - 40 - 32
        assert "slower than the detector" in said["sentence"]
        assert daemon.metrics.value("ptycholive_queue_bytes", stage="engine") <= limit
        goes_on.set()
        ended, pictures = follow(viewer)
        assert ended["verdict"]["stitched"] == ended["verdict"]["received"] == 400
        assert ended["result"] == "complete"
        order = [index for batch in model.batches[2:] for index in batch]
        assert order == sorted(order, reverse=True)
        send(daemon, scan, 400, scan_id="calm")
        _, calm = follow(viewer, "calm")
    np.testing.assert_array_equal(*on_common_ground(pictures["network"], calm["network"]))


def test_while_an_earlier_scan_waits_the_daemon_is_not_idle(scan: ScanFile, tmp_path: Path):
    goes_on, was_seen, model = threading.Event(), threading.Event(), SlowLift()
    with (
        running_daemon(tmp_path, wrap_models=model) as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
    ):

        def before(_group: TensorDict) -> None:
            if not goes_on.is_set():
                goes_on.wait()
            elif daemon.scans.get("later").record.state == "complete":  # it came first, and is closed
                was_seen.wait()

        model.before = before
        send(daemon, scan, 500, scan_id="earlier")
        send(daemon, scan, 60, scan_id="later")
        behind = status_when(viewer, lambda s: s["scan_id"] == "later" and s["backlog_age_s"] > 2)
        assert f"{behind['backlog_frames']} frames wait, the oldest for " in behind["sentence"]
        status_when(viewer, lambda _: daemon.metrics.value("ptycholive_backlog_age_seconds") > 2)
        goes_on.set()
        said = status_when(viewer, lambda s: s["scan_state"] == "complete")
        assert (said["scan_id"], said["phase"], said["scans_unfinished"]) == ("later", "finishing", ["earlier"])
        assert said["sentence"].startswith("Finishing earlier; a later scan has ended.")
        was_seen.set()
        idle = status_when(viewer, lambda s: s["phase"] == "idle")
        assert (idle["scans_unfinished"], idle["backlog_age_s"]) == ([], 0.0)
        assert daemon.scans.get("earlier").record.verdict["stitched"] == 500


def test_without_a_journal_the_sender_is_held_back_and_nothing_is_lost(scan: ScanFile, tmp_path: Path):
    with (
        running_daemon(tmp_path, f"limits.queue_bytes={20 * FRAME_BYTES}", 'output.journal="off"') as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
    ):
        send(daemon, scan, 300)
        ended, _ = follow(viewer)
        assert ended["verdict"]["stitched"] == 300
        assert not (tmp_path / "out" / "journal").exists()


def test_a_device_out_of_memory_takes_smaller_batches(scan: ScanFile, tmp_path: Path):
    def before(group: TensorDict) -> None:
        if len(group) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")

    model = SlowLift()
    with (
        running_daemon(tmp_path, wrap_models=model) as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
    ):
        model.before = before
        send(daemon, scan, 200)
        ended, _ = follow(viewer)
        assert ended["verdict"]["stitched"] == 200
        assert max(map(len, model.batches[-5:])) <= 5
        assert "ran out of memory" in daemon.view.status()["failure"]
        assert daemon.metrics.value("ptycholive_stage_failures_total", stage="engine") > 0


def test_a_frame_that_cannot_be_computed_is_refused_alone(scan: ScanFile, tmp_path: Path):
    def before(group: TensorDict) -> None:
        if 77 in group["center_scan_id"].tolist():
            raise RuntimeError("no such kernel")

    model = SlowLift()
    with (
        running_daemon(tmp_path, wrap_models=model) as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
    ):
        model.before = before
        send(daemon, scan, 200)
        ended, _ = follow(viewer)
        assert adds_up(ended["verdict"])
        assert ended["verdict"]["refused"] == {"engine_error": 1}
        assert ended["verdict"]["stitched"] == 199
        send(daemon, scan, 50, scan_id="next")
        assert follow(viewer, "next")[0]["result"] == "complete"


def test_the_last_pattern_is_that_of_the_last_frame_that_was_stitched(scan: ScanFile, tmp_path: Path):
    """The last frame of each batch cannot be computed; the pattern shown is of the frame before it."""
    model, have_come = SlowLift(), threading.Event()

    def before(group: TensorDict) -> None:
        have_come.wait()  # so that all that is left comes in one batch
        first_of_all = next(batch for batch in model.batches if group["center_scan_id"][-1] in batch)
        if len(first_of_all) > 1 and group["center_scan_id"][-1] == first_of_all[-1]:
            raise RuntimeError("no such kernel")

    with (
        running_daemon(tmp_path, wrap_models=model) as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
    ):
        model.batches.clear()
        model.before = before
        send_unfinished(daemon.addresses()["streams"]["frames"], scan, 24, 24, "last")
        status_when(viewer, lambda s: s["frames_received"] == 24)
        have_come.set()
        status_when(viewer, lambda s: s["frames_pending"] == 0)
        scan_id, index, pattern = daemon.view.last_pattern()
    assert scan_id == "last"
    assert set(daemon.scans.get("last").record.verdict["refused"]) == {"engine_error"}
    np.testing.assert_allclose(pattern**2, scan.counts[index], rtol=1e-5)


def test_a_fault_in_a_stage_is_said_and_the_scan_goes_on(scan: ScanFile, tmp_path: Path):
    slips: list[Exception] = []
    broken = [RuntimeError("a broken viewer"), OSError("a lost library")]

    def clock() -> float:
        if slips and threading.current_thread().name == "intake":
            raise slips.pop()
        return time.monotonic()

    def listen(event: HubEvent) -> None:
        if event.topic == "layer" and broken:
            raise broken.pop(0)

    with (
        running_daemon(tmp_path, clock=clock) as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
    ):
        slips.append(RuntimeError("a slip in the join"))
        assert "a slip in the join" in status_when(viewer, lambda s: s["failure"])["failure"]
        assert daemon.metrics.value("ptycholive_stage_failures_total", stage="intake") == 1
        daemon.hub.subscribe(listen)
        send(daemon, scan, 100)
        ended, pictures = follow(viewer)
        assert ended["result"] == "complete"
        assert pictures["network"].complete
        assert "a lost library" in daemon.view.status()["failure"]


def test_a_full_disk_degrades_and_does_not_stop_the_scan(
    scan: ScanFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def writev(descriptor: int, buffers: list[bytes]) -> int:
        raise OSError(28, "No space left on device")

    with running_daemon(tmp_path) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        monkeypatch.setattr(scan_log.os, "writev", writev)
        send_unfinished(daemon.addresses()["streams"]["frames"], scan, 100, 100, "full")
        said = status_when(viewer, lambda s: s["state"] == "degraded" and s["frames_stitched"] == 100)
        assert "Frames are not kept on disk" in said["sentence"]
        assert said["phase"] == "scanning"
        daemon.view.stop_scan("full")
        ended, _ = follow(viewer)
        assert ended["verdict"]["stitched"] == 100
        assert daemon.view.status()["journal"]["frames_skipped"] == 100
        with urllib.request.urlopen(daemon.addresses()["http"] + "/readyz") as answer:
            assert "not kept on disk" in json.loads(answer.read())["degraded"][0]


def refuse(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def test_a_disk_full_at_the_end_is_made_good_at_the_next_start(scan: ScanFile, tmp_path: Path):
    full = ResultDisk(write_product=refuse, write_record=refuse)
    with (
        running_daemon(tmp_path, disk=full) as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
    ):
        send(daemon, scan, 50)
        ended, _ = follow(viewer)
        assert ended["result"] == "complete"
        assert ended["product"] is None
        said = daemon.view.status()
        assert said["state"] == "degraded"
        assert [words for words in said["degraded"] if "record of scan star is not written" in words]
    with running_daemon(tmp_path) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        ended, _ = follow(viewer)
        assert ended["result"] == "complete"
        assert read_product(ended["product"]).indexes.size == 50


def test_a_disk_full_at_the_end_is_made_good_once_there_is_room(scan: ScanFile, tmp_path: Path):
    has_room = threading.Event()

    def write(path: Path, product: Product) -> None:
        write_product(path, product) if has_room.is_set() else refuse()

    with (
        running_daemon(tmp_path, disk=ResultDisk(write_product=write, retry_s=0.1)) as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
    ):
        send(daemon, scan, 50)
        assert follow(viewer)[0]["product"] is None
        said = status_when(viewer, lambda s: s["state"] == "degraded")
        assert "The product of star is not written: the disk of" in said["sentence"]
        status_when(viewer, lambda s: daemon.metrics.value("ptycholive_products_waiting") == 1)
        has_room.set()
        ended, _ = follow(viewer)
        assert read_product(ended["product"]).indexes.size == 50
        assert ended["result"] == "complete"
        assert ended["verdict"]["stitched"] == 50
        status_when(viewer, lambda s: s["state"] != "degraded")
        assert daemon.metrics.value("ptycholive_products_waiting") == 0
        assert daemon.scans.get("star").record.product == ended["product"]


def test_a_dead_thread_makes_the_daemon_unready(scan: ScanFile, tmp_path: Path):
    with running_daemon(tmp_path) as daemon:
        assert daemon.view.readiness()["ready"]
        daemon.writer.stop()
        readiness = daemon.view.readiness()
        assert not readiness["ready"]
        assert readiness["dead"] == ["writer"]
        assert daemon.view.status()["state"] == "degraded"
        assert not daemon.view.health.is_alive
