"""The first frames of the real scan from the analytic guess of the probe; the whole scan: tests/endurance/test_cold_start.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from daemon.client import Viewer
from daemon.files import read_product
from tests.support.daemon_tools import DATA, PATIENCE_S, PROBE, follow, real_scan, running_daemon, send

FRAMES = 110
SETTINGS = (
    f'optics.probe_file="{DATA / "siemens-star-guess.npz"}"',
    "optics.retrieve_probe=true",
    "refine.enabled=true",
    "refine.finish_s=3",
    "refine.improve_s=0",
)


def test_the_probe_is_retrieved_and_kept(tmp_path: Path) -> None:
    with running_daemon(tmp_path, *SETTINGS) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        send(daemon, real_scan(), FRAMES)
        ended, _ = follow(viewer)
    assert ended["verdict"]["stitched"] == FRAMES
    assert "the probe was retrieved from 100 frames" in ended["notes"][0]
    product = Path(ended["product"])
    with np.load(product.with_name("probe.npz")) as kept, np.load(PROBE) as shipped:
        ours, theirs = (abs(np.fft.fft2(file["probe"])) for file in (kept, shipped))  # what no shift can change
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.98
    assert read_product(product).live.rfactors["network"] < 0.2
