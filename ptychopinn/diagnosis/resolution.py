r"""Resolution of a picture: Fourier ring correlation of two pictures from two halves of the frames.

    FRC(q) = Re sum A B* / sqrt(sum |A|^2 sum |B|^2),   sums over a ring of spatial frequencies.

What two pictures of one scan may differ in without harm is taken out first: scale and phase, a phase ramp, a common
shift. Each is multiplied with a Hann window over the largest square that all frames cover. A ring of n frequencies has n / 2
independent ones, fewer under the window. The resolution is half a period, pixel / (2 q), where the curve, averaged over
three rings, first falls below the half-bit line (van Heel and Schatz, J. Struct. Biol. 151, 250, 2005) or below 1/7.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import GeometryError

SEVENTH = 1 / 7
"""The fixed threshold 1/7 (0.143)."""
LEAST_SIDE_PX = 16
"""Lowest side of the compared square, px: below it there are too few rings."""
COVERED = 0.3
"""A pixel is covered from this share of the median coverage."""
ROUNDS = 3
"""Rounds of the alignment; ramp and shift are each found again after the other is removed."""
FIRST_RING = 4
"""Smaller rings have too few frequencies for a line between signal and noise."""
HANN_SHARE = ((3 / 8) ** 2 / (35 / 128)) ** 2
"""What a Hann window over a square leaves of its independent frequencies: (mean w^2)^2 / mean w^4 along each axis."""

Field = NDArray[np.complexfloating[Any, Any]]
Complex = NDArray[np.complex128]


@dataclass(frozen=True, slots=True, eq=False)
class RingCorrelation:
    """FRC by frequency, cycles a pixel, and the half-bit line; ``side_px`` of the square that was compared."""

    frequency: NDArray[np.float64]
    correlation: NDArray[np.float64]
    half_bit: NDArray[np.float64]
    side_px: int

    def resolution_px(self, criterion: str) -> float:
        """Return half a period, pixels, where the curve falls below "half-bit" or "1/7"; 1 where it does not."""
        limit = self.half_bit if criterion == "half-bit" else np.full_like(self.half_bit, SEVENTH)
        above = np.convolve(np.pad(self.correlation, 1, "edge"), np.full(3, 1 / 3), "valid") - limit
        below = np.flatnonzero(above[FIRST_RING:] < 0)
        if not len(below):
            return 1.0
        ring = int(below[0]) + FIRST_RING
        before, after = float(above[ring - 1]), float(above[ring])
        share = before / (before - after) if before > 0 else 0.0
        return float(0.5 / (self.frequency[ring - 1] + share / self.side_px))


def ring_correlation(one: Field, other: Field, coverage: NDArray[np.floating[Any]]) -> RingCorrelation:
    """Return the Fourier ring correlation of two pictures ``(H, W)`` of one place.

    Parameters
    ----------
    coverage : (H, W)
        How well each pixel is seen, by the worse of the two.

    Raises
    ------
    GeometryError
        If shapes differ, or what is covered is too small to compare.
    """
    if one.shape != other.shape or one.shape != coverage.shape:
        raise GeometryError(f"pictures {one.shape} and {other.shape} and coverage {coverage.shape} must have one shape")
    top, left, side = largest_square(coverage > COVERED * np.median(coverage[coverage > 0]))
    if side < LEAST_SIDE_PX:
        raise GeometryError(
            f"all frames cover only a square of {side} px, too small for a resolution; give more frames"
        )
    window = slice(top, top + side), slice(left, left + side)
    first, second = one[window], aligned(other[window], one[window])
    taper = np.hanning(side + 2)[1:-1]
    weight = taper[:, None] * taper[None, :]
    spectra = [np.fft.fft2((field - (field * weight).sum() / weight.sum()) * weight) for field in (first, second)]
    return _rings(spectra[0], spectra[1], side)


def largest_square(is_covered: NDArray[np.bool_]) -> tuple[int, int, int]:
    """Return top, left and side of the largest square of covered pixels."""
    best, above = (0, 0, 0), np.zeros(is_covered.shape[1] + 1, dtype=np.int64)
    for row, line in enumerate(is_covered):
        here = np.zeros_like(above)
        for column in np.flatnonzero(line):
            here[column + 1] = 1 + min(above[column], above[column + 1], here[column])
        end = int(here.argmax())
        side = int(here[end])
        if side > best[2]:
            best = (row + 1 - side, end - side, side)
        above = here
    return best


def aligned(field: Field, reference: Field) -> Complex:
    """Return a picture ``(N, N)`` with scale, phase, ramp and shift of another's taken on."""
    out: Complex = np.asarray(field, dtype=np.complex128)
    for _ in range(ROUNDS):
        out = _unramped(out, reference)
        out = _shifted(out, _shift(out, reference))
    factor = np.vdot(out, reference) / max(float(np.vdot(out, out).real), 1e-30)
    return np.asarray(out * factor)


def _unramped(field: Complex, reference: Field) -> Complex:
    """Return a picture whose phase ramp against another is taken out."""
    ratio = reference * field.conj()
    size = field.shape[0]
    along = np.arange(size)
    ramps = [np.angle((ratio[1:] * ratio[:-1].conj()).sum()), np.angle((ratio[:, 1:] * ratio[:, :-1].conj()).sum())]
    return np.asarray(field * np.exp(1j * (ramps[0] * along[:, None] + ramps[1] * along[None, :])))


def _shift(field: Complex, reference: Field) -> tuple[float, float]:
    """Return how a picture is to be moved to lie on another, pixels, from the top of their cross-correlation."""
    size = field.shape[0]
    taper = np.hanning(size + 2)[1:-1]
    weight = taper[:, None] * taper[None, :]
    spectra = [np.fft.fft2((each - each.mean()) * weight) for each in (field, reference)]
    cross = np.abs(np.fft.ifft2(spectra[1] * spectra[0].conj()))
    top = np.unravel_index(int(cross.argmax()), cross.shape)
    found = []
    for axis in (0, 1):
        around = [cross[tuple((t + k * (a == axis)) % size for a, t in enumerate(top))] for k in (-1, 0, 1)]
        bend = around[0] - 2 * around[1] + around[2]
        fine = (around[0] - around[2]) / 2 / bend if bend < 0 else 0.0
        whole = int(top[axis])
        found.append((whole if whole <= size // 2 else whole - size) + float(fine))
    return found[0], found[1]


def _shifted(field: Complex, shift_px: tuple[float, float]) -> Complex:
    axis = np.fft.fftfreq(field.shape[0])
    turn = np.exp(-2j * np.pi * (axis[:, None] * shift_px[0] + axis[None, :] * shift_px[1]))
    return np.asarray(np.fft.ifft2(np.fft.fft2(field) * turn))


def _rings(first: Field, second: Field, side: int) -> RingCorrelation:
    axis = np.fft.fftfreq(side)
    ring = np.rint(np.hypot(axis[:, None], axis[None, :]) * side).astype(int).ravel()
    last = side // 2

    def total(values: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        return np.asarray(np.bincount(ring, values.ravel(), minlength=last + 1)[: last + 1], dtype=np.float64)

    power = np.sqrt(total(np.abs(first) ** 2) * total(np.abs(second) ** 2))
    correlation = total((first * second.conj()).real) / np.maximum(power, 1e-30)
    correlation[0] = 1.0  # the means are taken out
    root = np.sqrt(np.maximum(total(np.ones((side, side))) / 2 * HANN_SHARE, 1.0))
    half_bit = (0.2071 + 1.9102 / root) / (1.2071 + 0.9102 / root)
    return RingCorrelation(np.arange(last + 1) / side, correlation, half_bit, side)
