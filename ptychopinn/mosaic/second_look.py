"""Second looks: patches predicted again, starting from their stitched neighbours, in spare time.

Slow phase is nearly invisible to one pattern; once its neighbours lie on the mosaic, the same model looks again with the
mosaic as its start, and the better patch takes the old one's place exactly. A frame is due when the model has not looked
at it yet, or when its neighbourhood has grown by a third since; once the scan has ended, all frames that have looks left
are due, those with the fewest first. When the model is another, all are due, the newest first; with a model that looks only
once, each frame is due that something quicker has laid. A model that sees groups of frames gets each frame's group instead of
the mosaic as its start.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from ptychopinn.mosaic.mosaic import Mosaic

GROWTH = 4 / 3
"""Growth of a neighbourhood that makes a further look worth while."""
CANDIDATES = 64
"""Number of frames inspected in one step, so that a step takes little time."""
MOST_LOOKS = 2  # a third brings the phase nearer to the truth, but raises R and costs as much as the second

Predict = Callable[[TensorDict, Tensor | None, Tensor | None], Tensor]
"""``predict(group, start, support)``: patches ``(B, C, N, N)`` from start ``(B, C, N, N)`` complex64 and the weight of
the other frames there, float32, one frame's greatest weight 1; None where the group holds the neighbours."""


@dataclass(slots=True)
class _Frame:
    amplitude: Tensor
    position_px: tuple[float, float]
    looks: int
    neighbours: int


class Repaint:
    """Looks again at the frames of one scan.

    Parameters
    ----------
    mosaic
        Keeps the patches; a frame whose patch it has let go is not looked at again.
    weight : (N, N) float32
        Probe intensity, greatest value 1.
    most_looks
        Looks of one model that a frame gets at most, the first included.
    groups_of
        Gives the groups around frames, for models that see several frames at once.
    """

    def __init__(
        self,
        predict: Predict,
        mosaic: Mosaic,
        weight: Tensor,
        most_looks: int = MOST_LOOKS,
        groups_of: Callable[[Sequence[int]], list[TensorDict]] | None = None,
    ) -> None:
        self.most_looks = most_looks
        self._predict = predict
        self._mosaic = mosaic
        self._weight = weight
        self._groups_of = groups_of
        self._cell_px = mosaic.size_px // 4
        self._crowd: Counter[tuple[int, int]] = Counter()
        self._frames: OrderedDict[int, _Frame] = OrderedDict()
        self._last: deque[int] | None = None
        self._outdated: dict[int, None] = {}
        self.repainted = 0

    def add(self, index: int, amplitude: Tensor, position_px: tuple[float, float], looks: int) -> None:
        """Take a frame that was just laid, ``looks`` times looked at by the model (0: laid by something quicker).

        ``amplitude (N, N)`` has its zero frequency in the middle, -1 = no data.
        """
        self._crowd[self._cell(position_px)] += 1
        self._frames[index] = _Frame(amplitude, position_px, looks, self._neighbours(position_px))
        if looks == 0:
            self.laid_by_quicker([index])
        self.give_back()

    def give_back(self) -> None:
        """Let go of the oldest frames whose patches the mosaic has let go."""
        while self._frames and not self._mosaic.keeps(next(iter(self._frames))):
            self._frames.popitem(last=False)

    def laid_by_quicker(self, indexes: Sequence[int]) -> None:
        """Have frames that something quicker has laid, perhaps over an earlier patch, looked at by a model that looks once."""
        if self.most_looks == 1:
            self._outdated |= dict.fromkeys(index for index in indexes if index in self._frames)

    def step(self, most: int, has_ended: bool) -> int:
        """Look again at up to ``most`` frames that are due; return how many that were."""
        due = self._take_outdated(most) or (self._take_last(most) if has_ended else self._take_due(most))
        if due:
            self._look(due)
        return len(due)

    @property
    def has_work(self) -> bool:
        """Whether a frame is due, or may become it by more neighbours."""
        return bool(self._outdated) or (self.most_looks > 1 and not self.is_done)

    @property
    def is_mixed(self) -> bool:
        """Whether patches of a quicker or an earlier model lie beside those of a model that looks only once.

        The two may differ in brightness, so such a picture is not finished.
        """
        return self.most_looks == 1 and bool(self._outdated)

    @property
    def is_done(self) -> bool:
        """Whether the last round, after the scan's end, is over."""
        return self._last is not None and not self._last and not self._outdated

    def begin_again(self, predict: Predict, most_looks: int) -> None:
        """Have every frame looked at again by another model, the newest first."""
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
            has_grown = self._neighbours(frame.position_px) >= GROWTH * frame.neighbours
            if frame.looks == 0 or (frame.looks < self.most_looks and has_grown):
                due.append(index)
                if len(due) == most:
                    break
        return due

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

    def _look(self, indexes: list[int]) -> None:
        frames = [self._frames[i] for i in indexes]
        if self._groups_of is None:
            self._look_around(indexes, frames)
        else:
            for group in self._groups_of(indexes):
                keys = group["center_scan_id"].tolist()
                places = np.array([self._frames[key].position_px for key in keys])
                self._mosaic.add(keys, self._predict(group, None, None)[:, 0], places)
        for frame in frames:
            frame.looks += 1
            frame.neighbours = self._neighbours(frame.position_px)
        self.repainted += len(indexes)

    def _look_around(self, indexes: list[int], frames: list[_Frame]) -> None:
        starts, supports = zip(
            *(self._mosaic.surroundings(frame.position_px, self._weight) for frame in frames), strict=True
        )
        images = torch.stack([frame.amplitude for frame in frames])[:, None]
        group = TensorDict({"images": images}, batch_size=[len(frames)])
        patches = self._predict(group, torch.stack(starts)[:, None], torch.stack(supports)[:, None])[:, 0]
        self._mosaic.add(indexes, patches, np.array([frame.position_px for frame in frames]))

    def _cell(self, position_px: tuple[float, float]) -> tuple[int, int]:
        return round(position_px[0] / self._cell_px), round(position_px[1] / self._cell_px)

    def _neighbours(self, position_px: tuple[float, float]) -> int:
        """Return how many frames, itself among them, lie within about half a patch."""
        y, x = self._cell(position_px)
        return sum(self._crowd[y + dy, x + dx] for dy in (-2, -1, 0, 1, 2) for dx in (-2, -1, 0, 1, 2))
