"""Units of lengths and energies: the table of units and the rule for numbers without a unit.

A unit is a symbol or a word in any common spelling (m, metre, micron, keV, kiloelectronvolts), possibly with a factor
(1e-6 m, 10^-6 m). Capital letters matter only where they distinguish units (meV, MeV).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from daemon.files.access import positive, text_of
from daemon.files.doubts import Doubt, doubt, note, wrong
from ptychopinn.errors import FileFormatError

JOULES_PER_EV = 1.602176634e-19
METRE_EV = 1.2398419843320026e-6
"""Planck's constant times the speed of light, metres x electronvolts."""

SYMBOLS = {"": 1.0, "k": 1e3, "c": 1e-2, "m": 1e-3, "u": 1e-6, "µ": 1e-6, "μ": 1e-6, "n": 1e-9, "p": 1e-12, "f": 1e-15}
WORDS = {"": 1.0, "kilo": 1e3, "centi": 1e-2, "milli": 1e-3, "micro": 1e-6, "nano": 1e-9, "pico": 1e-12, "femto": 1e-15}
METRES = {
    **{prefix + "m": factor for prefix, factor in SYMBOLS.items()},
    **{
        prefix + stem: factor
        for (prefix, factor), stem in product(WORDS.items(), ("meter", "meters", "metre", "metres"))
    },
    **dict.fromkeys(("micron", "microns"), 1e-6),
    **dict.fromkeys(("A", "Å", "Å", "angstrom", "angstroms", "ångström", "ångstrom"), 1e-10),  # noqa: RUF001
}
ELECTRONVOLTS = {
    **{p + "eV": f for p, f in (("", 1.0), ("m", 1e-3), ("k", 1e3), ("M", 1e6), ("G", 1e9))},
    **{
        prefix + stem: factor
        for (prefix, factor), stem in product(
            (("", 1.0), ("milli", 1e-3), ("kilo", 1e3), ("mega", 1e6), ("giga", 1e9)),
            ("electronvolt", "electronvolts", "electron volt", "electron volts", "electron-volt", "electron-volts"),
        )
    },
    **dict.fromkeys(("J", "joule", "joules"), 1 / JOULES_PER_EV),
}
SCALED = re.compile(r"(?:10(?:\^|\*\*)\(?([+-]?\d+)\)?|([0-9.]+(?:[eE][+-]?\d+)?))\s*[*·]?\s*(\D.*)")
HIGHEST_J, HIGHEST_KEV, LEAST_EV = 1.0, 1000.0, 100.0
"""No photon of a microscope has over 1 J or 1 MeV; numbers from 100 are taken as eV, not keV."""
LONGEST_M = 1e-4
"""Longest plausible wavelength, metres."""
WAVE_TOLERANCE = 0.01
"""Relative difference of energy and wavelength that is reported; files round both."""
UNIT_KEYS = ("units", "unit")


@dataclass(frozen=True, slots=True)
class Quantity:
    """A kind of number: its units with their factors, and the suggested names."""

    factors: dict[str, float]
    suggested: str

    def factor(self, unit: str) -> float | None:
        """Return the factor of a unit; ``None`` if it is unknown, or ambiguous because of its capitals."""
        text = " ".join(unit.split())
        if text in self.factors:
            return self.factors[text]
        alike = {factor for name, factor in self.factors.items() if name.casefold() == text.casefold()}
        if len(alike) == 1:
            return alike.pop()
        scaled = SCALED.fullmatch(text)
        inner = None if scaled is None else self.factor(scaled[3])
        if scaled is None or inner is None:
            return None
        return inner * (10.0 ** int(scaled[1]) if scaled[1] else float(scaled[2]))


LENGTH = Quantity(METRES, "m, mm, um or nm")
ENERGY = Quantity(ELECTRONVOLTS, "eV, keV or J")


def unit_of(dataset: h5py.Dataset) -> str:
    """Return the unit in a dataset's attributes; empty if there is none."""
    return next((text for key in UNIT_KEYS if (text := text_of(dataset.attrs.get(key)).strip())), "")


def stated_factor(dataset: h5py.Dataset, quantity: Quantity, path: Path) -> float | None:
    """Return the factor of a dataset's unit, ``None`` if it has no unit.

    Raises
    ------
    FileFormatError
        If it is not a unit of this quantity.
    """
    unit = unit_of(dataset)
    if not unit:
        return None
    factor = quantity.factor(unit)
    if factor is None:
        raise FileFormatError(f'{path}: {dataset.name} is in "{unit}"; write one of {quantity.suggested}')
    return factor


def length_m(dataset: Any, path: Path) -> float | None:
    """Return a length above zero in metres; without a unit it is in metres."""
    if not isinstance(dataset, h5py.Dataset):
        return None
    number = positive(dataset[()])
    return None if number is None else number * (stated_factor(dataset, LENGTH, path) or 1.0)


def lengths_m(dataset: h5py.Dataset, path: Path) -> NDArray[np.float64]:
    """Return an array of lengths in metres; without a unit they are in metres."""
    factor = stated_factor(dataset, LENGTH, path)
    values = np.asarray(dataset[()], dtype=np.float64)
    return values if factor is None else values * factor


def energy_ev(dataset: Any, path: Path, default: str, doubts: list[Doubt]) -> float | None:
    """Return an energy above zero in electronvolts; ``default`` is the unit of the format if none is stated.

    A number that is impossible in the format's unit is taken in a unit in which it is possible, with a doubt.
    """
    number = positive(dataset[()]) if isinstance(dataset, h5py.Dataset) else None
    if number is None:
        return None
    factor = stated_factor(dataset, ENERGY, path)
    unit = _likely_unit(number, default) if factor is None else default
    if factor is None and unit != default:
        doubts.append(
            doubt("units", f"energy {number:g} is impossible in {default} and is taken as {unit}; write its units")
        )
    return number * (ENERGY.factors[unit] if factor is None else factor)


def _likely_unit(number: float, default: str) -> str:
    if default == "J" and number > HIGHEST_J:
        return "eV" if number >= LEAST_EV else "keV"
    return "eV" if default == "keV" and number > HIGHEST_KEV else default


def photon_energy_ev(
    path: Path, energies: Iterable[Any], wavelengths: Iterable[Any], default: str, doubts: list[Doubt]
) -> float | None:
    """Return the photon energy from the first energy in the file, else from the first wavelength."""
    stated = next((e for e in (energy_ev(one, path, default, doubts) for one in energies) if e), None)
    lengths = (wavelength_m(one, path) for one in wavelengths)
    by_wave = next((METRE_EV / length for length in lengths if length), None)
    if stated and by_wave and abs(by_wave / stated - 1) > WAVE_TOLERANCE:
        said = f"the energy is {stated:g} eV but the wavelength {METRE_EV / by_wave:g} m corresponds to {by_wave:g} eV"
        doubts.append(wrong("units", f"{said}; the energy is used"))
    if not stated and by_wave:
        doubts.append(note("units", f"the energy, {by_wave:.6g} eV, was computed from the wavelength"))
    return stated or by_wave


def wavelength_m(dataset: Any, path: Path) -> float | None:
    """Return a wavelength in metres; without a unit, numbers too large for metres are angstroms, as in NeXus."""
    number = positive(dataset[()]) if isinstance(dataset, h5py.Dataset) else None
    if number is None:
        return None
    factor = stated_factor(dataset, LENGTH, path)
    if factor is None:
        factor = 1e-10 if number > LONGEST_M else 1.0
    return number * factor
