"""The refined layer of several engines: each tells its picture, tile by tile; they are aligned in phase and blended.

A pixel is the mean of the parts, each weighted by the coverage of its own frames, in which the parts of one another fade out
over the width of a probe. The weights of all parts add up to the coverage of one engine with all frames.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.mosaic.canvas import Box
from ptychopinn.mosaic.merged import MergedParts, PlaneKinds, whole
from ptychopinn.refine.alignment import aligned, ramp_on

REFINED_PLANES: PlaneKinds = {"object": ((), torch.complex64, 0.0), "coverage": ((), torch.float32, 0.0)}
SEEN_RAD = 0.01
"""Turn of a part's phase that is not shown before it is larger, rad: no eye sees it, and each turn sends the part again."""

WeightOf = Callable[[Hashable, Box], Tensor]
"""Returns the coverage ``(h, w)`` of a part's own frames on a rectangle of the object's frame."""


@dataclass(frozen=True, slots=True, eq=False)
class RefinedTile:
    """Object ``(h, w)`` complex64 and coverage ``(h, w)`` float32 of a rectangle whose corner is (y, x) in the object's frame."""

    y: int
    x: int
    object: NDArray[np.complex64]
    coverage: NDArray[np.float32]

    @property
    def box(self) -> Box:
        """The rectangle in the object's frame."""
        return Box(self.y, self.x, *self.coverage.shape)


class MergedRefined(MergedParts):
    """The pictures of all parts, on the host."""

    def __init__(self, max_side_px: int) -> None:
        super().__init__(REFINED_PLANES, max_side_px)
        self._ramps: dict[Hashable, NDArray[np.float64]] = {}
        self._shown: dict[Hashable, NDArray[np.float64]] = {}

    def replace(self, part: Hashable, tiles: Iterable[RefinedTile]) -> None:
        """Take the picture of a part on some tiles, in place of those before."""
        for tile in tiles:
            self.lay(part, tile.box, {"object": tile.object, "coverage": tile.coverage})

    def rename(self, part: Hashable, into: Hashable) -> None:
        """Let a part stand in place of another."""
        super().rename(part, into)
        for ramps in (self._ramps, self._shown):
            if (own := ramps.pop(part, None)) is not None:
                ramps[into] = own

    def forget(self, part: Hashable) -> None:
        """Take a part away."""
        super().forget(part)
        self._ramps.pop(part, None)
        self._shown.pop(part, None)

    def align(self, shown: Sequence[Hashable], *, is_last: bool = False) -> None:
        """Find the relative phases of parts; tiles of a part that turns visibly, or for the last time, have changed then."""
        there = [part for part in shown if part in self._parts]
        before = np.array([self._ramps.get(part, np.zeros(3)) for part in there]).reshape(-1, 3)
        for part, ramp in zip(there, aligned([self._parts[part] for part in there], before), strict=True):
            self._ramps[part] = ramp
            turned = _largest_turn(ramp - self._shown.get(part, np.zeros(3)), whole(self._parts[part]))
            if turned > (0.0 if is_last else SEEN_RAD):
                self._shown[part] = ramp
                self._touch(whole(self._parts[part]))

    def read(self, weight_of: WeightOf, shown: Sequence[Hashable], box: Box | None = None) -> tuple[Tensor, Tensor]:
        """Return object ``(h, w)`` complex64 (0 where no frame lies) and coverage ``(h, w)`` float32 of the ``shown`` parts."""
        here = self._in_object(box)
        value, total = torch.zeros(here.h, here.w, dtype=torch.complex64), torch.zeros(here.h, here.w)
        for part in shown:
            own = self._parts.get(part)
            both = Box(0, 0, 0, 0) if own is None else here.shared(whole(own))
            if own is None or not both.h:
                continue
            mine, theirs = both.within(here).window, own.place(both).window
            weight = torch.where(own.planes["coverage"][theirs] > 0, weight_of(part, both), 0.0)
            turned = own.planes["object"][theirs]
            if part in self._shown:
                turned = turned * ramp_on(self._shown[part], both)
            value[mine] += weight * turned
            total[mine] += weight
        return torch.where(total > 0, value / total.clamp_min(torch.finfo(total.dtype).tiny), 0), total


def _largest_turn(ramp: NDArray[np.float64], box: Box) -> float:
    """Return the greatest phase of a ramp at the corners of a rectangle, rad."""
    phase, along_y, along_x = ramp
    corners = [phase + along_y * y + along_x * x for y in (box.y, box.y + box.h) for x in (box.x, box.x + box.w)]
    return float(np.abs(corners).max())
