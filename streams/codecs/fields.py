"""Fields of headers that anybody may have written: JSON of bounded size, numbers that mean something, detector tables."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.codecs.base import Part, Shape, is_count
from streams.frame import StreamGeometry

__all__ = ["bad_pixels", "make_geometry", "positive", "positive_pair", "read_json", "size_2d"]

_MAX_JSON_BYTES = 65536
_HC_EV_ANGSTROM = 12398.419843320026
_JSON = json.JSONDecoder(parse_constant=lambda _: None)


def read_json(part: Part) -> dict[str, Any] | None:
    """Return the map that a part holds as JSON; ``None`` for anything else, or more than 64 KiB."""
    if not 2 <= len(part) <= _MAX_JSON_BYTES or part[0] != 0x7B:
        return None
    try:
        value = _JSON.decode(str(part, "utf-8"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def positive(value: object) -> float | None:
    """Return a number that is finite and greater than 0; ``None`` for anything else."""
    if type(value) not in (int, float):
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except OverflowError:
        return None
    return number if math.isfinite(number) and number > 0 else None


def positive_pair(first: object, second: object) -> tuple[float, float] | None:
    """Return both numbers if both are finite and positive."""
    one, two = positive(first), positive(second)
    return None if one is None or two is None else (one, two)


def size_2d(rows: object, columns: object) -> Shape | None:
    """Return (rows, columns) if both are positive whole numbers."""
    if is_count(rows) and is_count(columns) and rows and columns:
        return rows, columns
    return None


def bad_pixels(mask: NDArray[Any] | None) -> NDArray[np.bool_] | None:
    """Return where a detector's pixel mask is not 0."""
    return None if mask is None else np.asarray(mask != 0)


def make_geometry(
    *,
    energy_eV: object = None,  # noqa: N803
    wavelength_angstrom: object = None,
    distance_m: object = None,
    saturation: object = None,
    frame_time_s: object = None,
    **others: Any,
) -> StreamGeometry:
    """Return what a header says, numbers that mean nothing left out.

    ``wavelength_angstrom`` serves where there is no energy; ``others`` are fields of :class:`StreamGeometry`, checked.
    """
    energy = positive(energy_eV)
    wavelength = positive(wavelength_angstrom)
    if energy is None and wavelength is not None:
        energy = _HC_EV_ANGSTROM / wavelength
    return StreamGeometry(
        photon_energy_eV=energy,
        detector_distance_m=positive(distance_m),
        saturation=positive(saturation),
        frame_time_s=positive(frame_time_s),
        **others,
    )
