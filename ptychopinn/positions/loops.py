"""Positions from the distances of pairs of frames, most of which may be wrong.

Right distances close loops: one to two, two to three and three back to one add up to nothing. Distances by chance
seldom do. So pairs that lie in few closed loops are left out, again and again, and the rest is solved by least squares that far
ones hardly pull.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ptychopinn.positions.pairs import Pairs

PARTNERS = 16
"""Pairs that a frame keeps at first, the surest."""
CLOSED_PX = 2.0
"""By how much a loop of three registrations may miss, each of which is good to a pixel."""
LEAST_LOOPS, LEAST_CLOSED = 2, 0.3
"""Closed loops that a pair must lie in, and their least share of its loops: half of a right one's close where three quarters of
the pairs are right, a few in a hundred of a wrong one's."""
MOST_ROUNDS, SOLUTIONS = 8, 15
HELD = 1e-4
"""Pull towards the told positions, over the mean pull of a pair: frames that no pair holds stay."""
LEAST_WIDTH_PX = 0.5
"""Least width of the errors of distances that are believed."""

Places = NDArray[np.float64]
Links = NDArray[np.bool_]


def joined(told_px: Places, pairs: Pairs) -> tuple[Places, Links]:
    """Return positions ``(n, 2)`` that pairs agree on, and which frames they join, the largest group; others stay as told."""
    n = len(told_px)
    gain, apart = np.zeros((n, n)), np.zeros((n, n, 2))
    gain[pairs.one, pairs.other] = gain[pairs.other, pairs.one] = pairs.gain
    apart[pairs.one, pairs.other], apart[pairs.other, pairs.one] = pairs.apart_px, -pairs.apart_px
    links = _closing(_best_partners(gain), apart)
    group = _largest_group(links)
    links &= group[:, None]
    places = _solved(told_px, links, gain, apart)
    places[group] += np.median((told_px - places)[group], axis=0) if group.any() else 0.0
    return np.where(group[:, None], places, told_px), group


def _best_partners(gain: Places) -> Links:
    least = np.sort(gain, axis=1)[:, -min(PARTNERS, len(gain)), None]
    best: Links = (gain >= least) & (gain > 0)
    return best | best.T


def _closing(links: Links, apart: Places) -> Links:
    """Return the links that lie in enough closed loops of such links."""
    for _ in range(MOST_ROUNDS):
        loops = links.astype(np.int64) @ links.astype(np.int64)
        kept = links & (_closed(links, apart) >= np.maximum(LEAST_LOOPS, LEAST_CLOSED * loops))
        if (kept == links).all():
            break
        links = kept
    return links


def _closed(links: Links, apart: Places) -> NDArray[np.int64]:
    """Return the number of closed loops of three of each link ``(n, n)``."""
    count = np.zeros(links.shape, dtype=np.int64)
    for third, row in enumerate(links):
        here = np.flatnonzero(row)
        block = np.ix_(here, here)
        away = apart[here, third]
        missed = apart[block] - (away[:, None] - away[None])
        count[block] += links[block] & (np.hypot(missed[..., 0], missed[..., 1]) < CLOSED_PX)
    return count


def _largest_group(links: Links) -> Links:
    """Return the frames of the largest group that links join."""
    left, largest = np.full(len(links), True), np.zeros(len(links), dtype=bool)
    while left.any():
        group = np.zeros(len(links), dtype=bool)
        edge = np.arange(len(links)) == int(np.argmax(left))
        while edge.any():
            group |= edge
            edge = links[edge].any(axis=0) & ~group
        left &= ~group
        largest = group if group.sum() > largest.sum() else largest
    return largest


def _solved(told_px: Places, links: Links, gain: Places, apart: Places) -> Places:
    one, other = np.nonzero(np.triu(links))
    pull, distance = gain[one, other], apart[one, other]
    places: Places = told_px.copy()
    weights: Places = pull
    held = HELD * float(pull.mean()) if len(pull) else 1.0
    for _ in range(SOLUTIONS):
        matrix, right = np.zeros(links.shape), held * told_px
        np.add.at(matrix, (one, other), -weights)
        matrix += matrix.T
        np.fill_diagonal(matrix, held - matrix.sum(axis=1))
        np.add.at(right, one, weights[:, None] * distance)
        np.add.at(right, other, -weights[:, None] * distance)
        places = np.asarray(np.linalg.solve(matrix, right), dtype=np.float64)
        missed = np.hypot(*(places[one] - places[other] - distance).T)
        width = max(LEAST_WIDTH_PX, 1.5 * float(np.median(missed))) if len(missed) else LEAST_WIDTH_PX
        weights = np.asarray(pull / np.square(1 + np.square(missed / width)))
    return places
