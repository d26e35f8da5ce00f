"""What an operator meets at the sockets of a running daemon: keys, restarts, a second sender; and recordings."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest

from daemon.app import Daemon
from daemon.client import Viewer
from daemon.files import ScanFile
from streams.codecs import CODECS
from streams.frame import PositionM, ScanStart
from streams.replay.playback import play
from streams.replay.recording import Recording
from streams.replay.sender import replay
from streams.sockets.keys import CurveKeys, KeyFiles, make_keys, read_keys
from streams.sockets.transport import Sender
from tests.support.daemon_tools import (
    PATIENCE_S,
    adds_up,
    follow,
    on_common_ground,
    real_scan,
    running_daemon,
    send,
    write_config,
)

LOCAL = "tcp://127.0.0.1:0"
FRAMES = 48


@pytest.fixture(scope="module")
def scan() -> ScanFile:
    return real_scan()


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    for name in ("daemon", "detector", "stage", "viewer", "stranger"):
        make_keys(tmp_path, name)
    return tmp_path


def client(keys: Path, name: str, server: str) -> CurveKeys | None:
    files = KeyFiles(keys / f"{name}.key", keys / f"{name}.key_secret", keys / f"{server}.key")
    return read_keys(files, False, name)


def server(keys: Path, name: str) -> CurveKeys | None:
    return read_keys(KeyFiles(keys / f"{name}.key", keys / f"{name}.key_secret"), True, name)


def settings(keys: Path, section: str, other: dict[str, str]) -> list[str]:
    files = {"public": "daemon.key", "secret": "daemon.key_secret", **other}
    return [f"{section}.curve_{name}_file={json.dumps(str(keys / file))}" for name, file in files.items()]


def until_said(viewer: Viewer, is_it: Callable[[str], bool]) -> str:
    """Return the status' sentence once it is the one; viewers get one every half second."""
    for topic, header, _ in viewer.events():
        if topic == "status" and is_it(str(header["sentence"])):
            return str(header["sentence"])
    raise AssertionError("the viewer ended")


def status_says(daemon: Daemon, is_it: Callable[[str], bool]) -> str:
    with Viewer(daemon.publisher.bound_endpoint, PATIENCE_S) as viewer:
        return until_said(viewer, is_it)


def handshake_failures(daemon: Daemon, stream: str) -> float:
    """Return what Prometheus would read."""
    with urlopen(f"{daemon.http.url}/metrics", timeout=PATIENCE_S) as answer:
        lines = answer.read().decode().splitlines()
    name = f'ptycholive_stream_handshake_failures_total{{stream="{stream}"}} '
    return float(next(line for line in lines if line.startswith(name)).removeprefix(name))


def test_every_socket_encrypted(tmp_path: Path, keys: Path, scan: ScanFile):
    """Frames from a server that this end connects to, positions and viewers let in by a list."""
    (keys / "stages").write_bytes((keys / "stage.key").read_bytes())
    with Sender(LOCAL, curve=server(keys, "detector")) as sender:
        wanted = [
            f'frames.endpoint="{sender.bound_endpoint}"',
            *settings(keys, "frames", {"server": "detector.key"}),
            'positions.source="native"',
            'positions.endpoint="@tcp://127.0.0.1:0"',
            *settings(keys, "positions", {"allowed": "stages"}),
            *settings(keys, "publish", {}),
        ]
        with running_daemon(tmp_path, *wanted) as daemon:
            viewer = Viewer(daemon.publisher.bound_endpoint, PATIENCE_S, curve=client(keys, "viewer", "daemon"))
            place = ">" + daemon.addresses()["streams"]["positions"]
            with viewer, Sender(place, curve=client(keys, "stage", "daemon")) as positions:
                some = scan.counts[:FRAMES], scan.positions_m[:FRAMES]
                replay(*some, CODECS["native"](), sender, scan_id="star", position_sender=positions)
                ended, _ = follow(viewer)
            assert ended["verdict"]["stitched"] == FRAMES
            assert handshake_failures(daemon, "frames") == 0
            again = Viewer(daemon.publisher.bound_endpoint, PATIENCE_S, curve=client(keys, "viewer", "daemon"))
            with Sender(place, curve=client(keys, "stranger", "daemon")), again:
                said = until_said(again, lambda sentence: "was rejected" in sentence)
            assert "The positions stream" in said
            assert handshake_failures(daemon, "positions") > 0


def test_a_wrong_key_is_named_and_the_right_one_then_works(tmp_path: Path, keys: Path, scan: ScanFile):
    wrong = Sender(LOCAL, curve=server(keys, "stranger"))
    endpoint = wrong.bound_endpoint
    wanted = [f'frames.endpoint="{endpoint}"', *settings(keys, "frames", {"server": "detector.key"})]
    with running_daemon(tmp_path, *wanted) as daemon, Viewer(daemon.publisher.bound_endpoint, PATIENCE_S) as viewer:
        with wrong:
            words = f"frames stream {endpoint}: the handshake failed; wrong key"
            status_says(daemon, lambda sentence: words in sentence)
        with Sender(endpoint, curve=server(keys, "detector")) as right:
            replay(scan.counts[:FRAMES], scan.positions_m[:FRAMES], CODECS["native"](), right, scan_id="star")
            ended, _ = follow(viewer)
        assert ended["verdict"]["stitched"] == FRAMES
        assert handshake_failures(daemon, "frames") > 0


def test_a_detector_that_is_late_and_one_that_is_restarted(tmp_path: Path, scan: ScanFile):
    """The daemon is there first; the detector goes away in the middle of a scan and comes back with the next."""
    with Sender(LOCAL) as reserved:
        endpoint = reserved.bound_endpoint
    codec = CODECS["native"]()
    with running_daemon(tmp_path, f'frames.endpoint="{endpoint}"', "frames.scan_timeout_s=1.0") as daemon:
        status_says(daemon, lambda sentence: "no answer; still trying" in sentence)
        with Viewer(daemon.publisher.bound_endpoint, PATIENCE_S) as viewer:
            with Sender(endpoint) as first:
                first.send(codec.encode_start(ScanStart("cut", FRAMES), scan.counts.shape[1:], scan.counts.dtype))
                for k in range(20):
                    first.send(codec.encode_frame("cut", k, scan.counts[k], PositionM(*scan.positions_m[k])))
            status_says(daemon, lambda sentence: "the connection was lost" in sentence)
            cut, _ = follow(viewer, "cut")
            assert (cut["result"], cut["verdict"]["stitched"]) == ("incomplete", 20)
            assert cut["verdict"]["missing"] == FRAMES - 20
            with Sender(endpoint) as second:
                replay(scan.counts[:FRAMES], scan.positions_m[:FRAMES], codec, second, scan_id="next")
                ended, _ = follow(viewer, "next")
        assert ended["result"] == "complete"
        assert adds_up(ended["verdict"])


def test_a_second_sender_is_named(tmp_path: Path):
    with running_daemon(tmp_path) as daemon:
        place = ">" + daemon.addresses()["streams"]["frames"]
        with Sender(place), Sender(place):
            status_says(daemon, lambda sentence: "2 senders are connected" in sentence)
        status_says(daemon, lambda sentence: "senders" not in sentence)


@pytest.fixture
def recording(tmp_path: Path, scan: ScanFile) -> Path:
    """A recording that the verb made of a scan sent to it, positions in a stream of their own."""
    path = tmp_path / "scan.stream"
    with Sender(LOCAL) as sender, Sender(LOCAL) as positions:
        places = [
            f'frames.endpoint="{sender.bound_endpoint}"',
            'positions.source="native"',
            f'positions.endpoint="{positions.bound_endpoint}"',
        ]
        messages = FRAMES + 2 + -(-FRAMES // 32)
        command = [sys.executable, "-m", "daemon.cli", "record", "--config", str(write_config(tmp_path)), "--json"]
        command += ["--output", str(path), "--messages", str(messages)]
        command += [part for place in places for part in ("--set", place)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert sender.wait_for_peer(PATIENCE_S)
            assert positions.wait_for_peer(PATIENCE_S)
            some = scan.counts[:FRAMES], scan.positions_m[:FRAMES]
            replay(*some, CODECS["native"](), sender, scan_id="star", position_sender=positions)
            said, _ = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0
        assert json.loads(said)["messages"] == {"frames": FRAMES + 2, "positions": messages - FRAMES - 2}
    return path


def test_a_recording_gives_the_same_picture_as_the_scan_itself(tmp_path: Path, scan: ScanFile, recording: Path):
    positions = ('positions.source="native"', 'positions.endpoint="@tcp://127.0.0.1:0"')
    pictures = []
    for name in ("live", "played"):
        folder = tmp_path / name
        folder.mkdir()
        with (
            running_daemon(folder, *positions) as daemon,
            Viewer(daemon.publisher.bound_endpoint, PATIENCE_S) as viewer,
        ):
            if name == "live":
                send(daemon, scan, FRAMES)
            else:
                _play(recording, daemon)
            ended, layers = follow(viewer)
            assert (ended["scan_id"], ended["result"], ended["verdict"]["stitched"]) == ("star", "complete", FRAMES)
            pictures.append(layers["network"])
    assert Recording(recording).streams["frames"]["format"] == "native"
    live, played = on_common_ground(*pictures)
    assert live.any()
    np.testing.assert_array_equal(live, played)


def _play(path: Path, daemon: Daemon) -> None:
    streams = daemon.addresses()["streams"]
    with Sender(">" + streams["frames"]) as frames, Sender(">" + streams["positions"]) as positions:
        recording = Recording(path)
        played = play(recording, {"frames": frames, "positions": positions}, rate_hz=500.0)
    assert recording.is_whole
    assert sum(played.sent.values()) == sum(recording.ending["messages"].values())
