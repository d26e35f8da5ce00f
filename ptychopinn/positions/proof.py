"""The proof of found positions: they must fit better than chance allows, and frames must stay where they are.

Wrong positions fit, too. A search may end with blocks of frames that fit each other and lie 10 px from where they should: with
vibration of 8 px at 60 % overlap the median frame ended 10 px off, and 80 % of the misfit beyond the photons' noise had gone.
Frames at the edges of such blocks move when all are registered once more, and a share of the misfit stays. At right positions
through a known probe frames stay, 87 to 96 % of what can go does, and all frames fit about as well as they should
(:mod:`ptychopinn.positions.expected_misfits`). Through the poor guess of the measured spiral 65 % go, over
8 px in the mean, half of the search's reach; through such a probe larger errors are not believed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ptychopinn.positions.canvas import SearchCanvas
from ptychopinn.positions.drift_guard import steadied
from ptychopinn.positions.expected_misfits import misfit_ratios
from ptychopinn.positions.fitting import Estimate, on_canvas
from ptychopinn.positions.scan import Frames, noise_square
from ptychopinn.positions.search import MOVE, Search

WORTH = 5.0
"""By how much more than chance the fit must gain for each number found: 2 sum (|F(P O)| - a)^2 falls by 1 for each."""
LEAST_FALL, FALL_PER_PX, FALL_PER_LINEAR_PX, MOST_FALL, MOST_FALL_KNOWN = 0.05, 0.1, 0.04, 0.35, 0.86
"""Share of the misfit beyond the photons' noise that must go, more for larger errors: with a wrong probe frames fit far from
their true place a little better, too (22 % less for 12 px on the measured Siemens star with a guessed probe). The linear
part needs less: neighbours hardly feel it (10 % for 1 px), and it moves only through a probe that is known."""
LARGE_SHARE = 1 / 16
"""Error from which it is large, over the side of a pattern: a search can then end far from the truth."""
QUICK = 1.2
"""Misfit of a quick picture at the right positions, over the photons' noise: 1.22 to 1.29 in simulated scans. Where few frames
overlap, errors of 8 px leave only 2.3 times the noise, so more than 80 % of what is beyond the noise itself can never go."""
RESTLESS_PX = 1.0
"""How far most frames may go at one more registration, pixels, at most."""
RESTLESS_LARGE_PX, RESTLESS_SMALL_PX, BRIGHT = 0.5, 0.75, 1e5
"""The same after large and small errors through a known probe, and the photons a frame from which it holds: it grows as the
fourth root of what is lacking. At right positions 0.17 to 0.44 px at 70 % overlap, 0.54 to 1.3 with 1e4 photons; where blocks of
frames lie 15 px off 0.22 to 1.5."""
UNEVEN, NEARLY_ALL = 1.3, 0.9
"""Misfit of the frame that only a tenth exceed, each over what it should be, in units of the median frame's, from which positions
are wrong. At right positions 1.10 to 1.20 (1e4 to 1e6 photons, overlap 60 to 80 %), where a tenth of the frames or more lay wrong
1.5 to 3.6."""
MOST = 0.75
"""Share of the frames that are most of them: a few wild ones may stay lost."""
REACH_SHARE = 1 / 8
"""Reach of that registration, and of the search, over the side of a pattern."""


def is_better(frames: Frames, told: Estimate, found: Estimate) -> bool:
    """Return whether the fit gains more at found positions than chance and a wrong probe allow, and frames stay there."""
    fall = told.square - found.square
    if not (found.rfactor < told.rfactor and 2 * fall / found.noise > WORTH * 2 * len(frames)):
        return False
    moved = found.positions_px - told.positions_px
    single = steadied(told.positions_px, found.positions_px) - told.positions_px
    error_px, linear_px = (float(np.hypot(*part.T).mean()) for part in (single, moved - single))
    is_known, is_large = frames.knows(told.probe), error_px > LARGE_SHARE * frames.size_px
    most = MOST_FALL_KNOWN if is_known else MOST_FALL
    least = min(most, LEAST_FALL + FALL_PER_PX * error_px + FALL_PER_LINEAR_PX * linear_px)
    floor = noise_square(frames.amplitude) * (QUICK if is_large else 1.0)
    if fall <= least * (told.square - floor):
        return False
    if not is_known and error_px > REACH_SHARE * frames.size_px:
        return False
    if is_known and is_large and not fits_evenly(frames, found):
        return False
    most_px = RESTLESS_PX
    if is_known:
        most_px = _restless_px(frames, RESTLESS_LARGE_PX if is_large else RESTLESS_SMALL_PX)
    return float(np.quantile(moves_again(frames, found), MOST)) < most_px


def fits_evenly(frames: Frames, found: Estimate) -> bool:
    """Return whether nearly all frames fit as well, for what each of them should, as the median frame."""
    ratios = misfit_ratios(frames, found)
    return float(np.quantile(ratios, NEARLY_ALL)) < UNEVEN * float(np.median(ratios))


def _restless_px(frames: Frames, bright_px: float) -> float:
    """Return how far most frames may go through a known probe, from how far they may go with enough photons."""
    photons = float(frames.amplitude.clamp_min(0).square().sum((1, 2)).median())
    return float(min(RESTLESS_PX, bright_px * max(1.0, BRIGHT / max(photons, 1.0)) ** 0.25))


def moves_again(frames: Frames, found: Estimate) -> NDArray[np.float64]:
    """Return how far each frame goes, pixels ``(n,)``, if all are registered once more on the picture of the others."""
    places, reach_px = found.positions_px, round(frames.size_px * REACH_SHARE)
    canvas = SearchCanvas(places, frames.size_px, reach_px + 1, frames.amplitude.device)
    start = Estimate(on_canvas(found, canvas), found.probe, places)
    search = Search(Frames(frames.amplitude, places, frames.probe), canvas, start, reach_px)
    search.step()
    return np.asarray(np.hypot(*(search.positions_px - places).T) / MOVE)
