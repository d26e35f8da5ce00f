"""A minute of scans with swaps of the model and twenty viewers: every frame is accounted for and nothing falls over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.daemon_tools import SCAN, write_config
from tests.support.soak_tools import Beamline, Serving, process, side, tell

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]
SCANS = 6


def test_scan_after_scan_is_whole_whoever_watches(tmp_path: Path):
    serve = ["-m", "daemon.cli", "serve", "--config", str(write_config(tmp_path)), "--json"]
    log = tmp_path / "log.txt"
    with process(*serve, "--set", "publish.period_s=0.1", log=log) as running:
        daemon = Serving(running.pid, json.loads(running.stdout.readline()))
        updates, frames = daemon.addresses["updates"], daemon.addresses["streams"]["frames"]
        with (
            side("soak_viewers.py", updates, daemon.addresses["http"], log=log) as viewers,
            side("soak_sender.py", str(SCAN), frames, log=log) as sender,
        ):
            line = Beamline(daemon, sender, tmp_path)
            for word in ("busy", "quiet", "busy"):
                assert tell(viewers, word) == word
                for _ in range(SCANS // 3):
                    line.scan_as_fast_as_taken()
                line.wait()  # looks at each scan's account, state and product
            status = daemon.ask("/api/v1/status")
        assert running.poll() is None
    assert line.scans == SCANS
    assert status["failure"] is None, status
    assert "Traceback" not in log.read_text()
