"""Scans measured at places between pixels, and the kinds of error that told positions have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from ptychopinn.physics.diffraction import expected_counts, shift_subpixel
from ptychopinn.simulate import Recipe, SimulatedScan, simulate_scan

Places = NDArray[np.float64]
WILD_EVERY = 25
"""One frame in so many is wild."""
SCAN = Recipe(
    size_px=64,
    frames=144,
    counts=1e5,
    phase_rad=1.5,
    jitter_px=0.7,
    overlap_ratio=0.7,
    texture="noise",
    track="snake",
    seed=5,
)
"""The scan of the table in how-to/positions.md."""


@cache
def measured_scan(recipe: Recipe) -> tuple[SimulatedScan, torch.Tensor]:
    """Return a scan and its amplitudes, measured at the recorded places themselves, between pixels."""
    drawn, half = simulate_scan(recipe), recipe.size_px // 2
    generator = torch.Generator().manual_seed(recipe.seed)
    amplitudes = []
    for position in drawn.positions_px:
        y, x = np.round(position).astype(int)
        probe = shift_subpixel(drawn.probe, (position[0] - y, position[1] - x))
        patch = drawn.object[y - half : y + half, x - half : x + half]
        amplitudes.append(torch.poisson(expected_counts(probe, patch), generator=generator).sqrt())
    return drawn, torch.stack(amplitudes)


def apart_px(found: Places, true: Places) -> Places:
    """Return each frame's distance to the truth, what is common taken out."""
    error = found - true
    return np.asarray(np.hypot(*(error - np.median(error, axis=0)).T))


@dataclass(frozen=True, slots=True)
class _Track:
    """True places ``(n, 2)`` around their middle, times from 0 to 1, a random generator."""

    around: Places
    time: NDArray[np.float64]
    random: np.random.Generator


def _backlash(track: _Track) -> Places:
    steps = np.gradient(track.around, axis=0)
    fast = int(np.argmax(np.abs(steps).mean(axis=0)))
    return np.outer(np.sign(steps[:, fast]), np.eye(2)[fast])


def _wave(track: _Track) -> Places:
    number = np.arange(len(track.time))
    return np.stack([np.sin(0.861 * number), np.cos(1.370 * number)], axis=1)


def _drift(track: _Track) -> Places:
    t = track.time
    return np.stack([t + 0.5 * np.sin(2.3 * t + 1), -np.square(t) + 0.4 * np.cos(5 * t)], axis=1)


KINDS: dict[str, Callable[[_Track], Places]] = {
    "scatter": lambda track: track.random.normal(size=track.around.shape),
    "vibration": _wave,
    "backlash": _backlash,
    "drift": _drift,
    "scale": lambda track: track.around,
    "rotation": lambda track: track.around @ np.array([[0.0, 1.0], [-1.0, 0.0]]),
    "shear": lambda track: np.stack([0 * track.around[:, 0], track.around[:, 0]], axis=1),
}
"""Errors of all frames, of any size; ``wild`` is apart."""


def told_positions(kind: str, size_px: float, true_px: Places, seed: int = 0) -> Places:
    """Return true places ``(n, 2)`` with an error of ``size_px``, rms over the frames that it affects."""
    random = np.random.default_rng(seed)
    if kind == "wild":
        rows = random.choice(len(true_px), max(2, len(true_px) // WILD_EVERY), replace=False)
        angle = random.uniform(0, 2 * np.pi, len(rows))
        told = true_px.copy()
        told[rows] += size_px * np.stack([np.sin(angle), np.cos(angle)], axis=1)
        return told
    error = KINDS[kind](_Track(true_px - true_px.mean(axis=0), np.linspace(0, 1, len(true_px)), random))
    error = error - error.mean(axis=0)
    return np.asarray(true_px + error * (size_px / np.sqrt(np.square(error).sum(axis=1).mean())))
