"""The verb ``replay`` in every format, into a real daemon: every frame, wherever its positions come from."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.cli.processes import free_port
from daemon.client import Viewer
from tests.support.daemon_tools import PATIENCE_S, adds_up, follow, running_daemon, write_short_scan

pytestmark = pytest.mark.system

FRAMES = 100
PANDA = ["--positions-format", "panda", "--samples-per-frame", "10"]
CASES = {
    "V1 flattened, bare LZ4": ("dectris-v1", "sub", ["--flatten", "--socket", "pub", "--encoding", "lz4"], None),
    "V1 flattened, PandA": ("dectris-v1", "pull", ["--flatten", *PANDA], "panda"),
    "V2, PandA": ("dectris-v2", "pull", PANDA, "panda"),
    "array-1.0, plain": ("array-1.0", "sub", ["--socket", "pub", "--encoding", "none"], None),
    "array-1.0, native positions": ("array-1.0", "pull", ["--flatten"], "native"),
}


@pytest.mark.parametrize("case", CASES)
def test_replay(case: str, tmp_path: Path) -> None:
    stream_format, socket, options, positions = CASES[case]
    scan = write_short_scan(tmp_path / "short.cxi", FRAMES)
    frames, places = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
    settings = [f'frames.endpoint="{frames}"', f'frames.format="{stream_format}"', f'frames.socket="{socket}"']
    command = [sys.executable, "-m", "daemon.cli", "replay", str(scan), "--format", stream_format, "--bind", frames]
    if positions is not None:
        settings += [f'positions.source="{positions}"', f'positions.endpoint="{places}"']
        command += ["--positions", places]
    if positions == "panda":
        settings += ['positions.unit="um"', "positions.samples_per_frame=10"]
    with (
        running_daemon(tmp_path, *settings) as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
    ):
        done = subprocess.run([*command, "--json", *options], capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == 0, done.stderr
        ended, _ = follow(viewer)
    sent = json.loads(done.stdout)
    verdict = ended["verdict"]
    assert (ended["result"], verdict["expected"], verdict["stitched"]) == ("complete", FRAMES, FRAMES)
    assert adds_up(verdict)
    assert ended["scan_id"] == sent["scan_id"]
    assert ended["rfactors"]["network"] < 0.2
    assert not ended["notes"]
