"""The stages of the finder: quick fits, searches, wild frames, descents. A ``yield`` ends each pass over the frames.

Three ways lead from the told positions to the last descent. A descent from a quick picture finds small errors, and scale,
rotation, shear and drift of several pixels; a search from that picture finds errors of a few pixels; a search from an empty
picture, which wrong positions have not spoilt, finds large ones. The positions that fit best, in as many passes from an
empty picture, are taken. Errors as large as the steps between frames spoil all three: where frames fit badly still, and the
probe is known, patches that frames show alone are registered in pairs, and the descent and the search begin from there.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.positions.alone import patches_alone
from ptychopinn.positions.canvas import SearchCanvas
from ptychopinn.positions.descent import Descent
from ptychopinn.positions.expected_misfits import PROOF_PASSES
from ptychopinn.positions.fitting import Estimate, Fit, on_canvas
from ptychopinn.positions.loops import joined
from ptychopinn.positions.pairs import lit_side, registered
from ptychopinn.positions.proof import REACH_SHARE
from ptychopinn.positions.scan import Frames, noise_square
from ptychopinn.positions.search import Search
from ptychopinn.positions.wild import replace_wild

WILD_SHARE = 9 / 32
"""Reach of the search for wild frames, over the side of a pattern."""
LEAST_REACH_PX, LEAST_WILD_PX = 4, 32
AGAIN_STEPS, AGAIN_PASSES, AGAIN_FIT_PASSES = 3, 6, 4
"""Steps of the search, passes of the last descent and of quick pictures where most frames were found before."""
MOST_STEPS, STILL_PX = 12, 0.7
TRIAL_PASSES, STEADY_PASSES, DESCENT_PASSES = 8, 3, 20
SPOILT = 2.5
"""Misfit of the quick picture, over that of the photons, from which the picture misleads a search: with 1e5
photons a frame, about 3 px of scatter."""
UNSOLVED = 1.3
"""Misfit of the quick picture at the positions found, over that of the photons, from which pairs of frames are tried."""
HELPED = 0.95
"""Misfit at the positions found, over that at those told, from which on pairs are not tried: where no way finds better positions
at all, those told are right and probe or sample are to blame. Errors of 8 to 15 px left 0.38 to 0.86 after the first search."""
MOST_JOINED = 1024
"""Frames up to which pairs are tried: a table of all pairs is kept."""
PAIR_PX = 32.0
"""By how much two frames that overlap may seem to lie apart, pixels."""
PAIR_ROUNDS: tuple[tuple[tuple[float, ...], float], ...] = (((12.0, 20.0, 30.0), 4.0), ((6.0, 20.0), 3.0))
"""Usual errors of that, pixels, for two rounds: each of the first is tried and the positions that fit best are taken, the last
follows once pairs have said where frames lie. With scatter of 8 px on one scan 42 % of the frames came within 3 px with 12, all
with 30."""
PAIR_FIT_PASSES = 3
"""Passes of the quick pictures that choose."""
FIRST_PASSES = 2 * (MOST_STEPS + 1) + TRIAL_PASSES + DESCENT_PASSES + 5 * PROOF_PASSES
PAIR_PASSES = 1 + MOST_STEPS + 1 + TRIAL_PASSES + DESCENT_PASSES + 4 * PROOF_PASSES
PASSES = FIRST_PASSES + sum(PAIR_PASSES + len(spreads) * (1 + PAIR_FIT_PASSES) for spreads, _ in PAIR_ROUNDS)

Passes = Generator[None, None, Estimate]
Outcome = Generator[None, None, tuple[Estimate, Estimate]]


class Stages:
    """The stages on one scan."""

    def __init__(self, frames: Frames, bound_px: float | None) -> None:
        n = frames.size_px
        self.frames = frames
        self.bound_px = bound_px
        self.reach_px = max(LEAST_REACH_PX, round(n * REACH_SHARE if bound_px is None else min(bound_px, n / 4)))
        self.wild_px = max(LEAST_WILD_PX, round(n * WILD_SHARE)) if bound_px is None else self.reach_px
        self.canvas = SearchCanvas(frames.told_px, n, self.reach_px + self.wild_px, frames.amplitude.device)

    def run(self) -> Outcome:
        """Return the quick pictures at positions as told and as found."""
        told = yield from self._fitted(self.frames.told_px)
        found = yield from self._best(told, self._ways(told))
        start_px = self.frames.told_px
        for spreads_px, last_px in PAIR_ROUNDS:
            if not self._may_join(told, found):
                break
            again = yield from self._found_by_pairs(start_px, spreads_px, last_px)
            if again.square >= found.square:
                break
            found, start_px = again, again.positions_px
        return told, found

    def _best(self, told: Estimate, ways: list[Passes]) -> Passes:
        """Return the quick picture at the positions that fit best of all ways, after the last descent."""
        best, least = self._start(told), told.square
        for way in ways:
            estimate = yield from way
            square = (yield from self._fitted(estimate.positions_px)).square if len(ways) > 1 else 0.0
            if square < least:
                best, least = estimate, square
        yield from self._descend(best, DESCENT_PASSES, moves_linear=self.frames.knows(best.probe))
        return (yield from self._fitted(best.positions_px))

    def _may_join(self, told: Estimate, found: Estimate) -> bool:
        """Return whether frames fit badly still, and pairs of them may tell more."""
        is_few = len(self.frames) <= MOST_JOINED and self.bound_px is None
        is_bad = found.square > UNSOLVED * noise_square(self.frames.amplitude)
        return is_few and is_bad and found.square < HELPED * told.square and self.frames.knows(told.probe)

    def _found_by_pairs(self, places: NDArray[np.float64], spreads_px: tuple[float, ...], last_px: float) -> Passes:
        """Return the quick picture at positions found from those on which pairs of frames agree."""
        frames, patches = self.frames, patches_alone(self.frames)
        told_px, least = places, np.inf
        for spread_px in spreads_px:
            yield
            trial_px = self._joined(patches, told_px, spread_px)
            square = (yield from self._fitted(trial_px, PAIR_FIT_PASSES)).square
            if square < least:
                places, least = trial_px, square
        yield
        around = Stages(replace(frames, told_px=self._joined(patches, places, last_px)), self.bound_px)
        told = yield from around._fitted(around.frames.told_px)
        return (yield from around._best(told, [around._near(told), around._searched(around._start(told))]))

    def _joined(self, patches: Tensor, places: NDArray[np.float64], spread_px: float) -> NDArray[np.float64]:
        """Return the positions on which pairs of frames agree, for distances that err by about ``spread_px``."""
        probe = self.frames.probe
        return joined(places, registered(patches, probe, places, spread_px, lit_side(probe) / 2 + PAIR_PX))[0]

    def run_again(self, start_px: NDArray[np.float64], *, is_last: bool) -> Outcome:
        """Look for frames that came since most were found; return the quick pictures there and as found.

        While more frames are to come, wild frames and what is below a pixel are left to the ``last`` time.
        """
        start = yield from self._fitted(start_px, AGAIN_FIT_PASSES)
        best = yield from self._searched(self._start(start), AGAIN_STEPS, has_wild=is_last)
        if is_last:
            yield from self._descend(best, AGAIN_PASSES, moves_linear=self.frames.knows(best.probe))
        return start, (yield from self._fitted(best.positions_px, AGAIN_FIT_PASSES))

    def _ways(self, told: Estimate) -> list[Passes]:
        is_known = self.frames.knows(told.probe)
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
        return Estimate(on_canvas(told, self.canvas), self._known_or(told.probe), told.positions_px.copy())

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
        return (self.frames.probe if self.frames.knows(probe) else probe).clone()
