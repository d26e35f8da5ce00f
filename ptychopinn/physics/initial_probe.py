r"""Initial guess of the probe from the optics: zone plate, pinhole or a pair of mirrors (KB).

Lengths in metres; ``defocus_m`` is the sample's distance behind the focus (negative: before it). A wave exp(i k z) over a
distance z has the transfer exp(-i pi lambda z q^2), q in cycles a metre. A lens of numerical aperture NA has a pupil of
radius NA / lambda in q: a zone plate's is lambda / (2 outermost zone width), a mirror's half its opening over its focal
length. The guess has energy 1 and its centroid at N/2; the frames give the number of photons.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.detector.geometry import HC_EV_M
from ptychopinn.errors import GeometryError

EDGE_PX = 0.25
"""Softness of an aperture's edge, px: avoids ringing from a sharp edge on the grid."""
MOST_FILLED = 0.95
"""Greatest share of the field's side that the probe may fill; beyond it, it wraps around the edge."""

Real = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class ProbeGrid:
    """Sampling of a probe: side in pixels, pixel size, photon energy."""

    size_px: int
    pixel_size_m: float
    photon_energy_eV: float  # noqa: N815

    @property
    def wavelength_m(self) -> float:
        """Wavelength."""
        return HC_EV_M / self.photon_energy_eV

    @property
    def side_m(self) -> float:
        """Side of the field."""
        return self.size_px * self.pixel_size_m


def zone_plate_probe(
    grid: ProbeGrid,
    outermost_zone_width_m: float,
    diameter_m: float,
    central_stop_m: float = 0.0,
    defocus_m: float = 0.0,
) -> NDArray[np.complex64]:
    """Return the probe ``(1, N, N)`` of a zone plate with a central stop of that diameter."""
    if central_stop_m >= diameter_m:
        raise GeometryError(
            f"a central stop of {central_stop_m:g} m hides a zone plate of {diameter_m:g} m; correct one"
        )
    outer = 1 / (2 * outermost_zone_width_m)
    _check(grid, (outer, outer), defocus_m, "zone plate")
    qy, qx = _frequencies(grid)
    q, edge = np.hypot(qy, qx), EDGE_PX / grid.side_m
    pupil = _below(q, outer, edge)
    if central_stop_m > 0:
        pupil = pupil * (1 - _below(q, outer * central_stop_m / diameter_m, edge))
    return _at_sample(grid, pupil, defocus_m)


def mirrors_probe(
    grid: ProbeGrid, focal_lengths_m: tuple[float, float], openings_m: tuple[float, float], defocus_m: float = 0.0
) -> NDArray[np.complex64]:
    """Return the probe ``(1, N, N)`` of two crossed mirrors, (vertical, horizontal), each open by ``openings_m``."""
    half = tuple(a / (2 * f) / grid.wavelength_m for a, f in zip(openings_m, focal_lengths_m, strict=True))
    _check(grid, (half[0], half[1]), defocus_m, "mirrors")
    edge = EDGE_PX / grid.side_m
    qy, qx = _frequencies(grid)
    return _at_sample(grid, _below(abs(qy), half[0], edge) * _below(abs(qx), half[1], edge), defocus_m)


def pinhole_probe(grid: ProbeGrid, diameter_m: float, distance_m: float = 0.0) -> NDArray[np.complex64]:
    """Return the probe ``(1, N, N)`` at a distance behind a round pinhole in a plane wave."""
    spread_m = distance_m * grid.wavelength_m / diameter_m
    if diameter_m + spread_m > MOST_FILLED * grid.side_m:
        raise GeometryError(
            f"a pinhole of {diameter_m * 1e6:.3g} um illuminates {(diameter_m + spread_m) * 1e6:.3g} um at the sample, but the "
            f"field of view is {grid.side_m * 1e6:.3g} um; correct [optics], or take a larger [detector] distance"
        )
    axis = (np.arange(grid.size_px) - grid.size_px // 2) * grid.pixel_size_m
    hole = _below(np.hypot(axis[:, None], axis[None, :]), diameter_m / 2, EDGE_PX * grid.pixel_size_m)
    return _at_sample(grid, np.fft.fft2(np.fft.ifftshift(hole)), distance_m)


def _check(grid: ProbeGrid, outer: tuple[float, float], defocus_m: float, what: str) -> None:
    """Raise an error if the light does not fit into the grid or onto the detector."""
    most = 0.5 / grid.pixel_size_m
    if max(outer) > most:
        raise GeometryError(
            f"the light of the {what} (numerical aperture {max(outer) * grid.wavelength_m:.3g}) leaves the patterns, which "
            f"reach {most * grid.wavelength_m:.3g}; correct [optics] or enlarge [detector] size_px"
        )
    lit_m = 2 * abs(defocus_m) * grid.wavelength_m * max(outer)
    if lit_m > MOST_FILLED * grid.side_m:
        raise GeometryError(
            f"the {what} illuminates {lit_m * 1e6:.3g} um at a defocus of {defocus_m:g} m, but the field of view is "
            f"{grid.side_m * 1e6:.3g} um; correct [optics], or take a larger [detector] distance"
        )


def _frequencies(grid: ProbeGrid) -> tuple[Real, Real]:
    """Return q ``(N, 1)`` and ``(1, N)``, cycles a metre, zero at the corner."""
    axis = np.fft.fftfreq(grid.size_px, grid.pixel_size_m)
    return axis[:, None], axis[None, :]


def _below(value: Real, limit: float, edge: float) -> Real:
    """Return 1 below a limit and 0 above, with a soft step of width ``edge``."""
    out: Real = 1 / (1 + np.exp(np.clip((value - limit) / edge, -40, 40)))
    return out


def _at_sample(grid: ProbeGrid, pupil: NDArray[Any], distance_m: float) -> NDArray[np.complex64]:
    """Return the wave ``(1, N, N)`` of a spectrum (zero frequency at the corner) after a distance, energy 1."""
    qy, qx = _frequencies(grid)
    transfer = np.exp(-1j * np.pi * grid.wavelength_m * distance_m * (qy**2 + qx**2))
    probe = np.fft.fftshift(np.fft.ifft2(pupil * transfer))
    return (probe / np.linalg.norm(probe)).astype(np.complex64)[None]
