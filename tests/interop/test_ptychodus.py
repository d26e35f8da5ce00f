"""Our files in the hands of the released ptychodus, and its files in ours; ptychodus lives in an environment of its own.

The environment is made once, in ``.venv-ptychodus`` (:mod:`ptychodus_environment`).
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon.files import LiveGroup, Product, ScanFile, read_probe, read_product, read_scan, write_product
from daemon.files.completion import completed
from daemon.files.cxi import write_cxi
from tests.support import SUPPORT

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]  # the first use makes the environment

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "daemon" / "demo_data" / "siemens-star.cxi"
PIXEL_M = 28.2e-9
ORIGIN_PX = (-37, 12)
SIDE = 16


@dataclass(frozen=True)
class Meeting:
    """What we wrote, what ptychodus said of it, and the directory with what ptychodus wrote."""

    product: Product
    scan: ScanFile
    said: dict[str, Any]
    directory: Path


@pytest.fixture(scope="module")
def meeting(ptychodus_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Meeting:
    directory = tmp_path_factory.mktemp("ptychodus")
    rng = np.random.default_rng(5)
    indexes = np.array([3, 0, 2, 5, 4])
    positions_px = np.array([[9, 20], [-4, 55], [0, 43], [13.25, 77.5], [12, 40]], dtype=float)
    picture = np.full((80, 97), 0.01, dtype=np.complex64)
    first = int(np.argmin(indexes))
    at = tuple((positions_px[first] - ORIGIN_PX).astype(int))
    picture[at] = 5 - 2j
    probe = (rng.normal(size=(2, SIDE, SIDE)) + 1j * rng.normal(size=(2, SIDE, SIDE))).astype(np.complex64)
    live = LiveGroup(picture.copy(), np.ones(picture.shape, np.float32), ORIGIN_PX, verdict={"expected": None})
    product = Product(
        "tête", "two\nlines", indexes, positions_px * PIXEL_M, probe, PIXEL_M, 8800.0, 1.92, picture, ORIGIN_PX, live
    )
    write_product(directory / "ours.h5", product)
    counts = rng.poisson(30.0, (6, SIDE, SIDE)).astype(np.uint16)
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[3, 7] = True
    scan = completed(
        ScanFile(
            name="made",
            counts=counts,
            indexes=np.arange(6),
            positions_m=rng.normal(size=(6, 2)) * 1e-6,
            photon_energy_eV=8800.0,
            detector_distance_m=1.92,
            detector_pixel_size_m=75e-6,
            mask=mask,
        ),
        directory,
    )
    write_cxi(directory / "ours.cxi", scan)
    theirs = directory / "theirs"
    theirs.mkdir()
    said = ask(ptychodus_python, directory / "ours.h5", directory / "ours.cxi", theirs)
    return Meeting(product, scan, said, theirs)


def ask(python: Path, product: Path, scan: Path, directory: Path) -> dict[str, Any]:
    script = SUPPORT / "ptychodus_side.py"
    command = [str(python), str(script), str(product), str(scan), str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_ptychodus_opens_our_product(meeting: Meeting) -> None:
    said, ours = meeting.said["product"], meeting.product
    order = np.argsort(ours.indexes)
    assert (said["name"], said["comments"]) == ("tête", "two\nlines")
    assert (said["energy_eV"], said["distance_m"], said["losses"]) == (8800.0, 1.92, 0)
    assert said["photons"] == pytest.approx(float((np.abs(ours.probe) ** 2).sum()), rel=1e-6)
    assert said["object_pixel_m"] == said["probe_pixel_m"] == [PIXEL_M, PIXEL_M]
    assert said["object_shape"] == [1, 80, 97]
    assert said["probe_shape"] == [1, 2, SIDE, SIDE]
    assert said["indexes"] == ours.indexes[order].tolist()
    assert said["positions_m"] == ours.positions_m[order].tolist()


def test_a_frame_lies_on_the_same_object_pixel_for_both(meeting: Meeting) -> None:
    said, ours = meeting.said["product"], meeting.product
    order = np.argsort(ours.indexes)
    expected = ours.positions_m[order] / PIXEL_M - ORIGIN_PX
    np.testing.assert_allclose(said["positions_px"], expected, atol=1e-6)
    np.testing.assert_allclose(said["brightest"], said["positions_px"][0], atol=1e-6)


def test_ptychodus_centres_an_even_patch_between_pixels(meeting: Meeting) -> None:
    """The half pixel: its patch has the position at (N-1)/2, ours at N/2; the whole object is meant, so nothing else moves."""
    np.testing.assert_allclose(meeting.said["product"]["feature_in_patch"], [3.5, 3.5], atol=0.05)


def test_ptychodus_opens_our_scan(meeting: Meeting) -> None:
    said, ours = meeting.said["scan"], meeting.scan
    assert said["energy_eV"] == pytest.approx(8800.0, rel=1e-9)
    assert (said["distance_m"], said["pixel_m"]) == (1.92, [75e-6, 75e-6])
    assert (said["shape"], said["dtype"], said["bad_pixels"]) == ([6, SIDE, SIDE], "uint16", 1)
    assert said["sums"] == ours.counts.sum(axis=(1, 2)).tolist()
    assert ours.positions_m is not None
    assert said["positions_m"] == ours.positions_m.tolist()


def test_we_open_the_product_that_ptychodus_writes(meeting: Meeting) -> None:
    back, ours = read_product(meeting.directory / "product.h5"), meeting.product
    order = np.argsort(ours.indexes)
    assert (back.name, back.comments, back.pixel_size_m) == (ours.name, ours.comments, PIXEL_M)
    assert (back.photon_energy_eV, back.detector_distance_m, back.live) == (8800.0, 1.92, None)
    np.testing.assert_array_equal(back.indexes, ours.indexes[order])
    np.testing.assert_array_equal(back.positions_m, ours.positions_m[order])
    np.testing.assert_array_equal(back.object, ours.object)
    np.testing.assert_array_equal(back.probe, ours.probe)
    assert back.object_origin_px == pytest.approx(ORIGIN_PX, abs=1e-6)


def test_we_open_the_other_files_that_ptychodus_writes(meeting: Meeting) -> None:
    probe = read_probe(meeting.directory / "product.cxi")
    np.testing.assert_array_equal(probe.probe, meeting.product.probe)
    assert probe.pixel_size_m == pytest.approx(PIXEL_M)

    patterns = read_scan(meeting.directory / "diffraction.h5")
    assert patterns.indexes.tolist() == [0, 2, 3, 4, 5]
    np.testing.assert_array_equal(patterns.counts, meeting.scan.counts[patterns.indexes])
    known = dict(zip(meeting.product.indexes.tolist(), meeting.product.positions_m, strict=True))
    assert patterns.positions_m is not None
    np.testing.assert_array_equal(patterns.positions_m, [known[i] for i in patterns.indexes.tolist()])

    training = read_scan(meeting.directory / "training.npz")
    assert training.positions_px is not None
    ours_px = patterns.positions_m / PIXEL_M
    theirs_px = training.positions_px[[0, 2, 3, 4, 5]]
    np.testing.assert_allclose(theirs_px - theirs_px[0], ours_px - ours_px[0], atol=1e-6)
    np.testing.assert_array_equal(training.mask, meeting.scan.mask)


def test_ptychodus_opens_the_demo(ptychodus_python: Path, meeting: Meeting, tmp_path: Path) -> None:
    product = meeting.directory.parent / "ours.h5"
    said = ask(ptychodus_python, product, DEMO, tmp_path)["scan"]
    ours = read_scan(DEMO)
    assert ours.positions_m is not None
    assert (said["shape"], said["dtype"]) == ([516, 128, 128], "uint16")
    assert said["positions_m"] == ours.positions_m.tolist()
    assert said["sums"] == ours.counts.sum(axis=(1, 2)).tolist()
    assert said["energy_eV"] == pytest.approx(8800.0, rel=1e-9)


def test_ptychodus_opens_a_product_without_optics(ptychodus_python: Path, meeting: Meeting, tmp_path: Path) -> None:
    ours = meeting.product
    blind = Product(
        "blind", "", ours.indexes, ours.positions_m, ours.probe, PIXEL_M, None, None, ours.object, ORIGIN_PX
    )
    write_product(tmp_path / "blind.h5", blind)
    said = ask(ptychodus_python, tmp_path / "blind.h5", meeting.directory.parent / "ours.cxi", tmp_path)["product"]
    assert (said["energy_eV"], said["distance_m"]) == (0.0, 0.0)
    assert "not known" in said["comments"]
