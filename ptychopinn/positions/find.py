"""Finds the true positions of a scan's frames, and takes them only if they fit clearly better."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.errors import GeometryError, ProbeMismatchError
from ptychopinn.physics.scan_check import check_extent, check_light, free_memory_bytes
from ptychopinn.positions.proof import is_better
from ptychopinn.positions.scan import Frames, believable, main_mode
from ptychopinn.positions.stages import PASSES, Stages

__all__ = ["PASSES", "FoundPositions", "find_positions", "finding_positions"]

LEAST_FRAMES = 16
BYTES_PER_PIXEL = 24
"""Memory of a pattern's pixel: amplitude, wave, and parts of either."""


@dataclass(frozen=True, slots=True, eq=False)
class FoundPositions:
    """What :func:`find_positions` found.

    ``positions_px (n, 2)``, those that were told where nothing better was found (``is_corrected`` is False then); the
    ``rfactor`` of a quick picture with one mode, at told and found positions.
    """

    positions_px: NDArray[np.float64]
    is_corrected: bool
    told_rfactor: float
    found_rfactor: float
    seconds: float

    def error_px(self, told_px: NDArray[np.float64]) -> float:
        """Return the mean distance between told and found positions, pixels, what is common taken out."""
        apart = self.positions_px - told_px
        apart = apart[np.isfinite(apart).all(axis=1)]
        return float(np.hypot(*(apart - np.median(apart, axis=0)).T).mean()) if len(apart) else 0.0


def find_positions(
    amplitude: Tensor,
    positions_px: NDArray[np.float64],
    probe: Tensor,
    *,
    bound_px: float | None = None,
    start_px: NDArray[np.float64] | None = None,
    is_last: bool = True,
    on_pass: Callable[[], object] = lambda: None,
    stop: Callable[[], bool] = lambda: False,
) -> FoundPositions:
    """Return where the frames of a scan lie, as far as they tell it.

    Parameters
    ----------
    amplitude : (n, N, N) float32
        sqrt(counts), zero frequency in the middle, -1 = no data.
    positions_px : (n, 2) float64
        As they were told; ``bound_px`` is the greatest error that is looked for, None: as in how-to/positions.md. ``start_px``
        is where frames were found before: the search begins there, is shorter, and ``told_rfactor`` is of these.
    probe : (modes, N, N) complex64
        May be a poor guess.
    is_last
        Whether no further frames will come; else a search from ``start_px`` leaves wild frames and parts of a pixel to the last.
    on_pass, stop
        Called after each pass over the frames, PASSES times at most; True from ``stop`` leaves positions as told.

    Raises GeometryError if patterns, positions or memory do not suffice, ProbeMismatchError if the probe differs in size.
    """
    finding = finding_positions(amplitude, positions_px, probe, bound_px=bound_px, start_px=start_px, is_last=is_last)
    while True:
        try:
            next(finding)
        except StopIteration as done:
            found: FoundPositions = done.value
            return found
        on_pass()
        if stop():
            return _as_told(positions_px, 0.0)


def finding_positions(
    amplitude: Tensor,
    positions_px: NDArray[np.float64],
    probe: Tensor,
    *,
    bound_px: float | None = None,
    start_px: NDArray[np.float64] | None = None,
    is_last: bool = True,
) -> Generator[None, None, FoundPositions]:
    """Do what :func:`find_positions` does, one pass over the frames at each ``next``; close it to stop."""
    seconds, begun = 0.0, time.monotonic()
    frames, rows = _checked(amplitude, positions_px, probe)
    if len(rows) < LEAST_FRAMES or bound_px == 0:
        return _as_told(positions_px, time.monotonic() - begun)
    stages = Stages(frames, bound_px)
    running = stages.run() if start_px is None else stages.run_again(start_px[rows], is_last=is_last)
    while True:
        try:
            next(running)
        except StopIteration as done:
            told, found = done.value
            break
        seconds += time.monotonic() - begun
        yield
        begun = time.monotonic()
    is_corrected = is_better(frames, told, found) if start_px is None else found.square < told.square
    positions = positions_px.copy()
    if is_corrected:
        positions[rows] = found.positions_px
    seconds += time.monotonic() - begun
    return FoundPositions(positions, is_corrected, told.rfactor, found.rfactor, seconds)


def _as_told(positions_px: NDArray[np.float64], seconds: float) -> FoundPositions:
    return FoundPositions(positions_px.copy(), False, np.nan, np.nan, seconds)


def _checked(amplitude: Tensor, positions_px: NDArray[np.float64], probe: Tensor) -> tuple[Frames, NDArray[np.int64]]:
    """Return the frames that can be used, and their rows."""
    n = amplitude.shape[-1]
    if probe.shape[-1] != n:
        raise ProbeMismatchError(
            f"the probe is {probe.shape[-1]} px but the patterns are {n} px; crop one to the other"
        )
    check_light(amplitude)
    check_extent(positions_px, n)
    needed, free = float(amplitude.numel() * BYTES_PER_PIXEL), free_memory_bytes()
    if needed > free:
        raise GeometryError(
            f"finding the positions of {len(amplitude)} frames takes {needed / 1e9:.1f} GB of memory and "
            f"{free / 1e9:.1f} are free; use fewer frames"
        )
    rows = believable(amplitude, positions_px)
    used = amplitude[rows.tolist()]
    return Frames(torch.fft.ifftshift(used, dim=(-2, -1)), positions_px[rows], main_mode(probe, used)), rows
