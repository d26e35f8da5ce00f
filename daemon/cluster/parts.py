"""A worker's part of a scan: the frames that it has got, and what it has answered."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence

import numpy as np

from daemon.cluster.plan import PartResult
from daemon.engine.backlog import Waiting
from daemon.messages import FrcFields
from streams.frame import PositionM, ScanPoint

NO_PIXELS = np.empty((0, 0), dtype=np.uint8)
"""Counts of a frame that is read back from the journal."""


class SentFrames:
    """Frames that a worker has got in its present epoch, without their pixels: 32 bytes each."""

    def __init__(self) -> None:
        self._indexes, self._received_ns = array("q"), array("q")
        self._positions_m = array("d")

    def __len__(self) -> int:
        return len(self._indexes)

    def add(self, points: Sequence[ScanPoint]) -> None:
        """Take frames that are sent."""
        for point in points:
            self._indexes.append(point.index)
            self._received_ns.append(point.received_ns)
            self._positions_m.extend(point.position_m)

    def points(self, scan_id: str) -> Iterator[ScanPoint]:
        """Yield the frames, to be read from the journal once more."""
        ys, xs = self._positions_m[::2], self._positions_m[1::2]
        for index, y, x, received_ns in zip(self._indexes, ys, xs, self._received_ns, strict=True):
            yield ScanPoint(scan_id, index, NO_PIXELS, PositionM(y, x), received_ns)


class WaitingPart:
    """What waits of a scan in one backlog of a worker."""

    def __init__(self) -> None:
        self.waiting: Waiting | None = None


class Part:
    """A worker's part of a scan."""

    def __init__(self) -> None:
        self.sent = SentFrames()
        self.halo = SentFrames()
        """Frames of others that its refined layer has got."""
        self.answered = 0
        """Frames of ``sent`` whose account is closed by this epoch of the worker."""
        self.to_redo = 0
        """Frames of the epoch before; its tiles are shown until as many are done again."""
        self.is_all_sent = self.is_halo_sent = False
        self.is_asked = False
        """Whether the worker was told that the scan has ended."""
        self.result: PartResult | None = None
        self.rfactors: dict[str, float] = {}
        self.visits = 0
        """Visits of the least visited frame of its refined layer."""
        self.frc: FrcFields | None = None
        self.stitched = 0
        self.is_done = False
        self.stitching, self.helping = WaitingPart(), WaitingPart()
        """Its frames that wait for the worker: to be stitched, and for its refined layer alone; the backlogs change them."""
        self.stitched_ns: list[int] = []
        """When frames were received that the worker has stitched and whose tiles were not asked for."""
        self.asked_ns: list[int] = []
        """The same of the tiles that were asked for."""

    def note_asked(self) -> None:
        """Note that the worker was asked for the tiles that have changed."""
        self.asked_ns, self.stitched_ns = [*self.asked_ns, *self.stitched_ns], []

    @property
    def is_empty(self) -> bool:
        """Whether the worker has got no frame in its present epoch."""
        return not len(self.sent) and not len(self.halo)

    def begin_again(self) -> None:
        """Note that the worker has no frame any more."""
        self.to_redo = max(self.to_redo, self.answered)
        self.sent, self.halo, self.answered = SentFrames(), SentFrames(), 0
        self.is_all_sent = self.is_halo_sent = self.is_asked = False
        self.stitched_ns, self.asked_ns = [], []
        self.result = None
