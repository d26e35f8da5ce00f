"""Checks whether the numbers of a scan are plausible: optics of real instruments, and positions at which patches overlap."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from daemon.files.doubts import Doubt, doubt, wrong
from daemon.files.near_field import near_field
from daemon.files.scan import ScanFile

LIMITS = {
    "photon_energy_eV": ("photon energy", "eV", 1.0, 1e6),
    "detector_distance_m": ("detector distance", "m", 1e-4, 200.0),
    "detector_pixel_size_m": ("detector pixel", "m", 1e-7, 1e-2),
    "object_pixel_size_m": ("object pixel", "m", 1e-12, 1e-3),
}
"""Name, unit, and the range of instruments of this field."""
RARE_EV = (4.5, 20.0)
"""No instrument works between visible light and the extreme ultraviolet, but many at the same number of keV."""
SMALLEST_SPAN_PX = 1.0
"""A scan moves by more than one object pixel."""
OTHER_UNITS = ((1e-3, "mm"), (1e-6, "um"), (1e-9, "nm"))
MOST_POSITIONS = 4096
"""Positions whose nearest neighbour is measured, spread over the scan."""


def implausible(scan: ScanFile) -> list[Doubt]:
    """Return doubts about impossible or unlikely values of a completed scan."""
    return [*_optics(scan), *_positions(scan), *near_field(scan)]


def _optics(scan: ScanFile) -> Iterator[Doubt]:
    for key, (name, unit, low, high) in LIMITS.items():
        value = getattr(scan, key)
        if value is not None and not low <= value <= high:
            yield wrong("units", f"the {name} is {value:g} {unit}, which is impossible; check its unit")
    energy = scan.photon_energy_eV
    if energy is not None and RARE_EV[0] < energy < RARE_EV[1]:
        yield doubt("units", f"the photon energy is {energy:g} eV; if that is in keV, write {energy:g}e3")


def _positions(scan: ScanFile) -> Iterator[Doubt]:
    positions = scan.positions_px
    if positions is None or len(positions) < 2:
        return
    span = float(np.ptp(positions, axis=0).max())
    if span < SMALLEST_SPAN_PX:
        yield wrong(
            "positions", f"positions span {span:.2g} px, so all frames lie on one pixel; check {_suspects(scan)}"
        )
        return
    step, side = _neighbour_px(positions), min(scan.counts.shape[1:])
    if step > side:
        looks = next((f"; they seem to be in {name}" for f, name in OTHER_UNITS if 1 <= step * f <= side), "")
        yield wrong(
            "overlap",
            f"neighbouring positions lie {step:.3g} px apart and a pattern has {side} px, so patches do not overlap"
            f"{looks}; check {_suspects(scan)}",
        )


def _suspects(scan: ScanFile) -> str:
    """Return the quantities that determine the distance of two positions in pixels, with their values."""
    known = [
        f"{name} ({value:g} {unit})"
        for key, (name, unit, *_) in LIMITS.items()
        if (value := getattr(scan, key)) is not None
    ]
    return ", ".join([*known, "the unit of the positions"])


def _neighbour_px(positions: NDArray[np.float64]) -> float:
    """Return the median distance from a position to its nearest neighbour; repeated places count once."""
    places = np.unique(positions.round(6), axis=0)
    if len(places) < 2:
        return 0.0
    asked = places[:: max(1, len(places) // MOST_POSITIONS)]
    distances, _ = cKDTree(places).query(asked, k=[2])
    return float(np.median(distances))
