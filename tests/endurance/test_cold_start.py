"""The real scan at its own pace, from the analytic guess of the probe: command line, sockets and files as a user has them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon.client import Viewer
from daemon.files import read_product
from tests.support.daemon_tools import DATA, SCAN, follow, write_config

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(900)]
PATIENCE_S = 400.0
VERB = [sys.executable, "-m", "daemon.cli"]
GUESS, PROBE = DATA / "siemens-star-guess.npz", DATA / "siemens-star-probe.npz"
SETTINGS = (
    f'optics.probe_file="{GUESS}"',
    "optics.retrieve_probe=true",
    "refine.enabled=true",
    "refine.finish_s=100",  # it ends once each frame has had its visits, on any host
    'model.bundle="shipped"',
)


def test_cold_start_from_the_analytic_probe(tmp_path: Path) -> None:
    """R falls from 0.43 to 0.155, at 20 frames/s; the probe is kept in a file that is as good as the shipped one."""
    options = [part for setting in SETTINGS for part in ("--set", setting)]
    serve = [*VERB, "serve", "--config", str(write_config(tmp_path)), "--json", *options]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as daemon:
        try:
            addresses: dict[str, Any] = json.loads(daemon.stdout.readline())
            with Viewer(addresses["updates"], PATIENCE_S) as viewer:
                to = ">" + addresses["streams"]["frames"]
                replay = [*VERB, "replay", str(SCAN), "--format", "native", "--bind", to, "--rate", "20"]
                with subprocess.Popen(replay, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as sender:
                    ended, _ = follow(viewer)
                assert sender.returncode == 0
        finally:
            daemon.send_signal(signal.SIGTERM)
    assert ended["verdict"]["stitched"] == 516
    assert ended["rfactors"]["refined"] <= 0.155
    assert "the probe was retrieved from 100 frames" in ended["notes"][0]
    product = Path(ended["product"])
    assert read_product(product).live.rfactors["refined"] <= 0.155
    with np.load(product.with_name("probe.npz")) as kept, np.load(PROBE) as shipped:
        ours, theirs = (abs(np.fft.fft2(file["probe"])) for file in (kept, shipped))  # what no shift can change
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.99
