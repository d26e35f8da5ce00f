"""Optics from configuration, header and probe."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from daemon.config import Optics
from daemon.optics.scan_optics import scan_optics
from streams.frame import StreamGeometry

PROBE = Path("probe.npz")
HEADER = StreamGeometry(photon_energy_eV=8800.0, detector_distance_m=1.92, detector_pixel_size_m=(75e-6, 75e-6))
PIXEL_M = 2.8178e-8


def test_what_the_configuration_leaves_out_comes_from_the_header():
    found = scan_optics(Optics(probe_file=PROBE), 128, None, HEADER)
    assert (found.photon_energy_eV, found.detector_distance_m, found.detector_pixel_size_m) == (8800.0, 1.92, 75e-6)
    assert found.object_pixel_size_m == pytest.approx(PIXEL_M, rel=1e-4)
    assert found.notes == ()
    twice = scan_optics(Optics(probe_file=PROBE, detector_distance_m=3.84), 128, None, HEADER)
    assert twice.object_pixel_size_m == pytest.approx(2 * PIXEL_M, rel=1e-4)


def test_the_object_pixel_shrinks_with_the_pattern_in_detector_pixels():
    found = scan_optics(Optics(probe_file=PROBE), 256, None, HEADER)
    assert found.object_pixel_size_m == pytest.approx(PIXEL_M / 2, rel=1e-4)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("photon_energy_eV", 9000.0, "the stream says photon_energy_eV 8800 eV, .optics. 9000 eV"),
        ("detector_distance_m", 2.0, "detector_distance_m 1.92 m, .optics. 2 m"),
        ("detector_pixel_size_m", 55e-6, "detector_pixel_size_m 75 um, .optics. 55 um"),
        (
            "object_pixel_size_m",
            3e-8,
            "the optics of the stream give object_pixel_size_m 28.178 nm, .optics. 30.000 nm",
        ),
    ],
)
def test_a_conflict_is_named_in_one_sentence_and_the_configuration_wins(key: str, value: float, words: str):
    found = scan_optics(Optics(probe_file=PROBE, **{key: value}), 128, None, HEADER)
    assert getattr(found, key) == value
    (note,) = found.notes
    assert re.search(words, note)


def test_under_one_percent_is_no_conflict():
    assert scan_optics(Optics(probe_file=PROBE, photon_energy_eV=8850.0), 128, 2.80e-8, HEADER).notes == ()


def test_without_optics_and_header_the_probes_pixel_holds_and_without_that_the_scan_is_refused_by_name():
    assert scan_optics(Optics(probe_file=PROBE), 128, 3e-8).object_pixel_size_m == 3e-8
    unknown = scan_optics(Optics(probe_file=PROBE), 128, None, StreamGeometry(photon_energy_eV=8800.0))
    assert unknown.object_pixel_size_m is None
    assert "give [optics] object_pixel_size_m" in unknown.notes[0]


def test_a_probe_of_another_geometry_and_oblong_pixels_are_named():
    oblong = StreamGeometry(photon_energy_eV=8800.0, detector_distance_m=1.92, detector_pixel_size_m=(75e-6, 150e-6))
    found = scan_optics(Optics(probe_file=PROBE), 128, 3e-8, oblong)
    assert found.object_pixel_size_m == pytest.approx(PIXEL_M, rel=1e-4)
    assert "not square" in found.notes[0]
    assert "the probe has pixels of 30.000 nm but the optics give 28.178 nm" in found.notes[1]
