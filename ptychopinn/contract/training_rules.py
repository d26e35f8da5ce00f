"""Interpretation of training files where the keys are ambiguous: counts or amplitudes, and the meaning of scan_index.

All readers use these rules. PtychoPINN writes amplitudes under either key; its newer profile writes counts under either key
and states so in ``measurement_domain``.
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
"""Photons up to which squares of float32 roots are tested: rounding is far below a photon there."""
FEWEST_VALUES = 100
"""Lowest number of small values from which a decision is possible."""
NEAR_WHOLE = 0.02
"""Greatest distance from a whole number of photons, for squares of float32 roots."""
ROUNDING = 1e-6
"""Relative rounding error of whole numbers stored as float32."""
REPEATS = 8
"""Mean number of frames per number from which the numbers are those of scans."""


def scans_in(scan_index: NDArray[Any], frames: int) -> NDArray[np.int64] | None:
    """Return the scan of each frame, or None if all frames are of one scan.

    ``scan_index`` is either the number of the scan (few numbers, each for many frames) or the number of the scan point
    (nearly every frame has its own).
    """
    index = np.asarray(scan_index).ravel()[:frames]
    different = len(np.unique(index))
    is_scans = different > 1 and len(index) >= different * min(different, REPEATS)
    return index.astype(np.int64) if is_scans else None


def domain_of(values: NDArray[Any], key: str, stated: str = "") -> tuple[Domain, str]:
    """Return whether patterns are counts or amplitudes, and a sentence if that contradicts their key.

    Parameters
    ----------
    key
        ``diff3d`` (counts) or ``diffraction`` (amplitudes), unless the values show otherwise.
    stated
        The file's ``measurement_domain``.

    Raises
    ------
    ValueError
        If ``stated`` is unknown.
    """
    by_key: Domain = "counts" if key == "diff3d" else "amplitudes"
    if stated:
        if stated not in DOMAINS:
            raise ValueError(f"measurement_domain is {stated}; write one of {', '.join(DOMAINS)}")
        found = DOMAINS[stated]
        return found, "" if found == by_key else f"{key} contains {found}, as measurement_domain says"
    sample = _sample(values)
    if values.dtype.kind in "ui" or _are_whole(sample):
        return "counts", "" if by_key == "counts" else f"{key} contains whole numbers, which are read as counts"
    if by_key == "counts" and quantum_of_roots(sample) is not None:
        return "amplitudes", f"{key} contains square roots of counts, as its values show; they are squared"
    return by_key, ""


def quantum_of_roots(values: NDArray[Any]) -> float | None:
    """Return the square of the value for one photon, if all small squares are whole multiples of it; else None."""
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
    return finite.size > 0 and bool((np.abs(finite - np.rint(finite)) < ROUNDING * np.maximum(finite, 1)).all())
