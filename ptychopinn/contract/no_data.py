"""Pixels and frames without data in training files, with conversion of photons to their roots and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.detector.invalid_pixels import holds_mark

EXACT_FLOAT32 = 1 << 22
"""Whole numbers up to this one are recovered exactly from their float32 roots."""
ENOUGH_PHOTONS = 20.0
"""Median photons of the other frames from which a frame without photons is not a coincidence (probability e^-20)."""


def squares(amplitude: NDArray[Any]) -> NDArray[np.float64]:
    """Return the squares of amplitudes; NaN = no data."""
    found: NDArray[np.float64] = np.square(amplitude, dtype=np.float64)
    found[~(np.isfinite(found) & (amplitude >= 0))] = np.nan
    return found


def roots(counts: NDArray[Any]) -> NDArray[np.floating[Any]]:
    """Return the roots of photons, 0 = no data; float32 if their squares recover all photons exactly, else float64."""
    has_data = ~holds_mark(counts)
    is_small = counts.dtype.kind in "ui" and counts.max(initial=0, where=has_data) <= EXACT_FLOAT32
    found = np.sqrt(np.where(has_data, counts, 0), dtype=np.float64)
    return found.astype(np.float32) if is_small else found


def photons(
    amplitude: NDArray[Any], scale: float, dtype: np.dtype[Any], no_data: NDArray[np.bool_] | None = None
) -> NDArray[Any]:
    """Return photons in their original number type, with marks for no data.

    Raises
    ------
    TypeError
        If ``dtype`` is not a type of real numbers.
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
    """Return the mark for no data in a number type: the greatest value, -1, or NaN."""
    if dtype.kind == "u":
        return np.iinfo(dtype).max
    return -1 if dtype.kind == "i" else np.nan


def marks(counts: NDArray[Any]) -> tuple[NDArray[np.bool_] | None, NDArray[np.bool_] | None]:
    """Return the pixels ``(N, N)`` without data in every frame, and ``(n, N, N)`` without data in some; None: none."""
    bad = holds_mark(counts)
    always = np.logical_and.reduce(bad, axis=0)
    has_more = bool((bad & ~always).any())
    return (always if always.any() else None), (bad if has_more else None)


def lit_frames(amplitude: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which frames of amplitudes ``(n, N, N)`` have photons; all, if counts are so few that none is a coincidence."""
    held = np.array([float(np.square(np.maximum(frame, 0), dtype=np.float64).sum()) for frame in amplitude])
    lit: NDArray[np.bool_] = held > 0
    is_certain = lit.any() and float(np.median(held[lit])) >= ENOUGH_PHOTONS
    return lit if is_certain else np.ones_like(lit)


def in_any_frame(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels ``(N, N)`` that are bad in any frame of a mask of any leading axes."""
    if mask.ndim <= 2:
        return mask
    found: NDArray[np.bool_] = np.logical_or.reduce(mask.reshape(-1, *mask.shape[-2:]), axis=0)
    return found
