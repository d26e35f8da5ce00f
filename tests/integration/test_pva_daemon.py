"""A whole live reconstruction of frames that come over pvAccess."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon.client import Viewer
from tests.support.daemon_tools import PATIENCE_S, follow, real_scan, running_daemon
from tests.support.pva_tools import NAME, Detector

FRAMES = 50


def status_says(viewer: Viewer, is_it: Callable[[dict[str, Any]], bool]) -> None:
    next(header for topic, header, _ in viewer.events() if topic == "status" and is_it(header))


def test_frames_over_pvaccess(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """One of 50 frames never comes, as a monitor may drop; it is missing and no other is moved by it."""
    scan = real_scan()
    np.savez(tmp_path / "positions.npz", position_m=scan.positions_m[:FRAMES])
    detector = Detector(monkeypatch)
    detector.open(516)
    settings = [
        f'frames.endpoint="pva://{NAME}"',
        'frames.format="pva"',
        "frames.first_number=1",
        f"frames.expected_frames={FRAMES}",
        "frames.scan_timeout_s=2.0",
        'positions.source="file"',
        f"positions.file={json.dumps(str(tmp_path / 'positions.npz'))}",
    ]
    with running_daemon(tmp_path, *settings) as daemon, Viewer(daemon.publisher.bound_endpoint, PATIENCE_S) as viewer:
        status_says(viewer, lambda status: status["streams"][0]["connected"])
        for k in range(FRAMES):
            if k != 20:
                detector.post(scan.counts[k], 1 + k, "bslz4")
        ended, pictures = follow(viewer)
    detector.server.stop()
    verdict = ended["verdict"]
    assert (verdict["stitched"], verdict["missing"], verdict["expected"]) == (FRAMES - 1, 1, FRAMES)
    assert ended["scan_id"].startswith("TEST_Pva1_Image-")
    assert pictures["network"].object.any()
