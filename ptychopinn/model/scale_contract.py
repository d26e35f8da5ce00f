"""PtychoPINN's contract of absolute scale: the units in which a network was trained, and the scale of its object.

A network of the count regime (``physics_forward_mode`` ``rectangular_scaled``) sees counts times the factor of its training
scan, and belongs to the pair ``ci_intensity_v2``, ``count_intensity``; a missing one of the two means that. In the
amplitude regime PtychoPINN does not read the pair. Here both kinds take photons, and every object is in their units.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

COUNT_REGIME = "rectangular_scaled"
COUNTS = ("ci_intensity_v2", "count_intensity")
"""The pair of the count regime, and the defaults of its two fields."""
FIELDS = ("scale_contract_version", "measurement_domain")


def contract_fault(model: Mapping[str, Any], data: Mapping[str, Any], *, has_statistics: bool) -> str:
    """Return a sentence if a checkpoint is of units that this program does not have; else an empty text.

    Parameters
    ----------
    model, data
        Its ModelConfig and DataConfig.
    has_statistics
        Whether it holds the scale of its training scan (``ci_statistics``).
    """
    if model.get("physics_forward_mode") != COUNT_REGIME:
        return ""
    pair = tuple(data.get(name) or default for name, default in zip(FIELDS, COUNTS, strict=True))
    if pair != COUNTS:
        return (
            f"was trained with {FIELDS[0]} {pair[0]} and {FIELDS[1]} {pair[1]} in the mode {COUNT_REGIME}; only "
            f"{COUNTS[0]} with {COUNTS[1]} is supported there; train it again with these"
        )
    if not has_statistics:
        return "has no ci_statistics, the scale of its training frames; save it with PtychoPINN's newest version"
    return ""


def object_scale(is_free: bool, configs: Mapping[str, Any]) -> str:
    """Return a sentence on the scale of a model's object; ``is_free``: that of its training is arbitrary."""
    if not is_free:
        return "absolute: an empty object is 1 for a probe in photons"
    regime = configs.get("model", {}).get("physics_forward_mode")
    known = "counts" if regime == COUNT_REGIME else "amplitudes"
    return f"trained on {known}; each patch is brought to the photons of its frame: an empty object is 1"
