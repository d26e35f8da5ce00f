"""Finds the true positions of a scan's frames: search, wild frames, polish, and the proof that the picture gains by it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.errors import GeometryError, ProbeMismatchError
from ptychopinn.physics.scan_check import check_extent, check_light, free_memory_bytes
from ptychopinn.positions.canvas import SearchCanvas
from ptychopinn.positions.polish import Estimate, Polish, fitted
from ptychopinn.positions.scan import Frames, believable, main_mode
from ptychopinn.positions.search import Search
from ptychopinn.positions.wild import replace_wild

LEAST_FRAMES = 16
REACH_SHARE, WILD_SHARE = 1 / 8, 9 / 32
"""Reach of the search, and of the search for wild frames, over the side of a pattern."""
MOST_STEPS, STILL_PX = 12, 0.7
POLISH_PASSES, PROOF_PASSES = 14, 6
WORTH = 5.0
"""By how much more than chance the fit must gain for each number found: 2 sum (|F(P O)| - a)^2 falls by 1 for each."""
LEAST_FALL, FALL_PER_PX, MOST_FALL = 0.05, 0.1, 0.35
"""Share of the misfit beyond the photons' noise that must go, more for larger errors: with a wrong probe frames fit far from
their true place a little better, too (22 % less for 12 px on the measured Siemens star with a guessed probe)."""
BYTES_PER_PIXEL = 24
"""Memory of a pattern's pixel: amplitude, wave, and parts of either."""
PASSES = MOST_STEPS + 2 * POLISH_PASSES


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
    found_px, found, told = _best(frames, bound_px, on_pass)
    gain = 2 * (told.square - found.square) / found.noise
    beyond = told.square - _noise_square(frames.amplitude)
    is_better = found.rfactor < told.rfactor and gain > WORTH * 2 * len(rows)
    error_px = float(np.hypot(*(found_px - frames.told_px).T).mean())
    least = min(MOST_FALL, LEAST_FALL + FALL_PER_PX * error_px)
    is_corrected = is_better and told.square - found.square > least * beyond
    positions = positions_px.copy()
    if is_corrected:
        positions[rows] = found_px
    return FoundPositions(positions, is_corrected, told.rfactor, found.rfactor, time.monotonic() - begun)


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


def _best(
    frames: Frames, bound_px: float | None, on_pass: Callable[[], object]
) -> tuple[NDArray[np.float64], Estimate, Estimate]:
    """Return the positions that fit best of those that are found with and without a wide search, and what they reach."""
    finder = _Finder(frames, bound_px, on_pass)
    tried = [frames.told_px, finder.polished(), finder.find()]
    reached = [fitted(frames, places, PROOF_PASSES) for places in tried]
    best = min(range(len(tried)), key=lambda number: reached[number].square)
    return tried[best], reached[best], reached[0]


def _noise_square(amplitude: Tensor) -> float:
    """Return the square misfit that photons leave: 1/4 a pixel, and the mean counts where they are fewer."""
    valid = amplitude >= 0
    frames = valid.sum(0)
    counts = torch.where(valid, amplitude, 0.0).square().sum(0) / frames.clamp_min(1)
    return float((counts.clamp_max(0.25) * frames).sum())


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
            moved = search.step()
            self._on_pass()
            if moved < STILL_PX:
                break
        replace_wild(search, self._wild_reach)
        return self._polish(Estimate(search.picture, search.probe, search.positions_px))

    def polished(self) -> NDArray[np.float64]:
        """Return the positions that are found below a pixel around those told."""
        start = fitted(self._frames, self._frames.told_px, PROOF_PASSES)
        canvas = SearchCanvas(self._frames.told_px, self._frames.size_px, 1, self._frames.amplitude.device)
        picture = self._canvas.ones()
        y, x = (canvas.origin_px - self._canvas.origin_px).tolist()
        picture[y : y + canvas.shape[0], x : x + canvas.shape[1]] = start.picture
        return self._polish(Estimate(picture, start.probe, self._frames.told_px.copy()))

    def _polish(self, estimate: Estimate) -> NDArray[np.float64]:
        polish = Polish(self._frames, self._canvas, estimate, moves_positions=True)
        for _ in range(POLISH_PASSES):
            polish.run()
            self._on_pass()
        return estimate.positions_px
