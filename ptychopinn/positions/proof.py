"""Whether positions that were found are taken: they fit better than chance allows, and frames stay where they are.

Wrong positions fit, too: with vibration of 8 px a search ended 12 px off in the median, frames stayed there, and 72 % of the
misfit beyond the photons' noise had gone. At the right positions 93 % go through a known probe. Through the poor guess of the
measured spiral 65 % go, over 8 px in the mean, half of the search's reach. So through a known probe more is asked, and through
another errors beyond the reach are not believed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ptychopinn.positions.canvas import SearchCanvas
from ptychopinn.positions.drift_guard import steadied
from ptychopinn.positions.fitting import Estimate, on_canvas
from ptychopinn.positions.scan import Frames, noise_square
from ptychopinn.positions.search import MOVE, Search

WORTH = 5.0
"""By how much more than chance the fit must gain for each number found: 2 sum (|F(P O)| - a)^2 falls by 1 for each."""
LEAST_FALL, FALL_PER_PX, FALL_PER_LINEAR_PX, MOST_FALL, MOST_FALL_KNOWN = 0.05, 0.1, 0.04, 0.35, 0.8
"""Share of the misfit beyond the photons' noise that must go, more for larger errors: with a wrong probe frames fit far from
their true place a little better, too (22 % less for 12 px on the measured Siemens star with a guessed probe). The linear
part needs less: neighbours hardly feel it (10 % for 1 px), and it moves only through a probe that is known."""
RESTLESS_PX, RESTLESS_SHARE = 1.0, 0.2
"""How far most frames may go at one more registration, pixels, or over the error found."""
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
    is_known = frames.knows(told.probe)
    most = MOST_FALL_KNOWN if is_known else MOST_FALL
    least = min(most, LEAST_FALL + FALL_PER_PX * error_px + FALL_PER_LINEAR_PX * linear_px)
    if fall <= least * (told.square - noise_square(frames.amplitude)):
        return False
    if not is_known and error_px > REACH_SHARE * frames.size_px:
        return False
    restless_px = float(np.quantile(moves_again(frames, found), MOST))
    return restless_px < max(RESTLESS_PX, RESTLESS_SHARE * (error_px + linear_px))


def moves_again(frames: Frames, found: Estimate) -> NDArray[np.float64]:
    """Return how far each frame goes, pixels ``(n,)``, if all are registered once more on the picture of the others."""
    places, reach_px = found.positions_px, round(frames.size_px * REACH_SHARE)
    canvas = SearchCanvas(places, frames.size_px, reach_px + 1, frames.amplitude.device)
    start = Estimate(on_canvas(found, canvas), found.probe, places)
    search = Search(Frames(frames.amplitude, places, frames.probe), canvas, start, reach_px)
    search.step()
    return np.asarray(np.hypot(*(search.positions_px - places).T) / MOVE)
