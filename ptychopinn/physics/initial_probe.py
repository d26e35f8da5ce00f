r"""A first guess of the probe from the optics: zone plate, pinhole or a pair of mirrors (KB).

Lengths in metres; ``defocus_m`` is the sample's distance behind the focus (negative: before it). A wave exp(i k z) over a
distance z has the transfer exp(-i pi lambda z q^2), q in cycles a metre. A lens of numerical aperture NA has a pupil of
radius NA / lambda in q: a zone plate's is lambda / (2 outermost zone width), a mirror's half its opening over its focal
length. The guess has energy 1, its centroid at N/2: how many photons there are, only the frames tell.
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
class Field:
    """What a probe is sampled on: ``size_px`` pixels of ``pixel_size_m`` a side, in light of one energy."""

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
    field: Field,
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
    _check(field, (outer, outer), defocus_m, "zone plate")
    qy, qx = _frequencies(field)
    q, edge = np.hypot(qy, qx), EDGE_PX / field.side_m
    pupil = _below(q, outer, edge)
    if central_stop_m > 0:
        pupil = pupil * (1 - _below(q, outer * central_stop_m / diameter_m, edge))
    return _at_sample(field, pupil, defocus_m)


def mirrors_probe(
    field: Field, focal_lengths_m: tuple[float, float], openings_m: tuple[float, float], defocus_m: float = 0.0
) -> NDArray[np.complex64]:
    """Return the probe ``(1, N, N)`` of two crossed mirrors, (vertical, horizontal), each open by ``openings_m``."""
    half = tuple(a / (2 * f) / field.wavelength_m for a, f in zip(openings_m, focal_lengths_m, strict=True))
    _check(field, (half[0], half[1]), defocus_m, "mirrors")
    edge = EDGE_PX / field.side_m
    qy, qx = _frequencies(field)
    return _at_sample(field, _below(abs(qy), half[0], edge) * _below(abs(qx), half[1], edge), defocus_m)


def pinhole_probe(field: Field, diameter_m: float, distance_m: float = 0.0) -> NDArray[np.complex64]:
    """Return the probe ``(1, N, N)`` at a distance behind a round pinhole in a plane wave."""
    spread_m = distance_m * field.wavelength_m / diameter_m
    if diameter_m + spread_m > MOST_FILLED * field.side_m:
        raise GeometryError(
            f"a pinhole of {diameter_m * 1e6:.3g} um lights {(diameter_m + spread_m) * 1e6:.3g} um at the sample, but the "
            f"patterns see {field.side_m * 1e6:.3g} um; correct [optics], or take a larger [detector] distance"
        )
    axis = (np.arange(field.size_px) - field.size_px // 2) * field.pixel_size_m
    hole = _below(np.hypot(axis[:, None], axis[None, :]), diameter_m / 2, EDGE_PX * field.pixel_size_m)
    return _at_sample(field, np.fft.fft2(np.fft.ifftshift(hole)), distance_m)


def _check(field: Field, outer: tuple[float, float], defocus_m: float, what: str) -> None:
    """Refuse optics whose light does not fit into the field or onto the detector."""
    most = 0.5 / field.pixel_size_m
    if max(outer) > most:
        raise GeometryError(
            f"the light of the {what} (numerical aperture {max(outer) * field.wavelength_m:.3g}) leaves the patterns, which "
            f"reach {most * field.wavelength_m:.3g}; correct [optics] or enlarge [detector] size_px"
        )
    lit_m = 2 * abs(defocus_m) * field.wavelength_m * max(outer)
    if lit_m > MOST_FILLED * field.side_m:
        raise GeometryError(
            f"the {what} lights {lit_m * 1e6:.3g} um at a defocus of {defocus_m:g} m, but the patterns see "
            f"{field.side_m * 1e6:.3g} um; correct [optics], or take a larger [detector] distance"
        )


def _frequencies(field: Field) -> tuple[Real, Real]:
    """Return q ``(N, 1)`` and ``(1, N)``, cycles a metre, zero at the corner."""
    axis = np.fft.fftfreq(field.size_px, field.pixel_size_m)
    return axis[:, None], axis[None, :]


def _below(value: Real, limit: float, edge: float) -> Real:
    """Return 1 well below a limit, 0 well above, soft over ``edge``."""
    out: Real = 1 / (1 + np.exp(np.clip((value - limit) / edge, -40, 40)))
    return out


def _at_sample(field: Field, pupil: NDArray[Any], distance_m: float) -> NDArray[np.complex64]:
    """Return the field ``(1, N, N)`` of a spectrum (zero at the corner) after a distance, energy 1."""
    qy, qx = _frequencies(field)
    transfer = np.exp(-1j * np.pi * field.wavelength_m * distance_m * (qy**2 + qx**2))
    probe = np.fft.fftshift(np.fft.ifft2(pupil * transfer))
    return (probe / np.linalg.norm(probe)).astype(np.complex64)[None]
