"""The diagnosis of a scan whose frames several workers have: from a fair sample that the reader keeps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from daemon.engine.examination import Examination
from daemon.engine.ports import ExaminerPort
from daemon.engine.sample import Place
from ptychopinn.detector.geometry import to_amplitude
from ptychopinn.frame_store import FrameStore, StoredPattern
from streams.frame import ScanPoint

SAMPLE_FRAMES = 256
"""Frames of a sample: the diagnosis uses fewer, and they take some MB."""


class PointSample:
    """Every frame while there are few, later each with the same probability (reservoir sampling, fixed seed)."""

    def __init__(self) -> None:
        self._points: list[ScanPoint] = []
        self._seen = 0
        self._random = np.random.default_rng(0)

    def add(self, points: Iterable[ScanPoint]) -> None:
        """Take some of the frames, which have their pixels."""
        for point in points:
            self._seen += 1
            if len(self._points) < SAMPLE_FRAMES:
                self._points.append(point)
            elif (place := int(self._random.integers(self._seen))) < SAMPLE_FRAMES:
                self._points[place] = point

    @property
    def points(self) -> Sequence[ScanPoint]:
        """The frames of the sample."""
        return tuple(self._points)


class ScanExamining:
    """The sample and the examinations of one scan; used by the cluster's thread alone."""

    def __init__(self, scan_id: str) -> None:
        self.examination = Examination(scan_id)
        self.sample = PointSample()
        self._looked: tuple[int, bool] | None = None

    def look(self, examiner: ExaminerPort | None, frames: int, pixel_size_m: float, *, has_ended: bool) -> None:
        """Have the scan diagnosed, if there is news and it is time; ``frames`` have been stitched."""
        if examiner is None or self._looked == (frames, has_ended) or not frames:
            return
        self._looked = frames, has_ended
        if examiner.wants(self.examination, frames, has_ended=has_ended):
            examiner.examine(self.examination, placed(self.sample.points, pixel_size_m))

    def is_held(self, examiner: ExaminerPort | None) -> bool:
        """Whether the scan waits for a diagnosis that may change it."""
        return examiner is not None and examiner.holds(self.examination)


def placed(points: Sequence[ScanPoint], pixel_size_m: float) -> list[tuple[StoredPattern, Place]]:
    """Return patterns and positions, object pixels, of frames."""
    amplitudes: NDArray[np.float32] = to_amplitude(np.stack([point.counts for point in points]))
    places = np.array([point.position_m for point in points], dtype=np.float64) / pixel_size_m
    patterns = FrameStore().put(torch.from_numpy(amplitudes))
    return [(pattern, (y, x)) for pattern, (y, x) in zip(patterns, places.tolist(), strict=True)]
