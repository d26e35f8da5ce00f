r"""Resolution of a picture: Fourier ring correlation of two pictures from two halves of the frames.

    FRC(q) = Re sum A B* / sqrt(sum |A|^2 sum |B|^2),   sums over a ring of spatial frequencies.

Differences without meaning are removed first: scale and phase, a phase ramp, a common shift. Each picture is multiplied by a
Hann window over the largest square that all frames cover. A ring of n frequencies has n / 2 independent ones, fewer with
the window. The resolution is half a period, pixel / (2 q), at which the curve, averaged over three rings, first falls below
the half-bit line (van Heel and Schatz, J. Struct. Biol. 151, 250, 2005) or below 1/7.
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
TINY_POWER = 1e-30
"""Lowest power that is divided by; avoids 0 / 0 for empty pictures."""
ROUNDS = 3
"""Rounds of the alignment; ramp and shift are each found again after the other is removed."""
FIRST_RING = 4
"""Number of the first ring that is used; smaller rings have too few frequencies."""
HANN_SHARE = ((3 / 8) ** 2 / (35 / 128)) ** 2
"""Share of independent frequencies that a Hann window leaves: (mean w^2)^2 / mean w^4 along each axis."""

Field = NDArray[np.complexfloating[Any, Any]]
Complex = NDArray[np.complex128]


@dataclass(frozen=True, slots=True, eq=False)
class RingCorrelation:
    """FRC by frequency (cycles per pixel), and the half-bit line; ``side_px`` is the side of the compared square."""

    frequency: NDArray[np.float64]
    correlation: NDArray[np.float64]
    half_bit: NDArray[np.float64]
    side_px: int

    def resolution_px(self, criterion: str) -> float:
        """Return half a period, pixels, at which the curve falls below "half-bit" or "1/7"; 1 if it does not."""
        limit = self.half_bit if criterion == "half-bit" else np.full_like(self.half_bit, SEVENTH)
        above = np.convolve(np.pad(self.correlation, 1, "edge"), np.full(3, 1 / 3), "valid") - limit
        below = np.flatnonzero(above[FIRST_RING:] < 0)
        if not len(below):
            return 1.0
        ring = int(below[0]) + FIRST_RING
        before, after = float(above[ring - 1]), float(above[ring])
        share = before / (before - after) if before > 0 else 0.0
        return float(0.5 / (self.frequency[ring - 1] + share / self.side_px))

    def known_resolution_px(self, criterion: str = "half-bit") -> float | None:
        """Return the resolution; None where even the lowest rings do not agree, so that it has no meaning."""
        found = self.resolution_px(criterion)
        return found if found < 0.5 * self.side_px / FIRST_RING else None


def ring_correlation(
    one: Field, other: Field, coverage: NDArray[np.floating[Any]], most_side_px: int | None = None
) -> RingCorrelation:
    """Return the Fourier ring correlation of two pictures ``(H, W)`` of the same region.

    Parameters
    ----------
    coverage : (H, W)
        Coverage of each pixel, the lower of the two.
    most_side_px
        Of a larger square only the middle is compared.

    Raises
    ------
    GeometryError
        If shapes differ, or the covered square is too small.
    """
    if one.shape != other.shape or one.shape != coverage.shape:
        raise GeometryError(f"pictures {one.shape} and {other.shape} and coverage {coverage.shape} must have one shape")
    covered = coverage[coverage > 0]
    top, left, side = largest_square(coverage > COVERED * (np.median(covered) if covered.size else 0.0))
    if side < LEAST_SIDE_PX:
        raise GeometryError(
            f"all frames cover only a square of {side} px, too small for a resolution; give more frames"
        )
    rim = max(0, side - (most_side_px or side)) // 2
    side = min(side, most_side_px or side)
    window = slice(top + rim, top + rim + side), slice(left + rim, left + rim + side)
    first, second = one[window], aligned(other[window], one[window])
    taper = np.hanning(side + 2)[1:-1]
    weight = taper[:, None] * taper[None, :]
    spectra = [np.fft.fft2((field - (field * weight).sum() / weight.sum()) * weight) for field in (first, second)]
    return _rings(spectra[0], spectra[1], side)


def largest_square(is_covered: NDArray[np.bool_]) -> tuple[int, int, int]:
    """Return top, left and side of the largest square of covered pixels."""
    sums = np.pad(is_covered.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    best, low, high = (0, 0, 0), 1, min(is_covered.shape)
    while low <= high:  # where a square fits, every smaller one does
        side = (low + high) // 2
        whole = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side] == side * side
        if whole.any():
            top, left = np.unravel_index(int(whole.argmax()), whole.shape)
            best, low = (int(top), int(left), side), side + 1
        else:
            high = side - 1
    return best


def aligned(field: Field, reference: Field) -> Complex:
    """Return a picture ``(N, N)`` with scale, phase, phase ramp and shift aligned to another."""
    out: Complex = np.asarray(field, dtype=np.complex128)
    for _ in range(ROUNDS):
        out = unramped(out, reference)
        out = _shifted(out, shift_between(out, reference))
    factor = np.vdot(out, reference) / max(float(np.vdot(out, out).real), TINY_POWER)
    return np.asarray(out * factor)


def unramped(field: Complex, reference: Field) -> Complex:
    """Return a picture without its phase ramp relative to another."""
    ratio = reference * field.conj()
    size = field.shape[0]
    along = np.arange(size)
    ramps = [np.angle((ratio[1:] * ratio[:-1].conj()).sum()), np.angle((ratio[:, 1:] * ratio[:, :-1].conj()).sum())]
    return np.asarray(field * np.exp(1j * (ramps[0] * along[:, None] + ramps[1] * along[None, :])))


def shift_between(field: Complex, reference: Field) -> tuple[float, float]:
    """Return the shift, pixels, that aligns a picture with another, from the maximum of their cross-correlation."""
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
    correlation = total((first * second.conj()).real) / np.maximum(power, TINY_POWER)
    correlation[0] = 1.0  # the means were removed
    root = np.sqrt(np.maximum(total(np.ones((side, side))) / 2 * HANN_SHARE, 1.0))
    half_bit = (0.2071 + 1.9102 / root) / (1.2071 + 0.9102 / root)
    return RingCorrelation(np.arange(last + 1) / side, correlation, half_bit, side)
