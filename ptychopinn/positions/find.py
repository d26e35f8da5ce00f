"""Finds the true positions of a scan's frames: search, wild frames, polish, and the proof that the picture gains by it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.errors import GeometryError, ProbeMismatchError
from ptychopinn.physics.scan_check import check_extent, check_light, free_memory_bytes
from ptychopinn.positions.canvas import SearchCanvas
from ptychopinn.positions.polish import Estimate, Polish
from ptychopinn.positions.scan import Frames, believable, main_mode
from ptychopinn.positions.search import Search
from ptychopinn.positions.wild import replace_wild

LEAST_FRAMES = 16
REACH_SHARE, WILD_SHARE = 1 / 8, 9 / 32
"""Reach of the search, and of the search for wild frames, over the side of a pattern."""
MOST_STEPS, STILL_PX = 12, 0.7
POLISH_PASSES, PROOF_PASSES = 14, 6
WORTH = 0.99
"""R of the found positions over that of the told ones, both with a fresh picture, from which they are taken."""
BYTES_PER_PIXEL = 24
"""Memory of a pattern's pixel: amplitude, wave, and parts of either."""
PASSES = 3 + MOST_STEPS + POLISH_PASSES + 2 * PROOF_PASSES


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
    on_pass: Callable[[], object] = lambda: None,
) -> FoundPositions:
    """Return where the frames of a scan lie, as far as they tell it.

    Parameters
    ----------
    amplitude : (n, N, N) float32
        sqrt(counts), zero frequency in the middle, -1 = no data.
    positions_px : (n, 2) float64
        As they were told.
    probe : (modes, N, N) complex64
        May be a poor guess.
    bound_px
        Greatest error that is looked for; None: a quarter of a pattern's side for single frames, half that for many.
    on_pass
        Called after each pass over the frames, PASSES times at most.

    Raises
    ------
    GeometryError
        If the patterns hold no photon, the positions span an area that no scan has, or memory does not suffice.
    ProbeMismatchError
        If probe and patterns differ in size.
    """
    begun = time.monotonic()
    frames, rows = _checked(amplitude, positions_px, probe)
    if len(rows) < LEAST_FRAMES or bound_px == 0:
        return FoundPositions(positions_px.copy(), False, np.nan, np.nan, time.monotonic() - begun)
    found_px = _Finder(frames, bound_px, on_pass).find()
    told_rfactor, found_rfactor = (_proof(frames, places, on_pass) for places in (frames.told_px, found_px))
    is_corrected = found_rfactor < WORTH * told_rfactor
    positions = positions_px.copy()
    if is_corrected:
        positions[rows] = found_px
    return FoundPositions(positions, is_corrected, told_rfactor, found_rfactor, time.monotonic() - begun)


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


class _Finder:
    """The three stages on one scan."""

    def __init__(self, frames: Frames, bound_px: float | None, on_pass: Callable[[], object]) -> None:
        n = frames.size_px
        self._reach = max(4, round(n * REACH_SHARE if bound_px is None else min(bound_px, n / 4)))
        self._wild_reach = max(self._reach, round(n * WILD_SHARE)) if bound_px is None else self._reach
        self._frames = frames
        self._on_pass = on_pass
        rim = self._wild_reach + self._reach
        self._canvas = SearchCanvas(frames.told_px, n, rim, frames.amplitude.device)

    def find(self) -> NDArray[np.float64]:
        """Return the positions as they are found."""
        search = Search(self._frames, self._canvas, self._reach)
        search.settle()
        for _ in range(MOST_STEPS):
            moved = search.step(1.0)
            self._on_pass()
            if moved < STILL_PX:
                break
        replace_wild(search, self._wild_reach)
        estimate = Estimate(search.picture, search.probe, search.positions_px)
        polish = Polish(self._frames, self._canvas, estimate, moves_positions=True)
        for _ in range(POLISH_PASSES):
            polish.run()
            self._on_pass()
        return estimate.positions_px


def _proof(frames: Frames, positions_px: NDArray[np.float64], on_pass: Callable[[], object]) -> float:
    """Return the R-factor that positions reach in a few passes from an empty picture and the given probe."""
    canvas = SearchCanvas(positions_px, frames.size_px, 1, frames.amplitude.device)
    estimate = Estimate(canvas.ones(), frames.probe.clone(), positions_px.copy())
    polish = Polish(replace(frames, told_px=positions_px), canvas, estimate, moves_positions=False)
    for _ in range(PROOF_PASSES):
        polish.run()
        on_pass()
    return estimate.rfactor
