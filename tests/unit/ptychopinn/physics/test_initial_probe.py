"""Probes from optics: sizes and distances as geometry says, refusals in words, and retrieval from such a guess."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ptychopinn.errors import GeometryError
from ptychopinn.physics.initial_probe import ProbeGrid, mirrors_probe, pinhole_probe, zone_plate_probe
from ptychopinn.refine.retrieve import retrieve
from ptychopinn.simulate import Recipe, simulate_scan

FIELD = ProbeGrid(128, 28e-9, 8800.0)
PLATE = {"outermost_zone_width_m": 100e-9, "diameter_m": 180e-6, "central_stop_m": 60e-6}


def rms_px(intensity: np.ndarray) -> np.ndarray:
    """Return the root mean square distance from pixel N/2 in y and x, without the faint far tails."""
    bright = np.where(intensity > 0.02 * intensity.max(), intensity, 0)
    along = np.arange(len(bright)) - len(bright) // 2
    squares = [(bright.sum(1 - axis) * along**2).sum() / bright.sum() for axis in (0, 1)]
    return np.sqrt(squares)


@pytest.mark.parametrize("defocus_m", [1e-3, -1e-3])
def test_a_zone_plate_lights_defocus_times_its_aperture(defocus_m: float) -> None:
    probe = zone_plate_probe(FIELD, **PLATE, defocus_m=defocus_m)
    assert np.linalg.norm(probe) == pytest.approx(1.0, abs=1e-5)
    aperture = FIELD.wavelength_m / (2 * PLATE["outermost_zone_width_m"])
    lit_px = abs(defocus_m) * aperture / FIELD.pixel_size_m
    intensity = abs(probe[0]) ** 2
    stop = PLATE["central_stop_m"] / PLATE["diameter_m"]
    assert np.hypot(*rms_px(intensity)) == pytest.approx(lit_px * ((1 + stop**2) / 2) ** 0.5, rel=0.1)
    assert intensity[64, 64 + 6] < 0.2 * intensity[64, 64 + 14]  # the shadow of the stop


def test_light_behind_the_focus_spreads_as_exp_ikz_does() -> None:
    """Behind the focus the wave curves outwards: its phase grows with the distance from the axis."""
    probe = pinhole_probe(ProbeGrid(256, 20e-9, 8800.0), 0.4e-6, 2e-3)[0]
    phase = np.unwrap(np.angle(probe[128, 128:160]))
    assert phase[-1] > phase[0]


def test_mirrors_light_each_direction_by_its_own_aperture() -> None:
    probe = mirrors_probe(FIELD, (0.2, 0.1), (200e-6, 60e-6), defocus_m=8e-4)
    lit_px = 8e-4 * np.array([200e-6 / 0.2, 60e-6 / 0.1]) / 2 / FIELD.pixel_size_m
    np.testing.assert_allclose(rms_px(abs(probe[0]) ** 2), lit_px / 3**0.5, rtol=0.15)


def test_a_pinhole_close_by_is_a_disc() -> None:
    intensity = abs(pinhole_probe(FIELD, 1.4e-6)[0]) ** 2
    np.testing.assert_allclose(rms_px(intensity), 25 / 2, rtol=0.03)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: zone_plate_probe(FIELD, 20e-9, 180e-6), "leaves the patterns"),
        (lambda: zone_plate_probe(FIELD, 100e-9, 180e-6, defocus_m=1e-2), "but the field of view is 3.58 um"),
        (lambda: zone_plate_probe(FIELD, 100e-9, 50e-6, central_stop_m=60e-6), "central stop"),
        (lambda: pinhole_probe(FIELD, 5e-6), "a pinhole of 5 um illuminates"),
        (lambda: mirrors_probe(FIELD, (0.01, 0.1), (1e-3, 1e-3)), "leaves the patterns"),
    ],
)
def test_optics_that_do_not_fit_the_patterns_are_refused(make, words: str) -> None:
    with pytest.raises(GeometryError, match=words):
        make()


@pytest.mark.parametrize("defocus_m", [8.4e-4, 1.0e-3])
def test_a_probe_is_retrieved_from_a_zone_plate_whose_focus_is_not_known_well(defocus_m: float) -> None:
    field = ProbeGrid(64, 40e-9, 8800.0)
    true = torch.from_numpy(zone_plate_probe(field, **PLATE, defocus_m=7e-4))
    scan = simulate_scan(
        Recipe(size_px=64, frames=81, counts=1e6, overlap_ratio=0.75, phase_rad=-0.6, seed=4), probe=true
    )
    guess = torch.from_numpy(zone_plate_probe(field, **PLATE, defocus_m=defocus_m))
    found = retrieve(scan.amplitude, scan.positions_px, guess).probe
    likeness = [float(torch.vdot(p.flatten(), true.flatten()).abs() / p.norm() / true.norm()) for p in (guess, found)]
    assert likeness[0] < 0.95
    assert likeness[1] > 0.995
