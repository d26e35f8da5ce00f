"""The life of scans: one after another, side by side, without a count, in parts, and over a restart."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon.app import Daemon
from daemon.client import Viewer
from daemon.config import load_config
from daemon.errors import ConfigError, DaemonError
from daemon.files import ScanFile, read_product
from daemon.journal import Journal, Keeper, ScanNames, StoredStart, pack
from daemon.journal.reading import read_journal, summary
from daemon.journal.record import Kind, frame_record, plain_record
from streams.codecs import CODECS
from streams.frame import Frame, PositionM, ScanStart
from streams.sockets.transport import Sender
from tests.support.daemon_tools import (
    PATIENCE_S,
    adds_up,
    follow,
    on_common_ground,
    real_scan,
    running_daemon,
    send,
    send_unfinished,
    wait_for_frames,
    write_config,
)
from tests.support.slow_device import SlowLift


@pytest.fixture(scope="module")
def scan() -> ScanFile:
    return real_scan()


@contextmanager
def logged(logger: str, beginning: str) -> Iterator[threading.Event]:
    """Yield an event that is set when a line of a logger begins like this."""
    is_logged, handler = threading.Event(), logging.Handler()
    handler.emit = lambda record: is_logged.set() if record.getMessage().startswith(beginning) else None  # type: ignore[method-assign]
    log, level = logging.getLogger(logger), logging.getLogger(logger).level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield is_logged
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


def ends_of(viewer: Viewer, count: int) -> dict[str, dict[str, Any]]:
    ends: dict[str, dict[str, Any]] = {}
    for topic, header, _ in viewer.events():
        if topic == "scan" and header["state"] == "ended":
            ends[header["scan_id"]] = header
            if len(ends) == count:
                break
    return ends


def test_scans_follow_without_a_gap_while_the_last_one_is_finished(scan: ScanFile, tmp_path: Path):
    with (
        running_daemon(tmp_path, "refine.enabled=true", "refine.finish_s=60") as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
    ):
        assert daemon.view.status()["state"] == "ready"
        for name in ("one", "two", "three"):
            send(daemon, scan, 24, scan_id=name)
        ends = ends_of(viewer, 3)
        assert all(header["result"] == "complete" for header in ends.values())
        assert all(header["verdict"]["stitched"] == 24 for header in ends.values())
        assert daemon.view.status()["state"] == "idle"
    assert daemon.view.status()["state"] == "stopping"


def test_a_scan_without_a_count_ends_with_its_end(scan: ScanFile, tmp_path: Path):
    with running_daemon(tmp_path) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        codec = CODECS["native"]()
        with Sender(">" + daemon.addresses()["streams"]["frames"]) as sender:
            sender.send(codec.encode_start(ScanStart("endless"), scan.counts.shape[1:], scan.counts.dtype))
            for i in range(40):
                sender.send(codec.encode_frame("endless", i, scan.counts[i], PositionM(*scan.positions_m[i])))
            wait_for_frames(viewer, 40)
            assert daemon.view.status()["phase"] == "scanning"
            sender.send(codec.encode_end("endless"))
        ended, _ = follow(viewer)
    assert ended["result"] == "complete"
    assert ended["verdict"]["expected"] is None


def test_a_scan_may_come_in_several_streams_at_once(scan: ScanFile, tmp_path: Path):
    with running_daemon(tmp_path) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        codec, endpoint = CODECS["native"](), ">" + daemon.addresses()["streams"]["frames"]

        def send_part(first: int) -> None:
            with Sender(endpoint) as sender:
                for i in range(first, 90, 3):
                    sender.send(codec.encode_frame("parts", i, scan.counts[i], PositionM(*scan.positions_m[i])))

        with Sender(endpoint) as sender:
            sender.send(codec.encode_start(ScanStart("parts", 90), scan.counts.shape[1:], scan.counts.dtype))
            wait_until_started(viewer)
            parts = [threading.Thread(target=send_part, args=(first,)) for first in range(3)]
            for part in parts:
                part.start()
            for part in parts:
                part.join()
            wait_for_frames(viewer, 90)
            sender.send(codec.encode_end("parts"))
        ended, _ = follow(viewer)
    assert ended["result"] == "complete"
    assert ended["verdict"]["stitched"] == 90


def wait_until_started(viewer: Viewer) -> None:
    next(header for topic, header, _ in viewer.events() if topic == "scan" and header["state"] == "started")


def test_what_is_not_done_when_the_daemon_is_stopped_is_done_at_the_next_start(scan: ScanFile, tmp_path: Path):
    model = SlowLift()
    with (
        logged("daemon.engine.loop", "the engine stops") as is_stopped,
        running_daemon(tmp_path, "limits.stop_s=1e-6", "limits.queue_bytes=1000000", wrap_models=model) as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
    ):
        model.before = lambda _group: is_stopped.wait()
        send_unfinished(daemon.addresses()["streams"]["frames"], scan, 300, 300, "long")
        is_in = (h for topic, h, _ in viewer.events() if topic == "status" and (h["frames_received"] or 0) == 300)
        next(is_in)
    journal = tmp_path / "out" / "journal" / "long"
    assert not summary(journal).is_closed
    assert not (tmp_path / "out" / "long" / "scan.json").exists()
    with running_daemon(tmp_path) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        ended, again = follow(viewer, "long")
        assert adds_up(ended["verdict"])
        assert ended["verdict"]["stitched"] == ended["verdict"]["received"] == 300
        send(daemon, scan, 300, scan_id="calm")
        _, calm = follow(viewer, "calm")
    np.testing.assert_array_equal(*on_common_ground(again["network"], calm["network"]))
    assert summary(journal).is_closed
    assert read_product(ended["product"]).indexes.size == 300
    stored = read_journal(journal)
    np.testing.assert_array_equal(stored.counts, scan.counts[:300])
    np.testing.assert_allclose(stored.positions_m, scan.positions_m[:300])
    assert stored.object_pixel_size_m == pytest.approx(2.818e-8, rel=1e-3)


def half_a_scan(folder: Path, scan: ScanFile) -> None:
    """Leave what a daemon leaves that was killed after 30 of 60 frames."""
    journal = Journal(folder, 1 << 30)
    keeper = Keeper(journal, ScanNames(folder), 10.0)
    journal.start()
    keeper.open(StoredStart("half", "2026-01-02T03:04:05", ScanStart("half", 60)))
    for i in range(30):
        frame = Frame("half", i, scan.counts[i], 0, PositionM(*scan.positions_m[i]))
        keeper.frame("half", frame, pack(frame.counts))
    assert keeper.flush(keeper.take())
    journal.stop()


def send_rest(daemon: Daemon, scan: ScanFile, indexes: range) -> None:
    """Send frames of the scan that is played again, and its end."""
    codec = CODECS["native"]()
    with Sender(">" + daemon.addresses()["streams"]["frames"]) as sender:
        for i in indexes:
            sender.send(codec.encode_frame("half", i, scan.counts[i], PositionM(*scan.positions_m[i])))
        sender.send(codec.encode_end("half"))


def test_a_copy_of_a_killed_scans_folder_does_not_keep_the_scan_from_going_on(scan: ScanFile, tmp_path: Path):
    journal = tmp_path / "out" / "journal"
    half_a_scan(journal, scan)
    for suffix in ("-001", "-2", ".bak"):
        shutil.copytree(journal / "half", journal / f"half{suffix}")
    with running_daemon(tmp_path) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        assert wait_for_frames(viewer, 30).frames_received == 30
        with pytest.raises(ConfigError, match="another daemon"):
            Daemon(load_config(write_config(tmp_path)))
        send_rest(daemon, scan, range(30, 60))
        ended, _ = follow(viewer, "half")
        assert ended["result"] == "complete"
        send(daemon, scan, 60, scan_id="half")
        again, _ = follow(viewer, "half-3")
        assert again["result"] == "complete"
        assert set(daemon.view.status()["journal"]["left_alone"]) == {"half-001", "half-2", "half.bak"}
    assert {path.parent.name for path in journal.glob("*/closed")} == {"half", "half-3"}


def test_what_does_not_fit_in_a_journal_costs_itself_alone(scan: ScanFile, tmp_path: Path):
    journal = tmp_path / "out" / "journal"
    half_a_scan(journal, scan)
    where, counts = PositionM(*scan.positions_m[0]), scan.counts[0]
    records = [
        plain_record(Kind.NOTE, prepared={"center_from": "a later version"}),
        plain_record(Kind.END, by="a later version"),
        frame_record(2**62, where, pack(counts)),
        frame_record(-5, where, pack(counts)),
        frame_record(40, where, pack(counts[:32, :32])),
        frame_record(41, where, pack(counts[:0, :5])),
        frame_record(42, PositionM(1e300, 0.0), pack(counts)),
    ]
    with (journal / "half" / "000001.journal").open("ab") as file:
        file.writelines(bytes(part) for record in records for part in record.buffers())
    with running_daemon(tmp_path) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        ended, _ = follow(viewer, "half")
        verdict = ended["verdict"]
        assert adds_up(verdict)
        assert (verdict["received"], verdict["stitched"]) == (33, 30)
        assert verdict["refused"] == {"bad_position": 1, "journal_unreadable": 2}
        assert any("frames of 32 x 32 px but [detector] size_px is 128" in note for note in ended["notes"])


def test_a_start_that_fails_leaves_the_scan_for_the_next_one(scan: ScanFile, tmp_path: Path):
    half_a_scan(tmp_path / "out" / "journal", scan)
    model = SlowLift()
    model.before = lambda _group: 1 / 0
    daemon = Daemon(load_config(write_config(tmp_path)), model)
    with pytest.raises(DaemonError, match="the engine cannot start"):
        daemon.start()
    with running_daemon(tmp_path) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        assert wait_for_frames(viewer, 30).frames_received == 30
        send_rest(daemon, scan, range(60))
        ended, _ = follow(viewer, "half")
        assert ended["verdict"]["duplicate"] == 30
        assert ended["result"] == "complete"
        assert daemon.view.scan("half")["started"] == "2026-01-02T03:04:05"
