"""``check``, ``record`` and ``replay`` as processes, beside real senders and a real daemon."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.client import Viewer
from daemon.files import ScanFile
from streams.codecs import CODECS
from streams.frame import PositionM, ScanStart
from streams.replay.recording import Recording, RecordingWriter
from streams.replay.sender import replay
from streams.sockets.keys import make_keys
from streams.sockets.transport import Receiver, Sender
from tests.support.daemon_tools import PATIENCE_S, SCAN, follow, real_scan, running_daemon, write_config
from tests.support.sending_thread import sending
from tests.support.verbs import run_verb

pytestmark = pytest.mark.system
LOCAL = "tcp://127.0.0.1:0"


def run(*arguments: str | Path, cwd: Path, settings: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return run_verb(*arguments, *(part for setting in settings for part in ("--set", setting)), cwd=cwd)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_config(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def scan() -> ScanFile:
    return real_scan()


def frames_of(scan: ScanFile, stream_format: str) -> list[list[bytes]]:
    """Return the messages of a scan: its start and 200 frames."""
    codec = CODECS[stream_format]()
    start = ScanStart("star", None, {"incident_energy": 8800.0})
    messages = [codec.encode_start(start, scan.counts.shape[1:], scan.counts.dtype)]
    return messages + [
        codec.encode_frame("star", k, scan.counts[k], PositionM(*scan.positions_m[k])) for k in range(200)
    ]


def checked(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, object]]:
    assert "Traceback" not in done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_check_says_what_it_sees(place: Path, scan: ScanFile):
    with sending(frames_of(scan, "dectris-v2")) as endpoint:
        wanted = (f'frames.endpoint="{endpoint}"', 'frames.format="dectris-v2"')
        done = run("check", "--config", "test.toml", "--wait", "30", "--json", cwd=place, settings=wanted)
    found = checked(done)
    assert {part["result"] for part in found.values()} == {"OK"}
    assert done.returncode == 0
    seen = found["frames"]["seen"]
    assert (seen["format"], seen["shape"], seen["dtype"], seen["encoding"]) == (
        "dectris-v2",
        [128, 128],
        "uint16",
        "bslz4",
    )
    assert seen["photon_energy_eV"] == 8800.0
    assert seen["rate_hz"] > 0
    assert "took 100 messages from the stream" in found["frames"]["detail"]


def test_check_names_what_is_wrong(place: Path, scan: ScanFile):
    make_keys(place, "own")
    with sending(frames_of(scan, "dectris-v2")) as endpoint:
        wanted = (
            f'frames.endpoint="{endpoint}"',
            'publish.curve_public_file="own.key"',
        )
        done = run("check", "--config", "test.toml", "--wait", "30", "--json", cwd=place, settings=wanted)
    found = checked(done)
    assert "the messages look like dectris-v2, but [frames] format is native" in found["frames"]["detail"]
    assert "[publish]: the keys are incomplete" in found["keys of publish"]["detail"]
    assert done.returncode == 2


def test_check_and_record_leave_the_stream_to_a_daemon_that_runs(tmp_path: Path, scan: ScanFile):
    with Sender(LOCAL) as sender:
        wanted = [f'frames.endpoint="{sender.bound_endpoint}"']
        with running_daemon(tmp_path, *wanted) as daemon, Viewer(daemon.publisher.bound_endpoint, PATIENCE_S) as viewer:
            wanted.append(f"http.port={daemon.http.url.rpartition(':')[2]}")
            checking = run("check", "--config", "test.toml", "--wait", "5", "--json", cwd=tmp_path, settings=(*wanted,))
            recording = run("record", "--config", "test.toml", "--output", "x", cwd=tmp_path, settings=(*wanted,))
            replay(scan.counts[:20], scan.positions_m[:20], CODECS["native"](), sender, scan_id="star")
            ended, _ = follow(viewer)
    assert ended["verdict"]["stitched"] == 20
    found = checked(checking)
    assert found["frames"]["result"] == "SILENT"
    assert found["http"]["result"] == "OK"
    assert "the daemon has received 0 messages" in found["frames"]["detail"]
    assert recording.returncode == 2
    assert "a daemon is running at http://127.0.0.1" in recording.stderr
    assert not (tmp_path / "x").exists()


def test_a_full_disk_is_one_sentence_and_loses_nothing_that_was_written(place: Path, scan: ScanFile):
    verb = f"exec {sys.executable} -m daemon.cli record --config test.toml --output full.stream"
    with sending(frames_of(scan, "native")) as endpoint:
        command = ["bash", "-c", f"ulimit -f 64; {verb} --set 'frames.endpoint=\"{endpoint}\"'"]
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 1
    assert (
        "full.stream cannot be written further (File too large); the messages before this can be replayed"
        in done.stderr
    )
    assert "Traceback" not in done.stderr
    kept = Recording(place / "full.stream")
    codec = CODECS["native"]()
    frames = [item for message in kept for item in codec.parse(message.parts, 0)][1:]
    assert len(frames) > 2
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert (kept.cut_bytes, kept.damaged) == (0, 0)


def test_replay_of_a_torn_recording_says_so(place: Path):
    with RecordingWriter(place / "torn.stream", {"frames": {}, "positions": {}}, {}) as writer:
        writer.write("frames", 0, [b"one"])
        writer.write("frames", 1, [b"two"])
    content = (place / "torn.stream").read_bytes()
    (place / "torn.stream").write_bytes(content[:-1])
    received: list[bytes] = []
    receiver = Receiver("frames", "@" + LOCAL, "pull", lambda parts, _ns: received.append(bytes(parts[0])))
    receiver.start()
    done = run("replay", "torn.stream", "--bind", ">" + receiver.bound_endpoint, cwd=place)
    assert receiver.wait_for(lambda: receiver.messages > 0, PATIENCE_S)
    receiver.stop()
    assert received == [b"one"]
    assert done.returncode == 0
    assert "are an incomplete record and were not sent" in done.stderr
    assert "the stream positions of the recording is not sent" in done.stderr
    refused = run("replay", SCAN, "--bind", LOCAL, cwd=place)
    assert (refused.returncode, "--format is missing" in refused.stderr) == (2, True)


def test_serve_refuses_half_a_set_of_keys(place: Path):
    make_keys(place, "own")
    done = run("serve", "--config", "test.toml", cwd=place, settings=('frames.curve_secret_file="own.key_secret"',))
    assert "[frames]: the keys are incomplete; an end that binds also needs curve_public_file" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 2
