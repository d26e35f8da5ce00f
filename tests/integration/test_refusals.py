"""What a receiver, a codec or a reader refuses, through a running daemon: in account, status, metrics, record, log and check."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daemon.app import Daemon
from daemon.attach.listening import describe_frames, listen
from daemon.client import Viewer
from daemon.config import load_config
from daemon.intake.receivers import make_frames_receiver
from streams.codecs import CODECS
from streams.frame import ScanStart
from streams.position_sources.positions import encode_positions
from streams.sockets.transport import Sender
from tests.support.daemon_tools import PATIENCE_S, adds_up, follow, running_daemon, write_config
from tests.support.merlin_tools import DataPort, header, image, message
from tests.support.stream_tools import patterns

RASTER = ('positions.source="raster"', "positions.shape=[1, 4]", "positions.step_m=[1e-7, 1e-7]")


def raw_counters(frames: int) -> bytes:
    bodies = [image(1 + k, counts).replace(b"U16", b"R64") for k, counts in enumerate(patterns(frames, 128))]
    return b"".join(map(message, [header(frames), b"WHAT" * 20, *bodies]))


def merlin(port: DataPort) -> tuple[str, ...]:
    return f'frames.endpoint="{port.endpoint}"', 'frames.format="merlin"', *RASTER


def record_of(daemon: Daemon, scan_id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((daemon.scans.records.folder(scan_id) / "scan.json").read_text())
    return found


def test_a_merlin_in_raw_mode(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    port = DataPort([raw_counters(4)])
    caplog.set_level(logging.WARNING)
    with running_daemon(tmp_path, *merlin(port)) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        ended, _ = follow(viewer)
        status = daemon.view.status()
        record = record_of(daemon, ended["scan_id"])
        refused = {
            reason: daemon.metrics.value("ptycholive_frames_refused_total", reason=reason)
            for reason in ("dtype", "malformed")
        }
    port.close()
    assert adds_up(ended["verdict"])
    assert (ended["verdict"]["received"], ended["verdict"]["refused"]) == (4, {"dtype": 4})
    (note,) = [note for note in record["notes"] if "refused" in note]
    assert note.startswith(
        "4 frames were refused (dtype); the first: frame 0: the pixels' type 'R64' is a Merlin's raw"
    )
    assert record["verdict"]["refused"] == {"dtype": 4}
    assert status["streams"][0]["refused"] == {"dtype": 4, "malformed": 1}
    assert "4 refused (dtype)" in status["account"]
    assert refused == {"dtype": 4, "malformed": 1}
    said = [each.message for each in caplog.records if "refused (dtype)" in each.message]
    assert len(said) == 1


def test_check_says_what_is_refused(tmp_path: Path) -> None:
    for stream, words in (
        (raw_counters(3), "3 messages were refused, the first: scan merlin-"),
        (
            message(b"WHAT" * 20) * 3,
            "3 messages were refused, the first: the Merlin's message is neither HDR nor a frame",
        ),
    ):
        port = DataPort([stream])
        config = load_config(write_config(tmp_path), merlin(port))
        found = listen(
            lambda on_message, config=config: make_frames_receiver(config, on_message),  # type: ignore[misc]
            False,
            1.0,
            lambda heard, config=config: describe_frames(config, heard),  # type: ignore[misc]
        )
        port.close()
        assert found.word == "ERROR"
        assert words in found.detail


def test_position_messages_that_are_refused(tmp_path: Path) -> None:
    settings = ('positions.source="panda"', 'positions.endpoint="@tcp://127.0.0.1:0"', "positions.timeout_s=0.1")
    with running_daemon(tmp_path, *settings) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        streams = daemon.addresses()["streams"]
        with Sender(">" + streams["frames"]) as frames, Sender(">" + streams["positions"], "pub") as positions:
            assert positions.wait_for_peer(PATIENCE_S)
            codec = CODECS["native"]()
            counts = patterns(1, 128)[0]
            frames.send(codec.encode_start(ScanStart("1", 1), counts.shape, counts.dtype))
            frames.send(codec.encode_frame("1", 0, counts))
            for topic, header_, _ in viewer.events():
                if topic == "status" and header_["frames_received"] == 1:
                    break
            positions.send([b"not JSON"])
            for topic, header_, _ in viewer.events():
                if topic == "status" and header_["streams"][1]["refused"] == {"position_message": 1}:
                    break
            frames.send(codec.encode_end("1"))
            ended, _ = follow(viewer)
    assert any(
        note.startswith("1 position messages were refused; the first: PandA message is not") for note in ended["notes"]
    )
    assert ended["verdict"]["without_position"] == 1


def test_position_messages_that_no_scan_can_use(tmp_path: Path) -> None:
    """One that is refused before the scan is said with it; one for a finished scan is counted."""
    settings = ('positions.source="native"', 'positions.endpoint="@tcp://127.0.0.1:0"', "positions.timeout_s=60")
    with running_daemon(tmp_path, *settings) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        streams = daemon.addresses()["streams"]
        with Sender(">" + streams["frames"]) as frames, Sender(">" + streams["positions"]) as positions:
            codec, counts = CODECS["native"](), patterns(1, 128)[0]
            positions.send([b"not positions"])
            wait_for_status(viewer, lambda status: status["streams"][1]["refused"] == {"position_message": 1})
            frames.send(codec.encode_start(ScanStart("1", 1), counts.shape, counts.dtype))
            frames.send(codec.encode_frame("1", 0, counts))
            frames.send(codec.encode_end("1"))
            positions.send(encode_positions([[0.0, 0.0]], scan_id="1"))
            ended, _ = follow(viewer)
            assert daemon.view.status()["positions_ignored"] == 0
            positions.send(encode_positions([[0.0, 0.0], [1e-6, 0.0]], scan_id="1"))
            wait_for_status(viewer, lambda status: status["positions_ignored"] == 2)
    assert [note for note in ended["notes"] if "position" in note] == [
        "1 position messages were refused; the first: a position message has two parts, 'positions' and a header; this "
        "one has 1 other parts"
    ]
    assert ended["verdict"]["stitched"] == 1


def wait_for_status(viewer: Viewer, condition: Callable[[dict[str, Any]], bool]) -> None:
    next(header for topic, header, _ in viewer.events() if topic == "status" and condition(header))
