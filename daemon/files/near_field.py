"""Whether a scan looks as if it had been taken in the near field, which CXI and NeXus do not say.

In the near field a pattern is a shadow: it moves over the detector as the sample moves, by a ratio that the geometry gives.
A far field of a curved beam holds such a shadow too; then it tells how wide the light is at the sample, and that fits into a
pattern's window. Where it is wider, no far field can have made the patterns.
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
"""Places of the scan at which frames are compared with the one after, and the third after."""
STEPS = (1, 3)
LARGEST_PX = 256
"""Larger patterns are binned to at most so many pixels: enough to see a shadow move."""
LEAST_PAIRS = 8
LEAST_SHIFT_PX = 3.0
"""Pairs whose shadow should move by less tell nothing: correlations peak by chance near 0."""
TOLERANCE_PX = 2.0
LEAST_AGREEING = 0.6
"""Share of the pairs whose patterns move as one ratio says; patterns of the far field agree by chance in a tenth."""
WIDEST = 1.5
"""Width of the light at the sample over the window, from which no far field is possible; it should be 0.5."""


def near_field(scan: ScanFile) -> Iterator[Doubt]:
    """Say whether a completed scan looks like one of the near field."""
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
            f"the patterns move over the detector with the sample, as shadows do, by {abs(ratio):.2g} px for each px of the "
            f"object, so the light is {width_px:.0f} px wide there and a pattern's window holds {side}: it looks like a "
            f"near-field scan, and {NEAR_FIELD}",
        )


def shadow_ratio(
    counts: NDArray[Any], mask: NDArray[np.bool_] | None, positions_px: NDArray[np.float64]
) -> float | None:
    """Return by how many pixels patterns move for each pixel that the sample moves; ``None`` if they do not move so."""
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
    """Return the diameter of the disc that the light covers on the detector."""
    some = counts[np.linspace(0, len(counts) - 1, LOOKED_AT).astype(int)]
    images, bin_px = _binned(some, mask)
    mean = images.mean(axis=0)
    area = float(mean.sum()) ** 2 / max(float(np.square(mean).sum()), 1e-12)
    return 2 * math.sqrt(area / math.pi) * bin_px
