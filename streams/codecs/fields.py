"""Fields of untrusted headers: JSON of bounded size, plausible numbers, detector tables."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.codecs.base import Part, Shape, is_count
from streams.frame import StreamGeometry
from streams.untrusted import is_finite_number, read_json, shown

__all__ = ["bad_pixels", "flat_factors", "make_geometry", "read_json_map", "size_2d"]

_MAX_JSON_BYTES = 4 * 2**20
"""Size of one JSON part; a detector's configuration has some kilobytes."""
_MAX_SIDE_PX = 2**20
"""Rows or columns of a frame; the largest detectors have some thousands."""
_MAX_FACTOR = 1e3
"""Largest useful factor of a flat field; a pixel that needs more measures nothing."""
_HC_EV_ANGSTROM = 12398.419843320026
"""Energy in eV times wavelength in angstrom: h c / e."""
_PLAUSIBLE: dict[str, tuple[float, float, str]] = {
    "photon_energy_eV": (1.0, 1e7, "eV"),  # from extreme ultraviolet to hard gamma rays, electrons too
    "detector_distance_m": (1e-6, 1e4, "m"),
    "detector_pixel_size_m": (1e-9, 1.0, "m"),
    "saturation": (1e-6, 2.0**64, "counts"),
    "frame_time_s": (1e-9, 1e6, "s"),
    "beam_center_px": (1e-6, float(_MAX_SIDE_PX), "px"),
}
"""Bounds within which a header's number can be true at any beamline; others are not used."""


def read_json_map(part: Part) -> dict[str, object] | None:
    """Return the JSON map in a part; ``None`` for anything else, or more than 4 MiB."""
    if not 2 <= len(part) <= _MAX_JSON_BYTES or part[0] != 0x7B:
        return None
    try:
        value = read_json(part)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def size_2d(rows: object, columns: object) -> Shape | None:
    """Return (rows, columns) if both are whole numbers from 1 to 2^20."""
    if is_count(rows) and is_count(columns) and 1 <= rows <= _MAX_SIDE_PX and 1 <= columns <= _MAX_SIDE_PX:
        return rows, columns
    return None


def bad_pixels(mask: NDArray[Any] | None) -> NDArray[np.bool_] | None:
    """Return True where a detector's pixel mask is not 0."""
    return None if mask is None else np.asarray(mask != 0)


def flat_factors(flatfield: NDArray[Any] | None, notes: list[str]) -> NDArray[np.float32] | None:
    """Return a flat field's factors; NaN (no data) where one is not positive or too large to be useful."""
    if flatfield is None:
        return None
    with np.errstate(over="ignore"):
        factors = flatfield.astype(np.float32)
    is_odd = ~((factors > 0) & (factors <= _MAX_FACTOR))
    factors[is_odd] = np.nan
    huge = int((is_odd & (flatfield != 0)).sum())
    if huge:
        notes.append(
            f"{huge} factors of the flat field in the stream's header are not from 0 to {_MAX_FACTOR:g}; their pixels are "
            "treated as no data"
        )
    return factors


def make_geometry(
    notes: list[str],
    *,
    energy_eV: object = None,  # noqa: N803
    wavelength_angstrom: object = None,
    distance_m: object = None,
    saturation: object = None,
    frame_time_s: object = None,
    pixel_size_m: tuple[object, object] = (None, None),
    beam_center_px: tuple[object, object] = (None, None),
    frame_shape: Shape | None = None,
    **others: Any,
) -> StreamGeometry:
    """Return the geometry in a header. A number that cannot be true is left out, with a sentence in ``notes``.

    ``wavelength_angstrom`` is used if there is no energy; pairs are (y, x); ``others`` are fields of
    :class:`StreamGeometry` that are checked already.
    """
    energy = _plausible("photon_energy_eV", energy_eV, notes)
    if energy is None and is_finite_number(wavelength_angstrom) and wavelength_angstrom:
        energy = _plausible("photon_energy_eV", _HC_EV_ANGSTROM / float(wavelength_angstrom), notes)  # type: ignore[arg-type]
    return StreamGeometry(
        photon_energy_eV=energy,
        detector_distance_m=_plausible("detector_distance_m", distance_m, notes),
        saturation=_plausible("saturation", saturation, notes),
        frame_time_s=_plausible("frame_time_s", frame_time_s, notes),
        detector_pixel_size_m=_pair("detector_pixel_size_m", pixel_size_m, notes),
        beam_center_px=_inside(_pair("beam_center_px", beam_center_px, notes), frame_shape, notes),
        frame_shape=frame_shape,
        **others,
    )


def _plausible(name: str, value: object, notes: list[str]) -> float | None:
    """Return a number of a header; ``None`` if it is not set, or, with a note, if it cannot be true."""
    if value is None or (isinstance(value, int | float) and value == 0):
        return None
    least, greatest, unit = _PLAUSIBLE[name]
    if is_finite_number(value) and least <= value <= greatest:  # type: ignore[operator]
        return float(value)  # type: ignore[arg-type]
    notes.append(
        f"the stream's header says that {name} is {shown(value)}, which is not a number from {least:g} to {greatest:g} {unit}; "
        "it is not used"
    )
    return None


def _pair(name: str, pair: tuple[object, object], notes: list[str]) -> tuple[float, float] | None:
    first, second = (_plausible(name, value, notes) for value in pair)
    return None if first is None or second is None else (first, second)


def _inside(center: tuple[float, float] | None, shape: Shape | None, notes: list[str]) -> tuple[float, float] | None:
    if center is None or shape is None or (center[0] <= shape[0] and center[1] <= shape[1]):
        return center
    notes.append(
        f"the stream's header says that the beam is at row {center[0]:g}, column {center[1]:g}, outside of its frames of "
        f"{shape[0]} x {shape[1]} px; it is not used"
    )
    return None
