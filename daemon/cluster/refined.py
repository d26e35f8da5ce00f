"""The reader's side of one scan's refined layer: the workers' pictures, aligned and blended, and their common probe."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from daemon.cluster.parts import Part
from daemon.cluster.plan import RefinedPart
from daemon.cluster.shared_probe import SharedProbe
from daemon.engine.result import ScanResult, finite
from ptychopinn.device import to_host
from ptychopinn.mosaic.canvas import Box
from ptychopinn.mosaic.merged import MergedMosaic
from ptychopinn.refine.certainty import Certainty
from ptychopinn.refine.merged import MergedRefined

PartKey = tuple[int, bool]
"""A worker, and whether its tiles are those of frames that are being done again."""


class RefinedScan:
    """Used under the scan's lock; ``mosaic`` gives the weights with which the workers' pictures are blended."""

    def __init__(self, mosaic: MergedMosaic, parts: Sequence[Part], shown: Sequence[PartKey], max_side_px: int) -> None:
        self._mosaic = mosaic
        self._parts = parts
        self._shown = shown
        self.picture = MergedRefined(max_side_px)
        self.probe = SharedProbe()

    @property
    def is_there(self) -> bool:
        """Whether there is a refined layer: not where a worker has dropped its own, which fitted too badly."""
        results = [part.result for part in self._parts if part.result is not None and len(part.sent)]
        are_kept = all(result.result.refined is not None for result in results)
        return are_kept and self.picture.shape != (0, 0)

    def take(self, worker: int, news: RefinedPart) -> None:
        """Take tiles, R and probe of a worker."""
        part = self._parts[worker]
        self.picture.replace((worker, bool(part.to_redo)), news.tiles)
        if news.rfactor is not None:
            part.rfactors["refined"] = news.rfactor
        part.frc, part.visits = news.frc, news.visits
        if news.probe is not None:
            self.probe.note(worker, news.probe)

    def changed(self, *, is_last: bool) -> list[tuple[Box, Tensor, Tensor]]:
        """Align the workers' pictures; return what changed, with object and coverage."""
        self.picture.align(self._shown, is_last=is_last)
        return [(box, *self._read(box)) for box in self.picture.take_dirty()]

    def read(self) -> tuple[NDArray[np.complex64], NDArray[np.float32]] | None:
        """Return object and coverage ``(H, W)`` as they are shown; None without a refined layer."""
        if not self.is_there:
            return None
        value, coverage = map(to_host, self._read(None))
        return finite(np.asarray(value, dtype=np.complex64)), np.asarray(coverage, dtype=np.float32)

    def patch(self, position_px: tuple[float, float], size_px: int) -> NDArray[np.complex64] | None:
        """Return the object ``(N, N)`` at a position; None where it is not covered."""
        if not self.is_there:
            return None
        y, x = self.picture.origin_px
        box = Box.around(position_px, size_px)
        value, coverage = self._read(Box(box.y - y, box.x - x, box.h, box.w))
        return None if not bool(coverage.any()) else finite(np.asarray(to_host(value), dtype=np.complex64))

    def _read(self, box: Box | None) -> tuple[Tensor, Tensor]:
        return self.picture.read(self._mosaic.weight, self._shown, box)


def mean_certainty(results: Sequence[ScanResult]) -> Certainty | None:
    """Return the mean of the workers' certainties, weighted by their frames."""
    known = [(result.certainty, len(result.indexes)) for result in results if result.certainty is not None]
    frames = sum(count for _, count in known)
    if not frames:
        return None
    return Certainty(*(sum(one[i] * count for one, count in known) / frames for i in range(3)))
