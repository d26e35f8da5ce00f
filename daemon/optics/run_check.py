"""Compares the photon energy of a control system's run with the one that the daemon uses."""

from __future__ import annotations

import math
from collections.abc import Mapping

from daemon.config import Metadata

TOLERANCE = 0.01
"""Relative difference that is reported; control systems round less."""
UNITS_EV = {"eV": 1.0, "keV": 1e3}


def run_notes(about: Mapping[str, object] | None, options: Metadata, photon_energy_eV: float | None) -> list[str]:  # noqa: N803
    """Return conflicts, one sentence each: the run's energy differs by more than 1 %, or its key is missing."""
    key = options.energy_key
    if about is None or key is None or photon_energy_eV is None:
        return []
    value = about.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        there = ", ".join(list(about)[:12])
        return [f"the run's start has no number {key}; change [metadata] energy_key to one of {there}"]
    energy_eV = value * UNITS_EV[options.energy_unit]
    if abs(energy_eV - photon_energy_eV) <= TOLERANCE * photon_energy_eV:
        return []
    return [
        f"the run's {key} is {energy_eV:.1f} eV but {photon_energy_eV:.1f} eV is used; correct [optics] photon_energy_eV, "
        "or [metadata] energy_unit"
    ]
