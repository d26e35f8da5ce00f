"""A scan as read from a file, and what every reader has in common.

Whatever the file, ``counts`` come with the zero frequency in the middle and positions as this program means them:
the place, ``(y, x)``, on which patch pixel N/2 lies. A reader fills in what its file states; :func:`completed` checks
it and derives the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daemon.files.doubts import Doubt, doubt
from daemon.files.lost_frames import without_lost_frames
from daemon.files.no_data import with_one_form
from daemon.files.plausible import implausible
from daemon.files.shapes import Frames
from daemon.files.square import squared
from ptychopinn.detector.geometry import metres_to_pixels, object_pixel_size_m, pixels_to_metres
from ptychopinn.errors import FileFormatError

NEAR_FIELD = "only the far field is reconstructed here"
SQUARE_RATIO = 1e-3
"""Relative difference up to which two pixel sides count as equal."""


@dataclass(frozen=True, slots=True, eq=False)
class ScanFile:
    """What a file says about one scan.

    ``counts`` ``(n, H, W)`` in the file's integer or float dtype, photons, with the mark of :mod:`daemon.files.no_data`
    where one frame has no data; ``indexes`` ``(n,)`` frame indexes;
    ``positions_m`` and ``positions_px`` ``(n, 2)`` [y, x], both where the object pixel is known, one or neither where
    it is not; ``object_pixel_size_m`` as stated, or derived from optics and square frames; ``probe``
    ``(modes, N, N)``; ``mask`` ``(H, W)``, True = bad; ``object`` a truth or guess ``(H, W)`` whose pixel (0, 0) lies at
    ``object_origin_px`` [y, x]. ``notes`` say in words what had to be assumed; ``doubts`` what a person should look at,
    or what makes the file not good, by its severity. ``absent`` ``(n,)``, True = the file should hold that frame and
    does not, is between a reader and :func:`completed` alone.
    """

    name: str
    counts: NDArray[Any]
    indexes: NDArray[np.int64]
    positions_m: NDArray[np.float64] | None = None
    positions_px: NDArray[np.float64] | None = None
    photon_energy_eV: float | None = None  # noqa: N815
    detector_distance_m: float | None = None
    detector_pixel_size_m: float | None = None
    object_pixel_size_m: float | None = None
    probe: NDArray[np.complex64] | None = None
    mask: NDArray[np.bool_] | None = None
    object: NDArray[np.complex64] | None = None
    object_origin_px: tuple[float, float] = (0.0, 0.0)
    notes: tuple[str, ...] = ()
    doubts: tuple[Doubt, ...] = ()
    absent: NDArray[np.bool_] | None = None

    @property
    def remarks(self) -> tuple[str, ...]:
        """Every sentence about the file: doubts first, then notes."""
        return (*(one.text for one in self.doubts), *self.notes)


def completed(scan: ScanFile, path: Path) -> ScanFile:
    """Return ``scan`` checked, with square patterns, without frames that lack a position or data, and with what can be derived.

    Raises
    ------
    FileFormatError
        If shapes or dtypes do not fit together.
    """
    _check_counts(path, scan.counts)
    frames = len(scan.counts)
    if scan.indexes.shape != (frames,) or len(np.unique(scan.indexes)) != frames:
        raise FileFormatError(f"{path}: the frame indexes are not {frames} different numbers; number each frame once")
    if scan.mask is not None and scan.mask.shape != scan.counts.shape[1:]:
        raise FileFormatError(
            f"{path}: the mask is {scan.mask.shape} but frames are {scan.counts.shape[1:]}; write one mask of a frame's shape"
        )
    scan = _as_many(squared(scan), path)
    native = scan.counts.dtype.newbyteorder("=")
    scan = replace(scan, counts=scan.counts.astype(native, copy=False))
    scan = with_one_form(without_lost_frames(in_both_units(scan), path))
    return replace(scan, doubts=(*scan.doubts, *implausible(scan)))


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


def _check_counts(path: Path, counts: NDArray[Any]) -> None:
    if counts.ndim != 3 or counts.size == 0:
        raise FileFormatError(f"{path}: patterns have shape {counts.shape}; write them as (frames, rows, columns)")
    if counts.dtype.kind not in "uif":
        raise FileFormatError(f"{path}: patterns are {counts.dtype}; write photon counts, integer or float")


def in_both_units(scan: ScanFile) -> ScanFile:
    """Return ``scan`` with the object pixel and with positions in metres and pixels, as far as they can be derived."""
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
    """Return ``scan`` with as many positions as frames: what there is more of is left out, and that is said."""
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
