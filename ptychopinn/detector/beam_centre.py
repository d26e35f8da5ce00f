"""Beam centre on the detector, found in the sum of the first frames of a scan.

The sum is correlated, at every place, with the pattern of the probe without a sample. The correlation uses valid pixels
only, so a beam stop, a module gap or the edge of the frame does not shift the result. Spikes (hot pixels far above
their surroundings) are removed first, unless the pattern of the probe is a spike itself. If the pattern of the probe is
not found, the middle of the brightest compact spot is returned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

COARSE_SIDE = 32
"""Side of the pattern in the first, coarse search, blocks: few, so that all places can be tried quickly."""
LEAST_MATCH = 0.5
"""Lowest correlation that counts as found: half of a perfect match."""
LEAST_OVERLAP = 0.4
"""Lowest share of the pattern that must lie on valid pixels; allows for a beam stop and a gap."""
LEAST_COUNTS = 500.0
"""Lowest number of counts in the sum; fewer are mostly shot noise."""
LIGHT_SHARE = 0.1
"""Lowest share of the greatest variance that a place must have to be considered: dark places correlate by chance."""
SPOT_SHARE = 0.02
"""Share of the maximum above which pixels belong to a bright spot."""
SPIKE_FACTOR, SPIKE_COUNTS = 4.0, 16.0
"""A spike is above 4 times its surroundings and 16 counts (four standard deviations of so few counts)."""
SPIKE_FLOOR, CALM_SHARE = 1e4, 0.8
"""A probe whose pattern, scaled to a maximum of 1e4 counts, loses over 20 % of its counts as spikes is a spike itself."""
TINY_PIXELS, TINY_VARIANCE = 1e-9, 1e-30
"""Lowest divisors where no pixel overlaps; avoid 0 / 0."""

Image = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Centre:
    """The beam at ``(row, column)``, how it was found, and the correlation with the pattern of the probe, -1 to 1."""

    center_px: tuple[int, int]
    method: Literal["probe", "spot"]
    match: float


class CentreFinder:
    """Sums frames and finds the beam in the sum.

    Parameters
    ----------
    shape
        ``(rows, columns)`` of the frames.
    pattern
        ``(N, N)``, the counts of the probe without a sample, at any scale; the beam is at ``N // 2``.
    binning
        Number of detector pixels along one pixel of the pattern.
    """

    def __init__(self, shape: tuple[int, int], pattern: NDArray[Any], binning: int = 1) -> None:
        self._sum = np.zeros(shape, dtype=np.float32)
        self._bad = np.zeros(shape, dtype=bool)
        expected = np.kron(pattern, np.ones((binning, binning))).astype(np.float32)
        calm = without_spikes(expected * np.float32(SPIKE_FLOOR / expected.max()), np.ones(expected.shape, dtype=bool))
        self._is_spiky = float(calm.sum()) < CALM_SHARE * float(expected.sum()) * SPIKE_FLOOR / float(expected.max())
        self._template = np.sqrt(expected)
        self._factor = max(1, expected.shape[-1] // COARSE_SIDE)
        self._offset = (binning - 1) // 2
        self.frames = 0

    def add(self, counts: NDArray[Any], bad: NDArray[np.bool_]) -> None:
        """Add a frame: ``counts``, and its pixels without data (True), both ``(rows, columns)``."""
        self._sum += np.where(bad, 0, counts)
        self._bad |= bad
        self.frames += 1

    def find(self) -> Centre | None:
        """Return the centre; None if there are too few counts, or neither the pattern of the probe nor a compact spot."""
        valid = ~self._bad
        image = np.where(valid, self._sum, 0) if self._is_spiky else without_spikes(self._sum, valid)
        coarse, coarse_valid = _blocks(image, valid, self._factor)
        if float(image[valid].sum()) < LEAST_COUNTS:
            return None
        template, _ = _blocks(self._template, np.ones_like(self._template, dtype=bool), self._factor)
        match, (row, column) = best_match(np.sqrt(coarse), coarse_valid, template)
        if match >= LEAST_MATCH:
            near = row * self._factor, column * self._factor
            return self._refine(image, valid, near)
        spot = _brightest_spot(coarse, coarse_valid, self._template.shape[-1] / self._factor)
        if spot is None:
            return None
        return Centre((round(spot[0] * self._factor), round(spot[1] * self._factor)), "spot", match)

    def _refine(self, image: Image, valid: NDArray[np.bool_], near: tuple[int, int]) -> Centre:
        """Search again at full resolution, near a coarse place."""
        side, margin = self._template.shape[-1], 2 * self._factor
        top, left = (place - side // 2 - margin for place in near)
        window = cut(image, top, left, side + 2 * margin)
        inside = cut(valid, top, left, side + 2 * margin)
        match, (row, column) = best_match(np.sqrt(window), inside, self._template)
        return Centre((row + top + self._offset, column + left + self._offset), "probe", match)


def without_spikes(counts: Image, valid: NDArray[np.bool_]) -> Image:
    """Return ``counts`` ``(rows, columns)``, 0 where invalid, without spikes of up to 2 x 2 pixels and bright lines.

    A pixel is compared with the second lowest of the pixels two steps above, below, left and right of it.
    """
    image = np.where(valid, counts, 0)
    padded = np.pad(image, 2)
    up, down, left, right = padded[:-4, 2:-2], padded[4:, 2:-2], padded[2:-2, :-4], padded[2:-2, 4:]
    one = np.minimum(np.maximum(up, down), np.maximum(left, right))
    other = np.maximum(np.minimum(up, down), np.minimum(left, right))
    second_lowest = np.minimum(one, other)
    return np.where(image > SPIKE_FACTOR * second_lowest + SPIKE_COUNTS, second_lowest, image)


def cut(image: NDArray[Any], top: int, left: int, side: int) -> NDArray[Any]:
    """Return a ``(side, side)`` piece, zero where it leaves the image."""
    out = np.zeros((side, side), dtype=image.dtype)
    rows, columns = image.shape
    y0, y1, x0, x1 = max(0, top), min(rows, top + side), max(0, left), min(columns, left + side)
    if y1 > y0 and x1 > x0:
        out[y0 - top : y1 - top, x0 - left : x1 - left] = image[y0:y1, x0:x1]
    return out


def best_match(image: Image, valid: NDArray[np.bool_], template: Image) -> tuple[float, tuple[int, int]]:
    """Return the greatest correlation (-1 to 1) of a square template with an image, and the (row, column) of its middle.

    Only valid pixels are used. At least ``LEAST_OVERLAP`` of the template must lie on valid pixels, some of them lit.
    """
    side = template.shape[-1]
    shape = [fft.next_fast_len(n + side, real=True) for n in image.shape]
    weight = valid.astype(np.float64)
    light = np.where(valid, image, 0.0).astype(np.float64)
    pattern = template.astype(np.float64)
    spectra = [fft.rfft2(a, shape) for a in (weight, light, light**2)]
    kernels = [np.conj(fft.rfft2(a, shape)) for a in (np.ones_like(pattern), pattern, pattern**2)]

    def correlate(i: int, k: int) -> NDArray[np.float64]:
        full: NDArray[np.float64] = fft.irfft2(spectra[i] * kernels[k], shape)
        # element s of the first axis belongs to a shift of s; shifts beyond the end of the image are negative ones
        return np.roll(full, (side // 2, side // 2), (0, 1))[: image.shape[0], : image.shape[1]]

    pixels = np.maximum(correlate(0, 0), TINY_PIXELS)
    lit, expected = correlate(1, 0), correlate(0, 1)
    spread = np.maximum(correlate(2, 0) - lit**2 / pixels, 0.0)
    expected_spread = np.maximum(correlate(0, 2) - expected**2 / pixels, 0.0)
    shared = correlate(1, 1) - lit * expected / pixels
    allowed = (pixels >= LEAST_OVERLAP * side**2) & (spread > LIGHT_SHARE * spread.max()) & (expected_spread > 0)
    score = np.where(allowed, shared / np.sqrt(np.maximum(spread * expected_spread, TINY_VARIANCE)), -1.0)
    row, column = np.unravel_index(int(score.argmax()), score.shape)
    return float(score[row, column]), (int(row), int(column))


def _blocks(image: Image, valid: NDArray[np.bool_], factor: int) -> tuple[Image, NDArray[np.bool_]]:
    """Return the mean of the valid pixels of each whole block, and which blocks are at least half valid."""
    rows, columns = (n // factor * factor for n in image.shape)

    def total(a: NDArray[Any]) -> NDArray[np.float64]:
        parts = a[:rows, :columns].reshape(rows // factor, factor, columns // factor, factor)
        return np.asarray(parts.sum((1, 3), dtype=np.float64))

    number = total(valid)
    mean = total(np.where(valid, image, 0)) / np.maximum(number, 1)
    return mean.astype(np.float32), number >= factor**2 / 2


def _brightest_spot(image: Image, valid: NDArray[np.bool_], side: float) -> tuple[float, float] | None:
    """Return the middle of the connected region with the most counts; None if it is wider than twice ``side``."""
    smooth = ndimage.uniform_filter(np.where(valid, image, 0), 3)
    regions, count = ndimage.label(smooth > SPOT_SHARE * smooth.max())
    if count == 0:
        return None
    brightest = 1 + int(np.argmax(ndimage.sum_labels(smooth, regions, range(1, count + 1))))
    rows, columns = ndimage.find_objects(regions)[brightest - 1]
    if max(rows.stop - rows.start, columns.stop - columns.start) > 2 * side:
        return None
    return (rows.start + rows.stop) / 2, (columns.start + columns.stop) / 2
