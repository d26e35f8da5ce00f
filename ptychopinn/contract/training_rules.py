"""How training files are to be understood where their keys alone do not say: the domain of the values, what scan_index counts.

One rule for every reader of them. PtychoPINN writes amplitudes under either key; with its newer profile it writes counts
under either key, and says so in ``measurement_domain``.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Domain = Literal["counts", "amplitudes"]
DOMAINS: dict[str, Domain] = {"count_intensity": "counts", "normalized_amplitude": "amplitudes"}
"""Values of ``measurement_domain``."""
SAMPLED_VALUES = 1 << 20
"""Number of values that are inspected, about 250 frames of 64 px, so that large files are read quickly."""
LARGEST_MULTIPLE = 400
"""Photons up to which squares of float32 roots are looked at: rounding stays far below a photon there."""
FEWEST_VALUES = 100
"""Lowest number of small values from which a decision is possible."""
NEAR_WHOLE = 0.02
"""Greatest distance from a whole number of photons, for squares of float32 roots."""
REPEATS = 8
"""Frames of one number from which numbers are those of scans, however many scans there are."""


def scans_in(scan_index: NDArray[Any], frames: int) -> NDArray[np.int64] | None:
    """Return which scan each frame is of, or ``None`` where the frames are of one scan.

    ``scan_index`` is either the number of the scan, few numbers each for many frames, or the number of the scan
    point, which is another one for every frame or nearly so.
    """
    index = np.asarray(scan_index).ravel()[:frames]
    different = len(np.unique(index))
    is_scans = different > 1 and len(index) >= different * min(different, REPEATS)
    return index.astype(np.int64) if is_scans else None


def domain_of(values: NDArray[Any], key: str, stated: str = "") -> tuple[Domain, str]:
    """Return whether patterns are counts or amplitudes, and a sentence where that is not as their key has it.

    Parameters
    ----------
    key
        ``diff3d``, which stands for counts, or ``diffraction``, for amplitudes, unless the values say otherwise.
    stated
        The file's ``measurement_domain``.

    Raises
    ------
    ValueError
        If ``stated`` is not known.
    """
    by_key: Domain = "counts" if key == "diff3d" else "amplitudes"
    if stated:
        if stated not in DOMAINS:
            raise ValueError(f"measurement_domain is {stated}; write one of {', '.join(DOMAINS)}")
        found = DOMAINS[stated]
        return found, "" if found == by_key else f"{key} holds {found}, as measurement_domain says"
    sample = _sample(values)
    if values.dtype.kind in "ui" or _are_whole(sample):
        return "counts", "" if by_key == "counts" else f"{key} holds whole numbers, which are taken as counts"
    if by_key == "counts" and quantum_of_roots(sample) is not None:
        return "amplitudes", f"{key} holds square roots of counts, as its values show; they are squared"
    return by_key, ""


def quantum_of_roots(values: NDArray[Any]) -> float | None:
    """Return the square of the value that stands for one photon, if all small squares are whole multiples of it."""
    sample = _sample(values).astype(np.float64)
    lit = np.square(sample[np.isfinite(sample) & (sample > 0)])
    if lit.size == 0:
        return None
    quantum = float(lit.min())
    few = lit[lit < LARGEST_MULTIPLE * quantum] / quantum
    is_whole = few.size >= FEWEST_VALUES and bool(np.abs(few - np.rint(few)).max() < NEAR_WHOLE)
    if not is_whole or np.ptp(np.rint(few)) <= 1:
        return None
    return None if _are_whole(np.sqrt(few)) else quantum


def _sample(values: NDArray[Any]) -> NDArray[Any]:
    """Return up to :data:`SAMPLED_VALUES` of the values, whole frames spread over the scan."""
    flat = values.reshape(len(values), -1) if values.ndim > 1 else values
    step = max(1, values.size // SAMPLED_VALUES)
    return flat[::step].ravel()


def _are_whole(values: NDArray[Any]) -> bool:
    finite = values[np.isfinite(values)]
    return finite.size > 0 and bool((np.abs(finite - np.rint(finite)) < 1e-6 * np.maximum(finite, 1)).all())
