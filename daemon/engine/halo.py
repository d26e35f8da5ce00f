"""Frames of other engines whose probe reaches into this one's region: they help its refined layer, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from daemon.engine.options import EngineOptions
from ptychopinn.mosaic.canvas import Box
from ptychopinn.mosaic.merged import picture_of
from ptychopinn.mosaic.mosaic import Mosaic
from ptychopinn.refine.refined_layer import Refiner


class Halo:
    """The halo of one scan. Its frames have a mosaic of their own, so that the sums of the region stay those of its frames."""

    def __init__(self, weight: Tensor, options: EngineOptions, region: Mosaic) -> None:
        self._region = region
        self._mosaic = Mosaic(weight, options.max_side_px, bound=options.canvas_bound)
        self._indexes: set[int] = set()

    def picture(self, box: Box) -> Tensor:
        """Return the network's picture ``(h, w)`` from the frames of region and halo."""
        return picture_of((self._region, self._mosaic), box)

    def lay(self, indexes: Sequence[int], patches: Tensor, places: Sequence[tuple[float, float]]) -> None:
        """Lay the patches ``(B, N, N)`` of frames at their places."""
        self._mosaic.add(indexes, patches, np.array(places, dtype=np.float64))

    def give(self, refiner: Refiner, frames: Sequence[tuple[int, tuple[float, float]]], amplitude: Tensor) -> None:
        """Give frames, each an index and a place, with their amplitudes ``(B, N, N)`` to the refined layer."""
        for (index, place), pattern in zip(frames, amplitude.unbind(0), strict=True):
            if self.is_new(refiner, index):
                refiner.add(index, pattern, place)
                self._indexes.add(index)

    def is_new(self, refiner: Refiner, index: int) -> bool:
        """Whether the refined layer lacks a frame; one may belong to the halo first, and to the region later."""
        return index not in self._indexes and refiner.visits(index) is None
