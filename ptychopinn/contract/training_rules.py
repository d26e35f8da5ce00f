"""Interpretation of training files where the keys are ambiguous: counts or amplitudes, and the meaning of scan_index.

All readers use these rules. PtychoPINN writes amplitudes under either key; its newer profile writes counts under either key
and states so in ``measurement_domain``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.contract.domain_evidence import Domain, domain_by_evidence

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


@dataclass(frozen=True, slots=True)
class DomainFinding:
    """Whether patterns are counts or amplitudes.

    ``said`` is a sentence if values or statement contradict the key; ``is_doubtful``: a person should confirm it.
    """

    domain: Domain
    said: str = ""
    is_doubtful: bool = False


class UnknownDomainError(ValueError):
    """Neither the file nor the values of its patterns show whether they are counts or amplitudes."""


def pattern_key(keys: Collection[str]) -> str:
    """Return the key of a training file's patterns: of both, ``diffraction`` if it states its scale."""
    has_scale = "photon_scale" in keys and "diffraction" in keys
    return "diff3d" if "diff3d" in keys and not has_scale else "diffraction"


def object_in(archive: Mapping[str, Any]) -> NDArray[Any] | None:
    """Return the two-dimensional ``objectGuess`` of a training file; None if it is missing, all ones, or a pickled ``None``.

    PtychoPINN's ``RawData.to_file`` pickles ``None`` if there is no object.
    """
    try:
        picture = np.asarray(archive["objectGuess"]) if "objectGuess" in archive else np.ones((1, 1))
    except ValueError as fault:
        if "allow_pickle" not in str(fault):
            raise
        return None
    picture = picture[0] if picture.ndim == 3 and len(picture) == 1 else picture
    return None if picture.ndim != 2 or bool((picture == 1).all()) else picture


def domain_of(values: NDArray[Any], key: str, stated: str = "", probe: NDArray[Any] | None = None) -> DomainFinding:
    """Return whether patterns are counts or amplitudes.

    Parameters
    ----------
    key
        ``diff3d`` (counts, or amplitudes in PtychoPINN) or ``diffraction`` (amplitudes).
    stated
        The file's ``measurement_domain``.
    probe : (modes, N, N) complex, optional
        Compared with patterns whose values alone do not decide.

    Raises
    ------
    ValueError
        If ``stated`` is unknown; :class:`UnknownDomainError` if a person must state it.
    """
    by_key: Domain = "counts" if key == "diff3d" else "amplitudes"
    if stated:
        if stated not in DOMAINS:
            raise ValueError(f"measurement_domain is {stated}; write one of {', '.join(DOMAINS)}")
        found = DOMAINS[stated]
        return DomainFinding(found, "" if found == by_key else f"{key} contains {found}, as measurement_domain says")
    sample = _sample(values)
    if values.dtype.kind in "ui" or _are_whole(sample):
        said = "" if by_key == "counts" else f"{key} contains whole numbers, which are read as counts"
        return DomainFinding("counts", said)
    if by_key == "amplitudes":
        return DomainFinding("amplitudes")
    if quantum_of_roots(sample) is not None:
        return DomainFinding(
            "amplitudes", f"{key} contains square roots of counts, as its values show; they are squared"
        )
    if _are_multiples(sample):
        return DomainFinding("counts", f"{key} contains whole multiples of one value, which are read as counts")
    return _by_evidence(values, key, probe)


def _by_evidence(values: NDArray[Any], key: str, probe: NDArray[Any] | None) -> DomainFinding:
    step = max(1, values.size // SAMPLED_VALUES)
    found = domain_by_evidence(values[::step], probe)
    if found is None:
        raise UnknownDomainError(
            f"{key} has fractions and may hold photons or amplitudes; state measurement_domain in the file, "
            "count_intensity or normalized_amplitude (convert --measurement-domain writes it)"
        )
    domain, reason = found
    return DomainFinding(
        domain, f"{key} has fractions and is read as {domain}: {reason}; state measurement_domain to be sure", True
    )


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
    return values[:: max(1, values.size // SAMPLED_VALUES)].ravel()


def _are_multiples(values: NDArray[Any]) -> bool:
    """Whether all small values are whole multiples of the smallest: counts times a gain."""
    lit = values[np.isfinite(values) & (values > 0)].astype(np.float64)
    quantum = float(lit.min()) if lit.size else 1.0
    few = lit[lit < LARGEST_MULTIPLE * quantum] / quantum
    return few.size >= FEWEST_VALUES and bool(np.abs(few - np.rint(few)).max() < NEAR_WHOLE) and np.ptp(few) > 1


def _are_whole(values: NDArray[Any]) -> bool:
    finite = values[np.isfinite(values)]
    return finite.size > 0 and bool((np.abs(finite - np.rint(finite)) < ROUNDING * np.maximum(finite, 1)).all())
