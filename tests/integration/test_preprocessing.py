"""Centring, bad pixels, binning and metadata, through a real daemon over real sockets."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from daemon_tools import PATIENCE_S, PROBE, adds_up, follow, on_common_ground, real_scan, running_daemon, send

from daemon.client import Viewer
from daemon.files import ScanFile, read_probe, read_product

CORNER, FRAMES, DARK = (201, 97), 240, 64
KNOWN = f"detector.center_px=[{CORNER[0] + 64}, {CORNER[1] + 64}]"
AUTO = "detector.center_px=auto"


@pytest.fixture(scope="module")
def scan() -> ScanFile:
    whole = real_scan()
    return replace(whole, counts=whole.counts[:FRAMES], positions_m=whole.positions_m[:FRAMES], indexes=np.arange(FRAMES))


@pytest.fixture(scope="module")
def large(scan: ScanFile) -> ScanFile:
    """The scan as a 514 x 514 detector sees it: the beam off the middle, behind 64 dark frames, among hot pixels."""
    return in_large_frames(scan, DARK)


def in_large_frames(scan: ScanFile, dark: int) -> ScanFile:
    random = np.random.default_rng(0)
    counts = np.zeros((dark + len(scan.counts), 514, 514), dtype=np.uint16)
    inside = (slice(dark, None), slice(CORNER[0], CORNER[0] + 128), slice(CORNER[1], CORNER[1] + 128))
    counts[inside] = scan.counts
    hot = np.zeros((514, 514), dtype=bool)
    hot[tuple(random.integers(0, 514, (2, 200)))] = True
    for y, x in ((40, 60), (300, 400), (480, 20)):
        hot[y : y + 2, x : x + 2] = True
    hot[inside[1:]] = False
    counts[:, hot] = random.integers(1000, 60000, hot.sum())
    positions_m = np.concatenate([np.repeat(scan.positions_m[:1], dark, 0), scan.positions_m])
    return replace(scan, counts=counts, positions_m=positions_m, indexes=np.arange(len(counts)))


def reconstruct(folder: Path, scan: ScanFile, *settings: str, **options):
    """Return the end, the pictures and the record of one scan, and the status after it."""
    folder.mkdir()
    with running_daemon(folder, *settings) as daemon, Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
        send(daemon, scan, len(scan.counts), **options)
        ended, pictures = follow(viewer)
        api = daemon.addresses()["http"] + "/api/v1/"
        with urllib.request.urlopen(api + "scans") as answer:
            (record,) = json.loads(answer.read())
        with urllib.request.urlopen(api + "status") as answer:
            status = json.loads(answer.read())
    assert adds_up(ended["verdict"])
    assert ended["result"] == "complete", ended
    return ended, pictures, record, status


def test_a_centre_that_is_found_gives_the_picture_of_a_known_one_bit_for_bit(large: ScanFile, tmp_path: Path):
    _, found, record, status = reconstruct(tmp_path / "found", large, AUTO)
    _, known, _, _ = reconstruct(tmp_path / "known", large, KNOWN)
    assert record["center_px"] == status["center_px"] == [CORNER[0] + 64, CORNER[1] + 64]
    assert record["center_from"] == status["center_from"] == "probe"
    assert record["notes"] == status["notes"] == []
    np.testing.assert_array_equal(found["network"].object, known["network"].object)
    assert np.abs(found["network"].object).max() > 0.5
