"""The stages of the finder: quick fits, searches, wild frames, descents. A ``yield`` ends each pass over the frames.

Three ways lead from the told positions to the last descent. A descent from a quick picture finds small errors, and scale,
rotation, shear and drift of several pixels; a search from that picture finds errors of a few pixels; a search from an empty
picture, which wrong positions have not spoilt, finds large ones. The positions that fit best, in as many passes from an
empty picture, are taken.
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.positions.canvas import SearchCanvas
from ptychopinn.positions.descent import Descent
from ptychopinn.positions.fitting import Estimate, Fit
from ptychopinn.positions.scan import TINY, Frames
from ptychopinn.positions.search import Search
from ptychopinn.positions.wild import replace_wild

REACH_SHARE, WILD_SHARE = 1 / 8, 9 / 32
"""Reach of the search, and of the search for wild frames, over the side of a pattern."""
LEAST_REACH_PX = 4
AGAIN_STEPS, AGAIN_PASSES, AGAIN_FIT_PASSES = 3, 5, 4
"""Steps of the search, passes of the last descent and of quick pictures where most frames were found before."""
MOST_STEPS, STILL_PX = 12, 0.7
TRIAL_PASSES, STEADY_PASSES, DESCENT_PASSES, PROOF_PASSES = 8, 3, 20, 6
SPOILT = 2.5
"""Misfit of the quick picture, over that of the photons, from which the picture misleads a search: with 1e5
photons a frame, about 3 px of scatter."""
KNOWN_PROBE = 0.15
"""By how much of itself a probe may change and still tell scale, rotation and shear. The guess for the measured spiral changes by
0.31, and 0.05 is the most in simulated scans through the true probe."""
PASSES = 2 * (MOST_STEPS + 1) + TRIAL_PASSES + DESCENT_PASSES + 5 * PROOF_PASSES

Passes = Generator[None, None, Estimate]
Outcome = Generator[None, None, tuple[Estimate, Estimate]]


class Stages:
    """The stages on one scan."""

    def __init__(self, frames: Frames, bound_px: float | None) -> None:
        n = frames.size_px
        self.frames = frames
        self.reach_px = max(LEAST_REACH_PX, round(n * REACH_SHARE if bound_px is None else min(bound_px, n / 4)))
        self.wild_px = max(self.reach_px, round(n * WILD_SHARE)) if bound_px is None else self.reach_px
        self.canvas = SearchCanvas(frames.told_px, n, self.reach_px + self.wild_px, frames.amplitude.device)

    def run(self) -> Outcome:
        """Return the quick pictures at positions as told and as found."""
        told = yield from self._fitted(self.frames.told_px)
        best, least = self._start(told), told.square
        ways = self._ways(told)
        for way in ways:
            estimate = yield from way
            square = (yield from self._fitted(estimate.positions_px)).square if len(ways) > 1 else 0.0
            if square < least:
                best, least = estimate, square
        yield from self._descend(best, DESCENT_PASSES, moves_linear=self._knows(best.probe))
        return told, (yield from self._fitted(best.positions_px))

    def run_again(self, start_px: NDArray[np.float64], *, is_last: bool) -> Outcome:
        """Look for frames that came since most were found; return the quick pictures there and as found.

        While more frames are to come, wild frames and what is below a pixel are left to the ``last`` time.
        """
        start = yield from self._fitted(start_px, AGAIN_FIT_PASSES)
        best = yield from self._searched(self._start(start), AGAIN_STEPS, has_wild=is_last)
        if is_last:
            yield from self._descend(best, AGAIN_PASSES, moves_linear=self._knows(best.probe))
        return start, (yield from self._fitted(best.positions_px, AGAIN_FIT_PASSES))

    def _ways(self, told: Estimate) -> list[Passes]:
        is_known = self._knows(told.probe)
        ways = [self._near(told)] if is_known else []
        if told.square < SPOILT * noise_square(self.frames.amplitude):
            ways.append(self._searched(self._start(told)))
        return [*ways, self._searched(None)]

    def _near(self, told: Estimate) -> Passes:
        estimate = self._start(told)
        yield from self._descend(estimate, TRIAL_PASSES, moves_linear=True)
        return estimate

    def _fitted(self, positions_px: NDArray[np.float64], passes: int = PROOF_PASSES) -> Passes:
        """Return a quick picture at these positions."""
        fit = Fit(self.frames, positions_px)
        for _ in range(passes):
            fit.run()
            yield
        return fit.estimate

    def _descend(self, estimate: Estimate, passes: int, *, moves_linear: bool) -> Generator[None, None, None]:
        """Improve an estimate; the linear part follows once the picture has settled."""
        descent = Descent(self.frames, self.canvas, estimate)
        for number in range(passes):
            descent.run(moves_linear=moves_linear and number >= STEADY_PASSES)
            yield

    def _start(self, told: Estimate) -> Estimate:
        """Return a quick picture on the canvas of the search, with the probe as it was given."""
        (height, width), picture = told.picture.shape, self.canvas.ones()
        y, x = (self.canvas.corners(told.positions_px).min(axis=0) - 1).tolist()
        picture[y : y + height, x : x + width] = told.picture
        return Estimate(picture, self._known_or(told.probe), told.positions_px.copy())

    def _searched(self, start: Estimate | None, most_steps: int = MOST_STEPS, *, has_wild: bool = True) -> Passes:
        search = Search(self.frames, self.canvas, start, self.reach_px)
        for _ in range(most_steps):
            moved = search.step()
            yield
            if moved < STILL_PX:
                break
        if has_wild:
            replace_wild(search, self.wild_px)
            yield
        return Estimate(search.picture, self._known_or(search.probe), search.positions_px)

    def _known_or(self, probe: Tensor) -> Tensor:
        """Return the given probe where this one differs little from it, else this one."""
        return (self.frames.probe if self._knows(probe) else probe).clone()

    def _knows(self, probe: Tensor) -> bool:
        """Return whether a probe is still the given one, but for a factor."""
        given = self.frames.probe
        likeness = float((given.conj() * probe).sum().abs() / (given.norm() * probe.norm()).clamp_min(TINY))
        return likeness**2 > 1 - KNOWN_PROBE**2


def noise_square(amplitude: Tensor) -> float:
    """Return the square misfit that photons leave: 1/4 a pixel, and the mean counts where they are fewer."""
    valid = amplitude >= 0
    frames = valid.sum(0)
    counts = torch.where(valid, amplitude, 0.0).square().sum(0) / frames.clamp_min(1)
    return float((counts.clamp_max(0.25) * frames).sum())
