"""Starts of second looks from the refined layer, which has brought the frames into agreement; the mosaic has not.

On samples of strong, slow phase a look from the mosaic changes little; one from the refined layer raises the network layer
nearly to it (decision 22). Where the probe is wrong the refined layer misleads: much of the sample's effect on the patterns is
left unexplained then although there are enough photons, and looks start from the mosaic.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.refine.certainty import Certainty
from ptychopinn.refine.refined_layer import Refiner

LOOK_VISITS = 10
"""Visits of a frame by the refiner from which its surroundings are better than the mosaic."""
MOST_UNEXPLAINED, SURE_NOISE = 0.3, 0.5
"""Greatest share of the sample's effect that may be unexplained, where noise is less than this share of the picture's phase.
Simulated scans: at most 0.17 where looks gained, from 0.35 on where a probe 12 % wrong made them worse."""
PERIOD_S = 1.0
"""Time between two judgements of the refined layer, which take some 20 ms."""


class RefinedStarts:
    """Implements :class:`ptychopinn.mosaic.second_look.BetterStarts`; ``refiner()`` is the scan's, None: there is none."""

    def __init__(self, refiner: Callable[[], Refiner | None]) -> None:
        self._refiner = refiner
        self._judged: Refiner | None = None
        self._judge_again = 0.0
        self._is_sound = False

    def is_awaited(self, index: int) -> bool:
        """Whether the refiner has not visited a frame often enough yet, and will."""
        refiner = self._refiner()
        visits = None if refiner is None or refiner.setbacks > 0 else refiner.visits(index)
        return visits is not None and visits < LOOK_VISITS

    def lay(self, starts: Tensor, indexes: Sequence[int], positions_px: NDArray[np.float64]) -> None:
        """Replace the starts ``(B, N, N)`` of frames that were visited often enough by the refined layer."""
        refiner = self._refiner()
        if refiner is None:
            return
        ready = [i for i, index in enumerate(indexes) if (refiner.visits(index) or 0) >= LOOK_VISITS]
        if ready and self._can_be_believed(refiner):
            for i in ready:
                starts[i] = refiner.cut(positions_px[i].tolist())

    def _can_be_believed(self, refiner: Refiner) -> bool:
        now = time.monotonic()
        if refiner is not self._judged or now >= self._judge_again:
            self._judged, self._judge_again = refiner, now + PERIOD_S
            self._is_sound = refiner.setbacks == 0 and is_sound(refiner.certainty())
        return self._is_sound


def is_sound(certainty: Certainty | None) -> bool:
    """Whether a refined layer explains the patterns as well as their noise allows."""
    return certainty is not None and (certainty.unexplained <= MOST_UNEXPLAINED or certainty.noise >= SURE_NOISE)
