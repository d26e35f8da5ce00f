"""Scan patterns: the order and places of scan positions, pixels, ``(y, x)``, around (0, 0)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


def _raster(count: int, step_px: float, rng: np.random.Generator) -> Points:
    side = int(np.ceil(np.sqrt(count)))
    y, x = np.divmod(np.arange(side * side), side)
    return np.stack((y, x), axis=1)[:count] * step_px


def _snake(count: int, step_px: float, rng: np.random.Generator) -> Points:
    points = _raster(count, step_px, rng)
    rows = np.round(points[:, 0] / step_px).astype(int)
    points[rows % 2 == 1, 1] = points[:, 1].max() - points[rows % 2 == 1, 1]
    return points


def _spiral(count: int, step_px: float, rng: np.random.Generator) -> Points:
    golden = np.pi * (3 - np.sqrt(5))
    number = np.arange(count) + 0.5
    radius = step_px / np.sqrt(np.pi) * np.sqrt(number)
    return np.stack((radius * np.sin(number * golden), radius * np.cos(number * golden)), axis=1)


def _scattered(count: int, step_px: float, rng: np.random.Generator) -> Points:
    points = _raster(count, step_px, rng)
    return points + rng.uniform(-0.35, 0.35, size=points.shape) * step_px


TRACKS: dict[str, Callable[[int, float, np.random.Generator], Points]] = {
    "raster": _raster,
    "snake": _snake,
    "spiral": _spiral,
    "jitter": _scattered,
}
"""Track makers; each takes the number of points, the mean step in pixels and a random generator."""


def scan_positions(track: str, count: int, step_px: float, jitter_px: float, rng: np.random.Generator) -> Points:
    """Return positions ``(count, 2)`` px, their mean at 0 before the stage's rms scatter ``jitter_px``."""
    points: Points = TRACKS[track](count, step_px, rng)
    points = points - points.mean(axis=0)
    if jitter_px:
        points = points + rng.normal(scale=jitter_px, size=points.shape)
    return points
