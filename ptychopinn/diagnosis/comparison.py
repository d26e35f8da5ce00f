"""Comparison of two reconstructions, after registration.

Two reconstructions of the same data may differ in scale, phase, a phase ramp and a common shift: no pattern shows these.
They are removed first. Whole pixels of the shift move the cut, so nothing wraps around; the fraction is interpolated (cubic
spline). The ramp is a plane fitted to the ratio of both pictures, all over the common region.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, shift

from ptychopinn.diagnosis.resolution import LEAST_SIDE_PX, largest_square, ring_correlation, shift_between, unramped
from ptychopinn.diagnosis.similarity import ms_ssim, ssim
from ptychopinn.errors import GeometryError

Complex = NDArray[np.complexfloating[Any, Any]]
Mask = NDArray[np.bool_]
Pixels = NDArray[np.float64]
Whole = NDArray[np.int64]

CRITERION = "half-bit"
PIXEL_TOLERANCE = 0.002
"""Largest relative difference of two object pixels: over 1,000 pixels, pictures then differ by two."""
WHOLE_ROUNDS, FINE_ROUNDS = 6, 3
"""Rounds of the registration, by whole pixels and below; each starts from the overlap that the one before found."""
REGISTERED_SIDE_PX = 1024
"""Largest square that is registered: larger ones tell no more and take seconds."""
LEAST_FRACTION_PX = 0.02
"""Shifts below this are left: interpolation would cost more than it gives."""
WELL_COVERED = 0.3
"""A pixel is covered well from this share of the level above which half of all weight lies."""
MOST_FRACTION_PX = 2.0
"""Shifts that add up to more than this after the whole pixels are chance."""
EVEN_RAD, EVEN_SHARE = 1e-4, 1e-4
"""A phase or amplitude with a smaller deviation is even: nothing can be correlated."""


@dataclass(frozen=True, slots=True, eq=False)
class PlacedPicture:
    """A picture ``(H, W)``, the pixels that are known, and the place ``[y, x]`` of pixel (0, 0) in the object's frame."""

    object: Complex
    known: Mask
    origin_px: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two pictures compared; None where a number has no meaning (too small, or no contrast).

    Parameters
    ----------
    phase_correlation
        Pearson's correlation of the phases over all common pixels.
    amplitude_correlation
        The same for the amplitudes.
    ssim, ms_ssim, amplitude_ssim
        Similarity of the phases and of the amplitudes in the largest common square.
    ms_ssim_scales
        Scales of ``ms_ssim``: 5, fewer in small pictures.
    difference
        Root of sum abs(A - B)^2 over sum abs(B)^2.
    frc_px, frc_nm
        Half a period at which the Fourier ring correlation falls below the half-bit line.
    frc_criterion
        Name of that line.
    shift_px, ramp_rad_px
        Shift ``[y, x]``, pixels, and phase ramp, rad a pixel, that were taken off.
    pixels, side_px
        Common pixels, and the side of the largest common square.
    """

    phase_correlation: float | None
    amplitude_correlation: float | None
    ssim: float | None
    ms_ssim: float | None
    ms_ssim_scales: int
    amplitude_ssim: float | None
    difference: float | None
    frc_px: float | None
    frc_nm: float | None
    frc_criterion: str
    shift_px: tuple[float, float]
    ramp_rad_px: tuple[float, float]
    pixels: int
    side_px: int


@dataclass(slots=True, eq=False)
class Registered:
    """The common region of two pictures, the first aligned with the second; its corner [y, x] in the second, pixels."""

    picture: Complex
    reference: Complex
    known: Mask
    corner_px: tuple[int, int]
    shift_px: tuple[float, float]
    ramp_rad_px: tuple[float, float]
    square: tuple[slice, slice] = field(init=False)

    def __post_init__(self) -> None:
        top, left, side = largest_square(self.known)
        self.square = slice(top, top + side), slice(left, left + side)


def compare_pictures(picture: PlacedPicture, reference: PlacedPicture, pixel_size_m: float | None = None) -> Comparison:
    """Return how far a picture agrees with a reference.

    Raises
    ------
    GeometryError
        If they have no square of 16 x 16 pixels in common.
    """
    return compare_registered(registered(picture, reference), pixel_size_m)


def common_pixel_m(
    one_m: float | None, other_m: float | None, names: tuple[str, str] = ("one picture", "the other")
) -> float | None:
    """Return the object pixel of two pictures; None where neither is known.

    Raises
    ------
    GeometryError
        If they differ.
    """
    if one_m is None or other_m is None:
        return one_m or other_m
    if abs(one_m / other_m - 1) > PIXEL_TOLERANCE:
        raise GeometryError(
            f"the object pixel is {one_m * 1e9:.4g} nm in {names[0]} and {other_m * 1e9:.4g} nm in {names[1]}; "
            "compare pictures with the same pixel"
        )
    return other_m


def compare_registered(both: Registered, pixel_size_m: float | None = None) -> Comparison:
    """Return how far two pictures agree that are registered already."""
    known, square = both.known, both.square
    phase, true_phase = _level_phase(both.picture, known), _level_phase(both.reference, known)
    amplitude, true_amplitude = np.abs(both.picture), np.abs(both.reference)
    ms, scales = ms_ssim(phase[square], true_phase[square])
    curve = ring_correlation(both.picture, both.reference, known.astype(np.float32))
    frc_px = curve.known_resolution_px(CRITERION)
    rest = np.where(known, both.picture - both.reference, 0)
    power = float(np.square(true_amplitude[known], dtype=np.float64).sum())
    return Comparison(
        phase_correlation=_correlation(phase[known], true_phase[known], EVEN_RAD),
        amplitude_correlation=_correlation(amplitude[known], true_amplitude[known], EVEN_SHARE),
        ssim=ssim(phase[square], true_phase[square]),
        ms_ssim=ms,
        ms_ssim_scales=scales,
        amplitude_ssim=ssim(amplitude[square], true_amplitude[square]),
        difference=math.sqrt(float(np.square(np.abs(rest), dtype=np.float64).sum()) / power) if power > 0 else None,
        frc_px=frc_px,
        frc_nm=None if frc_px is None or pixel_size_m is None else frc_px * pixel_size_m * 1e9,
        frc_criterion=CRITERION,
        shift_px=both.shift_px,
        ramp_rad_px=both.ramp_rad_px,
        pixels=int(known.sum()),
        side_px=curve.side_px,
    )


def registered(picture: PlacedPicture, reference: PlacedPicture) -> Registered:
    """Return the common region of two pictures, the first without its shift, ramp, phase and scale against the second.

    An even picture is only scaled: it has nothing to be registered by.

    Raises
    ------
    GeometryError
        If they have no square of 16 x 16 pixels in common.
    """
    apart = np.subtract(picture.origin_px, reference.origin_px)
    moved = np.rint(apart).astype(int)
    one, other, known = _common(picture, reference, moved)
    fine, ramp = np.zeros(2), np.zeros(2)
    if not (_is_even(one, known) or _is_even(other, known)):
        moved = _whole_shift(picture, reference, moved)
        one, other, known = _common(picture, reference, moved)
        fine, ramp = _fraction_and_ramp(one, other, known)
    found = _moved(one * np.exp(1j * _plane(ramp, one.shape)), fine)
    known = _inside(known) if _is_moved(fine) else known
    found = np.where(known, found, 0)
    factor = np.vdot(found[known], other[known]) / max(float(np.vdot(found[known], found[known]).real), 1e-30)
    y, x = np.maximum(moved, 0).tolist()
    return Registered(
        found * factor, other, known, corner_px=(y, x), shift_px=_pair(moved - apart + fine), ramp_rad_px=_pair(ramp)
    )


def _whole_shift(picture: PlacedPicture, reference: PlacedPicture, moved: Whole) -> Whole:
    """Return the offset of a picture from the reference, whole pixels, beginning with one that is nearly right."""
    for _ in range(WHOLE_ROUNDS):
        step = np.rint(shift_between(*_level_squares(*_common(picture, reference, moved)))).astype(int)
        if not step.any():
            break
        moved = moved + step
    return moved


def _fraction_and_ramp(
    one: NDArray[np.complex128], other: NDArray[np.complex128], known: Mask
) -> tuple[Pixels, Pixels]:
    """Return the rest of the shift, pixels, and the ramp, rad a pixel, that a picture lacks against another."""
    fine, ramp, found = np.zeros(2), np.zeros(2), one
    for _ in range(FINE_ROUNDS):
        ramp = ramp + _ramp(found, other, known)
        found = _moved(one * np.exp(1j * _plane(ramp, one.shape)), fine)
        fine = fine + shift_between(*(_square(each, known) for each in (found, other)))
        if np.abs(fine).max() > MOST_FRACTION_PX:  # nothing in them agrees
            return np.zeros(2), ramp
    return fine, ramp


def position_errors_px(one_px: Pixels, other_px: Pixels) -> tuple[float | None, float | None]:
    """Return the mean distance of positions ``(n, 2)`` of the same frames: without a common shift, without an affine map."""
    finite = np.isfinite(one_px).all(axis=1) & np.isfinite(other_px).all(axis=1)
    error, places = (one_px - other_px)[finite], other_px[finite]
    if len(error) < 2:
        return None, None
    plain = float(np.hypot(*(error - error.mean(axis=0)).T).mean())
    design = np.column_stack([places - places.mean(axis=0), np.ones(len(places))])
    if len(error) <= design.shape[1] or np.linalg.matrix_rank(design) < design.shape[1]:
        return plain, None
    left = error - design @ np.linalg.lstsq(design, error, rcond=None)[0]
    return plain, float(np.hypot(*left.T).mean())


def known_pixels(field: Complex, weight: NDArray[np.floating[Any]] | None = None) -> Mask:
    """Return the pixels of a picture that are known: finite, and not zero where there is no weight."""
    finite = np.isfinite(field.real) & np.isfinite(field.imag)
    known: Mask = finite & (field != 0 if weight is None else weight > 0)
    return known


def covered_level(weight: NDArray[np.floating[Any]]) -> float:
    """Return the weight from which a pixel counts as covered well."""
    weights = np.sort(weight, axis=None)
    sums = np.cumsum(weights, dtype=np.float64)
    return WELL_COVERED * float(weights[np.searchsorted(sums, sums[-1] / 2)]) if weights.size else 0.0


def well_covered(weight: NDArray[np.floating[Any]]) -> Mask:
    """Return the pixels ``(H, W)`` that are covered well."""
    return np.asarray(weight > covered_level(weight))


def _is_even(field: NDArray[np.complex128], known: Mask) -> bool:
    values = field[known]
    return float(values.std()) <= EVEN_SHARE * float(np.abs(values).mean())


def _common(
    picture: PlacedPicture, reference: PlacedPicture, moved: Whole
) -> tuple[NDArray[np.complex128], NDArray[np.complex128], Mask]:
    """Return both pictures on their common region, with the picture moved to an offset from the reference."""
    low = np.maximum(moved, 0)
    high = np.minimum(moved + picture.object.shape, reference.object.shape)
    if (high <= low).any():
        raise GeometryError("the two pictures have no place in common; check their origins")
    there = tuple(slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True))
    here = tuple(slice(a, b) for a, b in zip((low - moved).tolist(), (high - moved).tolist(), strict=True))
    known = picture.known[here] & reference.known[there]
    if largest_square(known)[2] < LEAST_SIDE_PX:
        raise GeometryError(
            f"the two pictures have no square of {LEAST_SIDE_PX} x {LEAST_SIDE_PX} px in common; check their origins"
        )
    one, other = (
        np.where(known, each, 0).astype(np.complex128) for each in (picture.object[here], reference.object[there])
    )
    return one, other, known


def _square(field: Complex, known: Mask) -> NDArray[np.complex128]:
    """Return the middle of the largest known square."""
    top, left, side = largest_square(known)
    rim = max(0, side - REGISTERED_SIDE_PX) // 2
    cut = slice(top + rim, top + side - rim), slice(left + rim, left + side - rim)
    return np.asarray(field[cut], dtype=np.complex128)


def _level_squares(one: Complex, other: Complex, known: Mask) -> list[NDArray[np.complex128]]:
    """Return the largest known square of both, each without its own mean ramp: that does not depend on their shift."""
    squares = [_square(each, known) for each in (one, other)]
    return [unramped(each, np.ones_like(each)) for each in squares]


def _ramp(one: Complex, other: Complex, known: Mask) -> Pixels:
    """Return the ramp, rad a pixel ``[y, x]``, that a picture lacks against another."""
    ratio = np.where(known, other * one.conj(), 0)
    found = np.array(
        [np.angle((ratio[1:] * ratio[:-1].conj()).sum()), np.angle((ratio[:, 1:] * ratio[:, :-1].conj()).sum())]
    )
    return found + _fine_ramp(ratio * np.exp(-1j * _plane(found, ratio.shape)), known)


def _fine_ramp(ratio: Complex, known: Mask) -> Pixels:
    """Return the plane that is left in a ratio's phase, by weighted least squares, where the phase does not wrap."""
    flat = ratio * np.exp(-1j * np.angle(ratio.sum()))
    weight = np.where(known & (np.abs(np.angle(flat)) < np.pi / 2), np.abs(flat), 0).ravel()
    y, x = (axis.ravel() - (axis.max() / 2) for axis in np.indices(ratio.shape).astype(np.float64))
    design = np.column_stack([y, x, np.ones(y.size)])
    normal = design.T @ (design * weight[:, None])
    if np.linalg.matrix_rank(normal) < 3:
        return np.zeros(2)
    return np.asarray(np.linalg.solve(normal, design.T @ (weight * np.angle(flat).ravel()))[:2])


def _plane(ramp: Pixels, shape: tuple[int, ...]) -> Pixels:
    return np.asarray(ramp[0] * np.arange(shape[0])[:, None] + ramp[1] * np.arange(shape[1])[None, :])


def _is_moved(shift_px: Pixels) -> bool:
    return bool(np.abs(shift_px).max() > LEAST_FRACTION_PX)


def _moved(field: NDArray[np.complex128], shift_px: Pixels) -> NDArray[np.complex128]:
    if not _is_moved(shift_px):
        return field
    parts = (shift(part, shift_px, order=3, mode="nearest") for part in (field.real, field.imag))
    real, imaginary = parts
    return np.asarray(real + 1j * imaginary)


def _inside(known: Mask) -> Mask:
    """Return the known pixels without their rim, which interpolation mixes with unknown ones."""
    inner: Mask = binary_erosion(known, iterations=2, border_value=1)
    return inner if largest_square(inner)[2] >= LEAST_SIDE_PX else known


def _level_phase(field: Complex, known: Mask) -> Pixels:
    """Return the phase of a picture, the mean phase of its known pixels removed."""
    return np.asarray(np.angle(field * np.exp(-1j * np.angle(field[known].sum()))), dtype=np.float64)


def _correlation(one: Pixels, other: Pixels, least: float) -> float | None:
    if min(one.std(), other.std()) <= least:
        return None
    return float(np.corrcoef(one, other)[0, 1])


def _pair(values: Pixels) -> tuple[float, float]:
    return float(values[0]), float(values[1])
