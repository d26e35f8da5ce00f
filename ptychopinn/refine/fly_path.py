"""The way of the stage during an exposure, for fly scans: the probe of a frame is an incoherent sum over places on it.

The velocity of a frame is the distance to its neighbours in the scan. Where both differ, at the turn of a line, the shorter
one counts. The position of a frame is taken as the middle of its way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ptychopinn.refine.frame_blocks import Kept
from ptychopinn.refine.subpixel_shifts import STEPS, Shift

LEAST_PX = 0.5
"""Ways shorter than this, px, are not seen in the patterns."""
SPACING_PX = 2.0
"""Greatest distance of two places on the way, px; 1 px gave the same pictures."""
MOST_PLACES = 6
"""Places on a way at most: the time of a pass grows with their number."""
GRID = STEPS // 4
"""Places lie on this grid, in the steps of shifts: few copies of the probe serve many frames."""


def lay_paths(frames: Sequence[Kept], exposure_share: float) -> None:
    """Enter the way of each frame, from the frames before and after it; ``exposure_share`` of their distance is exposed."""
    places = {frame.index: np.array(frame.position_px) for frame in frames}
    ways = [exposure_share * _velocity(places, frame.index) for frame in frames]
    lengths = np.array([math.hypot(*way) for way in ways])
    moving = lengths[lengths >= LEAST_PX]
    count = min(MOST_PLACES, math.ceil(float(np.median(moving)) / SPACING_PX) + 1) if len(moving) else 0
    for frame, way, length in zip(frames, ways, lengths, strict=True):
        frame.path = _path(way, count) if length >= LEAST_PX else ()


def _velocity(places: dict[int, NDArray[np.float64]], index: int) -> NDArray[np.float64]:
    """Return the movement from one frame to the next, px; zero for a frame alone."""
    here = places[index]
    to = [places[index + 1] - here] if index + 1 in places else []
    since = [here - places[index - 1]] if index - 1 in places else []
    moves = to + since
    if not moves:
        return np.zeros(2)
    if len(moves) == 2 and math.hypot(*(moves[0] - moves[1])) < max(math.hypot(*move) for move in moves):
        mean: NDArray[np.float64] = (moves[0] + moves[1]) / 2
        return mean
    return min(moves, key=lambda move: math.hypot(*move))


def _path(way: NDArray[np.float64], count: int) -> tuple[Shift, ...]:
    along = (np.arange(count) + 0.5) / count - 0.5
    steps = (np.rint(along[:, None] * way * STEPS / GRID) * GRID).astype(int).tolist()
    return tuple((y, x) for y, x in steps)
