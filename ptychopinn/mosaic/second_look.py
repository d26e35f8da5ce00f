"""Second looks: patches are predicted again in idle time, starting from their stitched neighbours.

A single pattern hardly shows slow phase. Once the neighbours of a frame are on the mosaic, the model predicts the frame again
with the mosaic as its start, and the better patch replaces the old one exactly. A frame is due if the model has not looked at
it yet, or if its neighbourhood has grown by a third since then. When the scan has ended, all frames with looks left are due,
those with the fewest looks first. Where an iterative reconstruction of the frames runs beside it, second looks start from that
one, and wait for it (:class:`BetterStarts`). After a change of the model all frames are due, the newest first. With a model that
looks only once, the frames of the quick model are due. A model for groups of frames gets the group of each frame instead of the
mosaic.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.frame_store import Pattern, at_middle
from ptychopinn.mosaic.mosaic import Mosaic
from ptychopinn.tensor_dict import TensorDict

GROWTH = 4 / 3
"""Growth of a neighbourhood that makes a further look worth while."""
CANDIDATES = 64
"""Number of frames inspected in one step, so that a step takes little time."""
MOST_LOOKS = 2
"""Greatest number of looks: a third brings the phase nearer to the truth, but raises R and costs as much as the second."""

Predict = Callable[[TensorDict, Tensor | None, Tensor | None], Tensor]
"""``predict(group, start, support)`` returns patches ``(B, C, N, N)``. ``start (B, C, N, N)`` complex64 is the mosaic,
``support`` float32 the weight
of the other frames there (the greatest weight of a frame is 1); both are None for a group that has the neighbours."""


class BetterStarts(Protocol):
    """Starts of second looks that are better than the mosaic, for the frames that have one."""

    def is_awaited(self, index: int) -> bool:
        """Whether a frame has no better start yet, but will have one."""

    def lay(self, starts: Tensor, indexes: Sequence[int], positions_px: NDArray[np.float64]) -> None:
        """Replace starts ``(B, N, N)`` of frames by better ones."""


@dataclass(slots=True)
class _LaidFrame:
    pattern: Pattern
    position_px: tuple[float, float]
    looks: int
    neighbours: int


class SecondLooks:
    """Predicts the frames of one scan again.

    Parameters
    ----------
    mosaic
        Keeps the patches; a frame whose patch it has released is not predicted again.
    weight : (N, N) float32
        Probe intensity, greatest value 1.
    most_looks
        Greatest number of looks of one model at a frame, including the first.
    groups_of
        Returns the groups around frames, for models of groups; None: single frames.
    better
        Gives starts that are better than the mosaic; None: there are none.
    """

    def __init__(
        self,
        predict: Predict,
        mosaic: Mosaic,
        weight: Tensor,
        most_looks: int = MOST_LOOKS,
        groups_of: Callable[[Sequence[int]], list[TensorDict]] | None = None,
        better: BetterStarts | None = None,
    ) -> None:
        self.most_looks = most_looks
        self._predict = predict
        self._mosaic = mosaic
        self._weight = weight
        self._groups_of = groups_of
        self._better = better
        self._cell_px = mosaic.size_px // 4
        self._crowd: Counter[tuple[int, int]] = Counter()
        self._frames: OrderedDict[int, _LaidFrame] = OrderedDict()
        self._last: deque[int] | None = None
        self._outdated: dict[int, None] = {}
        self.repainted = 0

    def add(self, index: int, pattern: Pattern, position_px: tuple[float, float], looks: int) -> None:
        """Add a frame that was just stitched; the model has looked at it ``looks`` times (0: the quick model did)."""
        self._crowd[self._cell(position_px)] += 1
        self._frames[index] = _LaidFrame(pattern, position_px, looks, self._neighbours(position_px))
        if looks == 0:
            self.mark_quick([index])
        self.drop_released()

    def move(self, places: Mapping[int, tuple[float, float]]) -> None:
        """Take other positions of frames; they are due another look, beside their new neighbours."""
        here = {index: frame for index in places if (frame := self._frames.get(index)) is not None}
        for index, frame in here.items():
            self._crowd[self._cell(frame.position_px)] -= 1
            frame.position_px = places[index]
            self._crowd[self._cell(frame.position_px)] += 1
            frame.looks, frame.neighbours = min(frame.looks, self.most_looks - 1), 0
        self._last = None
        if self._groups_of is not None:
            self.mark_quick(list(here))

    def drop_released(self) -> None:
        """Drop the oldest frames whose patches the mosaic has released."""
        while self._frames and not self._mosaic.keeps(next(iter(self._frames))):
            self._frames.popitem(last=False)

    def mark_quick(self, indexes: Sequence[int]) -> None:
        """Mark frames of the quick model as due for a model that looks only once."""
        if self.most_looks == 1:
            self._outdated |= dict.fromkeys(index for index in indexes if index in self._frames)

    def step(self, most: int, has_ended: bool) -> int:
        """Predict up to ``most`` due frames again; return their number."""
        due = self._take_outdated(most) or (self._take_last(most) if has_ended else self._take_due(most))
        if due:
            self._predict_again(due)
        return len(due)

    @property
    def has_work(self) -> bool:
        """Whether a frame is due, or can become due with more neighbours."""
        return bool(self._outdated) or (self.most_looks > 1 and not self.is_done)

    @property
    def is_mixed(self) -> bool:
        """Whether patches of the quick or of an earlier model are beside those of a model that looks only once.

        They can differ in brightness, so such a picture is not complete.
        """
        return self.most_looks == 1 and bool(self._outdated)

    @property
    def is_done(self) -> bool:
        """Whether the last round, after the end of the scan, is complete."""
        return self._last is not None and not self._last and not self._outdated

    def use_model(self, predict: Predict, most_looks: int) -> None:
        """Use another model; all frames are due, the newest first."""
        self._predict, self.most_looks = predict, most_looks
        self._outdated = dict.fromkeys(self._frames)

    def _take_outdated(self, most: int) -> list[int]:
        due: list[int] = []
        while self._outdated and len(due) < most:
            index, _ = self._outdated.popitem()
            if index in self._frames and self._mosaic.keeps(index):
                due.append(index)
        return due

    def _take_due(self, most: int) -> list[int]:
        due: list[int] = []
        for _ in range(min(CANDIDATES, len(self._frames))):
            index, frame = self._frames.popitem(last=False)
            if not self._mosaic.keeps(index):
                continue
            self._frames[index] = frame
            if frame.looks == 0 or (frame.looks < self.most_looks and self._has_better_start(index, frame)):
                due.append(index)
                if len(due) == most:
                    break
        return due

    def _has_better_start(self, index: int, frame: _LaidFrame) -> bool:
        """Whether a further look at a frame would now start from a better picture than the last one."""
        if self._better is not None and self._better.is_awaited(index):
            return False
        return self._neighbours(frame.position_px) >= GROWTH * frame.neighbours

    def _take_last(self, most: int) -> list[int]:
        if self._last is None:
            looks = {index: frame.looks for index, frame in self._frames.items() if frame.looks < self.most_looks}
            self._last = deque(sorted(looks, key=looks.__getitem__))
        due: list[int] = []
        while self._last and len(due) < most:
            index = self._last.popleft()
            frame = self._frames.get(index)
            if frame and self._mosaic.keeps(index) and (self._neighbours(frame.position_px) > 1 or not frame.looks):
                due.append(index)
        return due

    def _predict_again(self, indexes: list[int]) -> None:
        frames = [self._frames[i] for i in indexes]
        if self._groups_of is None:
            self._predict_from_mosaic(indexes, frames)
        else:
            for group in self._groups_of(indexes):
                keys = group["center_scan_id"].tolist()
                places = np.array([self._frames[key].position_px for key in keys])
                self._mosaic.add(keys, self._predict(group, None, None)[:, 0], places)
        for frame in frames:
            frame.looks += 1
            frame.neighbours = self._neighbours(frame.position_px)
        self.repainted += len(indexes)

    def _predict_from_mosaic(self, indexes: list[int], frames: list[_LaidFrame]) -> None:
        places = np.array([frame.position_px for frame in frames])
        starts, supports = self._mosaic.surroundings(places, self._weight)
        if self._better is not None:
            self._better.lay(starts, indexes, places)
        images = at_middle([frame.pattern for frame in frames])[:, None]
        group = TensorDict({"images": images}, batch_size=[len(frames)])
        patches = self._predict(group, starts[:, None], supports[:, None])[:, 0]
        self._mosaic.add(indexes, patches, places)

    def _cell(self, position_px: tuple[float, float]) -> tuple[int, int]:
        return round(position_px[0] / self._cell_px), round(position_px[1] / self._cell_px)

    def _neighbours(self, position_px: tuple[float, float]) -> int:
        """Return the number of frames within about half a patch of a position, including its own."""
        y, x = self._cell(position_px)
        return sum(self._crowd[y + dy, x + dx] for dy in (-2, -1, 0, 1, 2) for dx in (-2, -1, 0, 1, 2))
