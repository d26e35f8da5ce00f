"""Frames of other engines whose probe reaches into this one's region: they help its refined layer, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from daemon.engine.options import EngineOptions
from ptychopinn.model import Model
from ptychopinn.mosaic.canvas import Box
from ptychopinn.mosaic.groups import GroupFrame
from ptychopinn.mosaic.merged import picture_of
from ptychopinn.mosaic.mosaic import Mosaic
from ptychopinn.refine.refined_layer import Refiner
from ptychopinn.tensor_dict import TensorDict


class Halo:
    """The halo of one scan. Its frames have a mosaic of their own, so that the sums of the region stay those of its frames."""

    def __init__(self, weight: Tensor, options: EngineOptions, region: Mosaic) -> None:
        self._region = region
        self._mosaic = Mosaic(weight, options.max_side_px, bound=options.canvas_bound)
        self._indexes: set[int] = set()

    def picture(self, box: Box) -> Tensor:
        """Return the network's picture ``(h, w)`` from the frames of region and halo."""
        return picture_of((self._region, self._mosaic), box)

    def take(self, frames: Sequence[GroupFrame], groups: Sequence[TensorDict], model: Model, refiner: Refiner) -> None:
        """Lay frames, with the patches of a model, and give them to the refined layer; they are in groups of one."""
        for group in groups:
            places = np.array([frame.position_px for frame in frames], dtype=np.float64)
            self._mosaic.add([frame.index for frame in frames], model.predict(group)[:, 0], places)
            for frame, pattern in zip(frames, group["images"][:, 0].unbind(0), strict=True):
                if self.is_new(refiner, frame.index):
                    refiner.add(frame.index, pattern, frame.position_px)
                    self._indexes.add(frame.index)

    def is_new(self, refiner: Refiner, index: int) -> bool:
        """Whether the refined layer lacks a frame; one may belong to the halo first, and to the region later."""
        return index not in self._indexes and refiner.visits(index) is None
