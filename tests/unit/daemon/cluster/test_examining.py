"""The diagnosis on a cluster: a fair sample, asked for once for each news."""

from __future__ import annotations

from typing import Any

import numpy as np

from daemon.cluster.examining import SAMPLE_FRAMES, ScanExamining
from ptychopinn.frame_store import at_middle
from streams.frame import PositionM, ScanPoint


class Recorder:
    """Stands in for the examiner: wants every scan of 50 frames, or one that has ended."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, bool]] = []
        self.frames: list[Any] = []

    def wants(self, scan: Any, frames: int, *, has_ended: bool) -> bool:
        self.asked.append((frames, has_ended))
        return frames >= 50 or has_ended

    def examine(self, scan: Any, frames: Any) -> None:
        scan.is_pending = True
        self.frames = frames

    def holds(self, scan: Any) -> bool:
        return scan.is_pending


def points(first: int, last: int) -> list[ScanPoint]:
    return [
        ScanPoint("one", i, np.full((4, 4), i, dtype=np.uint32), PositionM(1e-6 * i, 2e-6 * i), 0)
        for i in range(first, last)
    ]


def test_a_scan_is_looked_at_once_for_each_news() -> None:
    scan, examiner = ScanExamining("one"), Recorder()
    scan.look(None, 10, 1e-6, has_ended=False)
    scan.look(examiner, 0, 1e-6, has_ended=False)
    for first, last in ((0, 10), (10, 10), (10, 60)):
        scan.sample.add(points(first, last))
        scan.look(examiner, last, 1e-6, has_ended=False)
    scan.look(examiner, 60, 1e-6, has_ended=True)
    assert examiner.asked == [(10, False), (60, False), (60, True)]
    pattern, place = examiner.frames[9]
    np.testing.assert_allclose(at_middle([pattern]).numpy(), 3.0)
    np.testing.assert_allclose(place, (9.0, 18.0))
    assert scan.is_held(examiner)
    assert not scan.is_held(None)


def test_the_sample_is_fair() -> None:
    scan = ScanExamining("one")
    scan.sample.add(points(0, 8 * SAMPLE_FRAMES))
    indexes = [point.index for point in scan.sample.points]
    assert len(set(indexes)) == SAMPLE_FRAMES
    np.testing.assert_allclose(np.mean(indexes), 4 * SAMPLE_FRAMES, rtol=0.1)
