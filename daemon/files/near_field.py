"""Detects near-field scans, which CXI and NeXus do not mark.

A near-field pattern is a shadow: it moves over the detector with the sample, by a ratio that the geometry gives. A far-field
pattern of a curved beam contains such a shadow too, but then the beam at the sample, whose width follows from the ratio, fits
into a pattern's window. A wider beam cannot have made far-field patterns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from daemon.files.doubts import Doubt, doubt
from daemon.files.scan import ScanFile
from ptychopinn.detector.invalid_pixels import holds_mark

NEAR_FIELD = "only the far field is reconstructed here"
LOOKED_AT = 16
"""Places of the scan at which a frame is compared with later ones."""
STEPS = (1, 3)
"""The next frame and the third after it: for small and large steps of the scan."""
LARGEST_PX = 256
"""Larger patterns are binned to at most this side; that is enough to see a shadow move."""
LEAST_PAIRS = 8
"""Fewer pairs of frames are too few for a median."""
LEAST_SHIFT_PX = 3.0
"""Pairs whose shadow moves by less are not used: correlations have a random peak near 0."""
TOLERANCE_PX = 2.0
"""Error of a measured shift that still agrees with the ratio."""
LEAST_AGREEING = 0.6
"""Least share of pairs that agree with one ratio; a tenth of far-field pairs agree by chance."""
WIDEST = 1.5
"""Ratio of beam width to window above which a scan cannot be far-field; usually it is 0.5."""


def near_field(scan: ScanFile) -> Iterator[Doubt]:
    """Yield a doubt if a completed scan looks like a near-field scan."""
    positions, side = scan.positions_px, min(scan.counts.shape[1:])
    if positions is None or len(positions) <= LEAST_PAIRS:
        return
    ratio = shadow_ratio(scan.counts, scan.mask, positions)
    if ratio is None:
        return
    width_px = _light_px(scan.counts, scan.mask) / abs(ratio)
    if width_px > WIDEST * side:
        yield doubt(
            "near_field",
            f"the patterns move over the detector with the sample, as near-field shadows do, by {abs(ratio):.2g} px for each "
            f"px of the object, so the beam is {width_px:.0f} px wide at the sample but a pattern's window only {side} px: "
            f"it looks like a near-field scan, and {NEAR_FIELD}",
        )


def shadow_ratio(
    counts: NDArray[Any], mask: NDArray[np.bool_] | None, positions_px: NDArray[np.float64]
) -> float | None:
    """Return the pixels that patterns move for each pixel that the sample moves; ``None`` if they do not move with it."""
    pairs = _pairs(len(counts))
    needed = np.unique(pairs)
    images, bin_px = _binned(counts[needed], mask)
    spectra = fft.rfft2(images - images.mean(axis=0))
    first, second = np.searchsorted(needed, pairs.T)
    peaks = fft.irfft2(spectra[first] * spectra[second].conj(), s=images.shape[1:])
    shifts = _peak(peaks) * bin_px
    moves = positions_px[pairs[:, 0]] - positions_px[pairs[:, 1]]
    square = np.square(moves).sum(axis=1)
    moves, shifts, square = moves[square > 0], shifts[square > 0], square[square > 0]
    if len(moves) < LEAST_PAIRS:
        return None
    ratio = float(np.median((shifts * moves).sum(axis=1) / square))
    expected = ratio * moves
    tells = np.hypot(*expected.T) >= LEAST_SHIFT_PX * bin_px
    agrees = np.hypot(*(shifts - expected).T) <= TOLERANCE_PX * bin_px
    told = int(tells.sum())
    return ratio if told >= LEAST_PAIRS and int((tells & agrees).sum()) >= LEAST_AGREEING * told else None


def _pairs(frames: int) -> NDArray[np.int64]:
    """Return numbers ``(p, 2)`` of frames to compare."""
    begins = np.unique(np.linspace(0, frames - 1 - max(STEPS), LOOKED_AT).astype(int))
    return np.array([(begin, begin + step) for begin in begins for step in STEPS], dtype=np.int64)


def _binned(counts: NDArray[Any], mask: NDArray[np.bool_] | None) -> tuple[NDArray[np.float64], int]:
    """Return patterns without marks and masked pixels, binned to a bounded size, and the pixels of a bin."""
    images = np.where(holds_mark(counts), 0, counts).astype(np.float64)
    if mask is not None:
        images[:, mask] = 0.0
    bin_px = math.ceil(max(images.shape[1:]) / LARGEST_PX)
    if bin_px > 1:
        rows, columns = (length // bin_px for length in images.shape[1:])
        cut = images[:, : rows * bin_px, : columns * bin_px]
        images = cut.reshape(len(images), rows, bin_px, columns, bin_px).sum(axis=(2, 4))
    return images, bin_px


def _peak(correlations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the shift ``(p, 2)`` [y, x] at which each correlation is greatest."""
    shape = correlations.shape[1:]
    where = np.stack(np.unravel_index(correlations.reshape(len(correlations), -1).argmax(axis=1), shape), axis=1)
    size = np.array(shape)
    shifts: NDArray[np.float64] = (where + size // 2) % size - size // 2.0
    return shifts


def _light_px(counts: NDArray[Any], mask: NDArray[np.bool_] | None) -> float:
    """Return the diameter of the illuminated disc on the detector."""
    some = counts[np.linspace(0, len(counts) - 1, LOOKED_AT).astype(int)]
    images, bin_px = _binned(some, mask)
    mean = images.mean(axis=0)
    area = float(mean.sum()) ** 2 / max(float(np.square(mean).sum()), 1e-12)
    return 2 * math.sqrt(area / math.pi) * bin_px
