"""Pixels and frames without data in training files: as roots of photons and back, one rule for writer and readers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.detector.invalid_pixels import holds_mark

EXACT_FLOAT32 = 1 << 22
"""Whole numbers up to here come back from their float32 roots."""
ENOUGH_PHOTONS = 20.0
"""Photons of the other frames from which a frame without any is no chance: e^-20."""


def squares(amplitude: NDArray[Any]) -> NDArray[np.float64]:
    """Return squares of amplitudes; not a number where there are no data."""
    found: NDArray[np.float64] = np.square(amplitude, dtype=np.float64)
    found[~(np.isfinite(found) & (amplitude >= 0))] = np.nan
    return found


def roots(counts: NDArray[Any]) -> NDArray[np.floating[Any]]:
    """Return roots of photons, 0 where there are no data: float32 where their squares give back all photons, else float64."""
    has_data = ~holds_mark(counts)
    is_small = counts.dtype.kind in "ui" and counts.max(initial=0, where=has_data) <= EXACT_FLOAT32
    found = np.sqrt(np.where(has_data, counts, 0), dtype=np.float64)
    return found.astype(np.float32) if is_small else found


def photons(
    amplitude: NDArray[Any], scale: float, dtype: np.dtype[Any], no_data: NDArray[np.bool_] | None = None
) -> NDArray[Any]:
    """Return photons in the number type that they had before their roots were taken, marked where there are no data.

    Raises
    ------
    TypeError
        If it is no type of real numbers.
    """
    if dtype.kind not in "uif":
        raise TypeError(f"photons_dtype is {dtype}; write a type of real numbers")
    found = squares(amplitude) * scale**2
    bad = np.isnan(found) if no_data is None else np.isnan(found) | no_data
    found[bad] = 0
    counts = (np.rint(found) if dtype.kind in "ui" else found).astype(dtype)
    if bad.any():
        counts[bad] = mark(dtype)
    return counts


def mark(dtype: np.dtype[Any]) -> Any:
    """Return the count that stands for no data in a number type: the greatest, -1, or not a number."""
    if dtype.kind == "u":
        return np.iinfo(dtype).max
    return -1 if dtype.kind == "i" else np.nan


def marks(counts: NDArray[Any]) -> tuple[NDArray[np.bool_] | None, NDArray[np.bool_] | None]:
    """Return pixels ``(N, N)`` without data in every frame, and those ``(n, N, N)`` without in some; each None if none."""
    bad = holds_mark(counts)
    always = np.logical_and.reduce(bad, axis=0)
    has_more = bool((bad & ~always).any())
    return (always if always.any() else None), (bad if has_more else None)


def lit_frames(amplitude: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which frames of amplitudes ``(n, N, N)`` hold a photon; all where counts are so few that none may be chance."""
    held = np.square(np.maximum(amplitude, 0), dtype=np.float64).sum(axis=(1, 2))
    lit: NDArray[np.bool_] = held > 0
    is_certain = lit.any() and float(np.median(held[lit])) >= ENOUGH_PHOTONS
    return lit if is_certain else np.ones_like(lit)


def in_any_frame(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels ``(N, N)`` that are bad in any frame of a mask of any leading axes."""
    if mask.ndim <= 2:
        return mask
    found: NDArray[np.bool_] = np.logical_or.reduce(mask.reshape(-1, *mask.shape[-2:]), axis=0)
    return found
