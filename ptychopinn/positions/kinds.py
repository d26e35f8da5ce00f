"""Kinds of position errors: scale, rotation, shear, slow drift, backlash, wild points, scatter; found in this order, in words.

Each kind is fitted to what the ones before it have left, so the parts add up to the whole.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float64]

DRIFT_DEGREE = 4
WILD = 6.0
"""Robust standard deviations of what is left from which a frame is wild."""
LEAST_PX, LEAST_SHARE = 0.15, 0.15
"""A part is named from this size on, and from this share of the whole."""
LEAST_WILD_PX = 2.0
LEAST_FRAMES = 16


def error_words(told_px: Pixels, found_px: Pixels) -> str:
    """Return a clause on how told positions ``(n, 2)`` are off: the mean distance, then its parts. Frames in order of time."""
    known = np.isfinite(told_px).all(axis=1) & np.isfinite(found_px).all(axis=1)
    told, error = told_px[known], (told_px - found_px)[known]
    error = error - np.median(error, axis=0) if len(error) else error
    whole = float(np.hypot(*error.T).mean()) if len(error) else 0.0
    parts = _parts(told, error, whole) if len(error) >= LEAST_FRAMES else []
    said = f": {', '.join(parts)}" if parts else ""
    return f"positions are off by about {_px(whole)}{said}"


def _parts(told: Pixels, error: Pixels, whole: float) -> list[str]:
    least = max(LEAST_PX, LEAST_SHARE * whole)
    wild = _wild(error)
    error = np.where(wild[:, None], 0.0, error)
    words = []
    affine, matrix = _affine(told, error, ~wild)
    if _rms(affine) > least:
        words += _affine_words(matrix, told, least)
        error = error - affine
    drift = _drift(error)
    if _rms(drift) > least:
        words.append(f"drift {_px(float(np.hypot(*np.ptp(drift, axis=0))))}")
        error = error - drift
    backlash = _backlash(told, error)
    if _rms(backlash) > least:
        words.append(f"backlash {_px(2 * _rms(backlash))}")
        error = error - backlash
    scatter = _rms(error[~wild])
    if scatter > least:
        words.append(f"scatter {_px(scatter)} rms")
    if wild.any():
        words.append(f"{int(wild.sum())} wild {'frame' if wild.sum() == 1 else 'frames'}")
    return words


def _wild(error: Pixels) -> NDArray[np.bool_]:
    distance = np.hypot(*error.T)
    found: NDArray[np.bool_] = distance > max(LEAST_WILD_PX, WILD * 1.48 * float(np.median(distance)))
    return found


def _affine(told: Pixels, error: Pixels, used: NDArray[np.bool_]) -> tuple[Pixels, Pixels]:
    """Return the part of the error that is linear in the position, and its matrix ``(2, 2)``."""
    away = told - told[used].mean(axis=0)
    if np.linalg.matrix_rank(away[used]) < 2:
        return np.zeros_like(error), np.zeros((2, 2))
    matrix = np.linalg.lstsq(away[used], error[used], rcond=None)[0].T
    return away @ matrix.T, matrix


def _affine_words(matrix: Pixels, told: Pixels, least: float) -> list[str]:
    """Return scale, rotation and shear, each where it moves frames by more than ``least``."""
    radius = _rms(told - told.mean(axis=0))
    scale, rotation = float(np.trace(matrix)) / 2, float(matrix[1, 0] - matrix[0, 1]) / 2
    shear = math.hypot(matrix[0, 1] + matrix[1, 0], matrix[0, 0] - matrix[1, 1])
    words = [f"scale {scale:+.2%}"] * (abs(scale) * radius > least)
    words += [f"rotation {math.degrees(rotation):+.2f} degrees"] * (abs(rotation) * radius > least)
    return words + [f"shear {shear:.2%}"] * (shear * radius / 2 > least)


def _drift(error: Pixels) -> Pixels:
    """Return the part of the error that is smooth in time."""
    time = np.linspace(-1, 1, len(error))
    series = np.polynomial.chebyshev.chebvander(time, DRIFT_DEGREE)
    smooth: Pixels = series @ np.linalg.lstsq(series, error, rcond=None)[0]
    return smooth


def _backlash(told: Pixels, error: Pixels) -> Pixels:
    """Return the part of the error that turns with the direction of motion along the faster axis."""
    steps = np.gradient(told, axis=0)
    fast = int(np.argmax(np.abs(steps).mean(axis=0)))
    direction = np.sign(steps[:, fast])
    direction = direction - direction.mean()
    square = float(np.square(direction).sum())
    if square < 0.5 * len(direction):  # one direction alone, hence no turning
        return np.zeros_like(error)
    return np.outer(direction, direction @ error / square)


def _rms(part: Pixels) -> float:
    return float(np.sqrt(np.square(part).sum(axis=1).mean())) if len(part) else 0.0


def _px(size: float) -> str:
    return f"{size:.1f} px" if size < 10 else f"{size:.0f} px"
