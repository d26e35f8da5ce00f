"""Completes a scan that a reader returned: checks it, makes patterns square, leaves out unusable frames, derives the rest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daemon.files.doubts import doubt
from daemon.files.lost_frames import without_lost_frames
from daemon.files.no_data import with_one_form
from daemon.files.plausible import implausible
from daemon.files.scan import ScanFile
from daemon.files.square import squared
from ptychopinn.detector.geometry import metres_to_pixels, object_pixel_size_m, pixels_to_metres
from ptychopinn.errors import FileFormatError


def completed(scan: ScanFile, path: Path) -> ScanFile:
    """Return ``scan`` checked, with square patterns, without frames that lack a position or data, and with derived values.

    Raises
    ------
    FileFormatError
        If shapes or dtypes do not fit together.
    """
    _check_counts(path, scan.counts)
    frames = len(scan.counts)
    if scan.indexes.shape != (frames,) or len(np.unique(scan.indexes)) != frames:
        raise FileFormatError(
            f"{path}: the frame indexes are not {frames} different numbers; give each frame its own index"
        )
    if scan.mask is not None and scan.mask.shape != scan.counts.shape[1:]:
        raise FileFormatError(
            f"{path}: the mask is {scan.mask.shape} but frames are {scan.counts.shape[1:]}; write a mask of the same shape"
        )
    scan = _as_many(squared(scan), path)
    native = scan.counts.dtype.newbyteorder("=")
    scan = replace(scan, counts=scan.counts.astype(native, copy=False))
    scan = with_one_form(without_lost_frames(in_both_units(scan), path))
    return replace(scan, doubts=(*scan.doubts, *implausible(scan)))


def _check_counts(path: Path, counts: NDArray[Any]) -> None:
    if counts.ndim != 3 or counts.size == 0:
        raise FileFormatError(f"{path}: patterns have shape {counts.shape}; write them as (frames, rows, columns)")
    if counts.dtype.kind not in "uif":
        raise FileFormatError(f"{path}: patterns are {counts.dtype}; write photon counts, integer or float")


def in_both_units(scan: ScanFile) -> ScanFile:
    """Return ``scan`` with the object pixel, and with positions in metres and pixels, if they can be derived."""
    energy, distance, pixel = scan.photon_energy_eV, scan.detector_distance_m, scan.detector_pixel_size_m
    rows, columns = scan.counts.shape[1:]
    size = scan.object_pixel_size_m
    if size is None and energy and distance and pixel and rows == columns:
        size = object_pixel_size_m(energy, distance, pixel, rows)
    metres, pixels = scan.positions_m, scan.positions_px
    if size is not None and metres is not None and pixels is None:
        pixels = metres_to_pixels(metres, size)
    elif size is not None and pixels is not None and metres is None:
        metres = pixels_to_metres(pixels, size)
    return replace(scan, object_pixel_size_m=size, positions_m=metres, positions_px=pixels)


def _as_many(scan: ScanFile, path: Path) -> ScanFile:
    """Return ``scan`` with one position for each frame; further ones are left out with a doubt."""
    frames = len(scan.counts)
    metres, pixels = (_fitted(path, one, frames) for one in (scan.positions_m, scan.positions_px))
    stated = scan.positions_px if scan.positions_m is None else scan.positions_m
    scan = replace(scan, positions_m=metres, positions_px=pixels)
    if stated is None or len(stated) <= frames:
        return scan
    said = f"{len(stated) - frames} positions after the last frame were left out"
    return replace(scan, doubts=(*scan.doubts, doubt("positions", said)))


def _fitted(path: Path, positions: NDArray[np.float64] | None, frames: int) -> NDArray[np.float64] | None:
    """Return the positions of the frames, not a number where there is none."""
    if positions is None:
        return None
    if positions.ndim != 2 or positions.shape[1] != 2:
        raise FileFormatError(
            f"{path}: positions have shape {positions.shape} for {frames} frames; write one [y, x] a frame"
        )
    fitted = np.full((frames, 2), np.nan)
    fitted[: len(positions)] = positions[:frames]
    return fitted
