"""Lengths and energies as people write them: ``8.8 keV``, ``1920 mm``, ``75 um``; a bare number has the expected unit."""

from __future__ import annotations

import math
import re

UNITS: dict[str, float] = {
    "eV": 1.0,
    "keV": 1e3,
    "m": 1.0,
    "cm": 1e-2,
    "mm": 1e-3,
    "um": 1e-6,
    "µm": 1e-6,
    "μm": 1e-6,
    "nm": 1e-9,
    "pm": 1e-12,
}
"""Size of each unit in eV or m; the two signs for micro differ."""
ENERGIES = ("eV", "keV")
_QUANTITY = re.compile(r"\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*([A-Za-zµμ]*)\s*")


def quantity(text: str, unit: str) -> float:
    """Return eV or m of a text; `unit` is that of a bare number, and says whether an energy or a length is meant.

    Raises ``ValueError`` with one sentence.
    """
    found = _QUANTITY.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a number with a unit. Example: 5 {unit}")
    given = found[2] or unit
    allowed = [name for name in UNITS if (name in ENERGIES) == (unit in ENERGIES)]
    if given not in allowed:
        raise ValueError(f"{given!r} is not a unit for this; use one of {', '.join(allowed[:-1])}")
    try:
        value = float(found[1]) * UNITS[given]
    except ValueError:
        raise ValueError(f"{found[1]!r} is not a number. Example: 5 {unit}") from None
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is too large")
    return float(f"{value:.12g}")


def quantities(text: str, units: tuple[str, ...], least: int) -> tuple[float, ...]:
    """Return the values of a list with commas: at least `least` of them, at most one for each unit; the rest is 0."""
    parts = [part for part in text.split(",") if part.strip()]
    if not least <= len(parts) <= len(units):
        wanted = ", ".join(f"{name}" for name in units)
        raise ValueError(f"{text!r} has {len(parts)} values; give {least} to {len(units)}, in {wanted}")
    values = tuple(quantity(part, unit) for part, unit in zip(parts, units, strict=False))
    return values + (0.0,) * (len(units) - len(values))
