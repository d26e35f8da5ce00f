"""Centring, bad pixels, binning and metadata, through a real daemon over real sockets."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from daemon.app import Daemon
from daemon.client import Viewer
from daemon.config import load_config
from daemon.files import ScanFile, read_probe, read_product
from streams.join.scan_warnings import ScanWarning
from tests.support.daemon_tools import CONFIG, PATIENCE_S, PROBE, adds_up, follow, on_common_ground, real_scan, send

CORNER, FRAMES, DARK = (201, 97), 240, 64
KNOWN = f"detector.center_px=[{CORNER[0] + 64}, {CORNER[1] + 64}]"
DECTRIS = 'frames.format="dectris-v2"'
AUTO = "detector.center_px=auto"


@pytest.fixture(scope="module")
def scan() -> ScanFile:
    whole = real_scan()
    return replace(
        whole, counts=whole.counts[:FRAMES], positions_m=whole.positions_m[:FRAMES], indexes=np.arange(FRAMES)
    )


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


@contextmanager
def daemon_of(folder: Path, *settings: str, optics: bool = True) -> Iterator[Daemon]:
    """Yield a daemon; without ``optics`` only the probe's file is configured."""
    folder.mkdir()
    text = CONFIG if optics else re.sub(r"(?m)^(photon|detector_).*\n", "", CONFIG)
    path = folder / "test.toml"
    path.write_text(text.format(probe=json.dumps(str(PROBE)), directory=json.dumps(str(folder / "out"))))
    daemon = Daemon(load_config(path, settings))
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.stop()


def reconstruct(folder: Path, scan: ScanFile, *settings: str, optics: bool = True, **options):
    """Return the end and the pictures of one scan, and its record and the status after it."""
    with daemon_of(folder, *settings, optics=optics) as daemon:
        with Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
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
    """Dark frames first, hot pixels and groups of them around: nothing moves, nothing is lost."""
    _, found, record, status = reconstruct(tmp_path / "found", large, AUTO)
    _, known, _, _ = reconstruct(tmp_path / "known", large, KNOWN)
    assert record["center_px"] == status["center_px"] == [CORNER[0] + 64, CORNER[1] + 64]
    assert record["center_from"] == status["center_from"] == "probe"
    dark, doubt = record["notes"]
    assert dark == ScanWarning.DARK.text(count=64)
    assert doubt == "doubtful: 21% of the frames hold no count: check shutter, beam and mask"
    np.testing.assert_array_equal(*on_common_ground(found["network"], known["network"]))
    assert np.abs(found["network"].object).max() > 0.5


def test_a_found_centre_gives_the_r_factor_of_the_scan_itself(scan: ScanFile, tmp_path: Path):
    _, _, record, _ = reconstruct(tmp_path / "found", in_large_frames(scan, 0), AUTO)
    _, _, itself, _ = reconstruct(tmp_path / "itself", scan)
    assert record["rfactor"] == pytest.approx(itself["rfactor"], abs=1e-6)
    assert record["rfactor"] < 0.25


def test_binned_frames_give_the_picture_of_the_scan_itself_bit_for_bit(scan: ScanFile, tmp_path: Path):
    """Each count falls into one of the four pixels that are summed."""
    fine = np.zeros((FRAMES, 300, 300), dtype=np.uint16)
    random = np.random.default_rng(0)
    for counts, frame in zip(scan.counts, fine, strict=True):
        inside = frame[20:276, 30:286]
        parts = random.multinomial(counts, [0.25] * 4)
        for place in range(4):
            inside[place // 2 :: 2, place % 2 :: 2] = parts[..., place]
    _, binned, record, _ = reconstruct(
        tmp_path / "binned",
        replace(scan, counts=fine),
        "detector.binning=2",
        AUTO,
        "optics.detector_pixel_size_m=37.5e-6",
    )
    _, itself, _, _ = reconstruct(tmp_path / "itself", scan)
    assert record["center_px"] == [20 + 128, 30 + 128]
    np.testing.assert_array_equal(*on_common_ground(binned["network"], itself["network"]))


def test_optics_and_saturation_come_from_the_header_and_hot_pixels_go(scan: ScanFile, tmp_path: Path):
    hot = scan.counts.copy()
    hot[:, 10::24, 13::24] = 60000
    header = {
        "incident_energy": 8800.0,
        "detector_translation": [0.0, 0.0, 1.92],
        "pixel_size_x": 75e-6,
        "pixel_size_y": 75e-6,
        "saturation_value": 20000,
    }
    options = {"stream_format": "dectris-v2", "metadata": header, "optics": False}
    ended, pictures, record, _ = reconstruct(tmp_path / "hot", replace(scan, counts=hot), DECTRIS, **options)
    _, itself, clean, _ = reconstruct(tmp_path / "itself", scan)
    (hot_pixels,) = record["notes"]
    assert hot_pixels.startswith("25 pixels (row 10, column 13: 60000; ")
    assert record["pixel_size_m"] == pytest.approx(clean["pixel_size_m"], rel=1e-6)
    assert record["rfactor"] == pytest.approx(clean["rfactor"], abs=0.01)
    product = read_product(ended["product"])
    assert product.photon_energy_eV == 8800.0
    assert product.detector_distance_m == pytest.approx(1.92)
    np.testing.assert_allclose(product.positions_m, scan.positions_m, atol=1e-12)
    assert pictures["network"].pixel_size_m == pytest.approx(itself["network"].pixel_size_m, rel=1e-6)


def test_a_header_that_says_otherwise_is_named_in_record_and_status_and_the_configuration_wins(
    scan: ScanFile, tmp_path: Path
):
    few = replace(scan, counts=scan.counts[:24], positions_m=scan.positions_m[:24], indexes=np.arange(24))
    header = {"incident_energy": 12000.0}
    _, pictures, record, status = reconstruct(
        tmp_path / "scan", few, DECTRIS, stream_format="dectris-v2", metadata=header
    )
    (note,) = record["notes"]
    assert "photon_energy_eV 12000 eV, [optics] 8800 eV" in note
    assert note in status["notes"]
    assert note[4:] in status["sentence"]
    assert pictures["network"].pixel_size_m == pytest.approx(2.8178e-8, rel=1e-4)


def test_frames_of_a_scan_whose_object_pixel_nothing_tells_are_refused_by_name(scan: ScanFile, tmp_path: Path):
    probe = tmp_path / "probe.npz"
    np.savez(probe, probe=read_probe(PROBE).probe)
    with daemon_of(tmp_path / "scan", f"optics.probe_file={probe}", optics=False) as daemon:
        with Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer:
            send(daemon, scan, 8)
            ended, _ = follow(viewer)
        with urllib.request.urlopen(daemon.addresses()["http"] + "/api/v1/status") as answer:
            sentence = json.loads(answer.read())["sentence"]
    assert adds_up(ended["verdict"])
    assert ended["verdict"]["refused"] == {"object_pixel_unknown": 8}
    assert "give [optics] object_pixel_size_m" in sentence
