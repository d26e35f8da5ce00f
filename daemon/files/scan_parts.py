"""Parts of a scan that several readers convert: the side of a pixel, mask, probe, positions by frame index."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daemon.files.shapes import Frames
from ptychopinn.errors import FileFormatError

SQUARE_RATIO = 1e-3
"""Relative difference up to which two pixel sides count as equal: files round them."""


def one_side(path: Path, what: str, width: float | None, height: float | None) -> float | None:
    """Return the side of a square pixel from its two sides, of which one may be missing."""
    if width is None or height is None:
        return width if height is None else height
    if abs(width - height) > SQUARE_RATIO * height:
        raise FileFormatError(f"{path}: {what} pixels are {width:g} x {height:g} m; resample to square ones")
    return width


def mask_with(frames: Frames, mask: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    """Return a file's mask together with the pixels that its patterns lack."""
    if frames.bad is None or mask is None or mask.shape != frames.bad.shape:
        return frames.bad if mask is None else mask
    both: NDArray[np.bool_] = mask | frames.bad
    return both


def probe_modes(path: Path, array: NDArray[Any]) -> NDArray[np.complex64]:
    """Return a probe as ``(modes, N, N)`` complex64.

    Two axes are one mode, also as ``(N, N, 1)``; of four, ``(coherent, incoherent, N, N)``, the first coherent set is
    taken; further leading axes must be of length 1.
    """
    if array.ndim == 3 and array.shape[-1] == 1 < array.shape[0] == array.shape[1]:
        array = array[..., 0]
    while array.ndim > 3 and (len(array) == 1 or array.ndim == 4):
        array = array[0]
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or array.shape[1] != array.shape[2] or array.size == 0:
        raise FileFormatError(f"{path}: the probe has shape {array.shape}; write it as (modes, N, N)")
    if not np.iscomplexobj(array):
        raise FileFormatError(f"{path}: the probe is {array.dtype}, not complex; write the complex wave field")
    if not np.isfinite(array).all() or not array.any():
        raise FileFormatError(f"{path}: the probe is zero or holds values that are not finite; write another one")
    return np.ascontiguousarray(array, dtype=np.complex64)


def paired(
    path: Path, frame_indexes: NDArray[np.int64], indexes: NDArray[np.int64], positions: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return positions ``(n, 2)`` of the frames by index: the mean of several for one index, NaN where there is none."""
    if positions.shape != (len(indexes), 2):
        raise FileFormatError(f"{path}: {len(indexes)} position indexes for positions of shape {positions.shape}")
    known, where = np.unique(indexes, return_inverse=True)
    sums = np.zeros((len(known), 2))
    np.add.at(sums, where, positions)
    means = sums / np.bincount(where, minlength=len(known))[:, None]
    found = np.full((len(frame_indexes), 2), np.nan)
    _, at_frame, at_known = np.intersect1d(frame_indexes, known, return_indices=True)
    found[at_frame] = means[at_known]
    return found
