"""A sample of the stitched frames, and the refined object at their places, on the way to the fine-tuning."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

import numpy as np

from daemon.cluster.open_scans import OpenClusterScans
from daemon.cluster.scan import ClusterScan
from daemon.engine.cadence import LABEL_VISITS, LABELS
from daemon.engine.ports import FrameLearner
from ptychopinn.detector.geometry import to_amplitude
from streams.frame import ScanPoint

OFFERS_PER_S = 100.0
"""Frames offered in a second, on the average: a training step takes some frames of a buffer, and each costs the reader 50 us."""
LABEL_S = 1.0
"""Time between two sets of labels, s."""
KEPT_OFFERS = 1024
"""Offered frames that may get a label."""


class LearnerFeed:
    """Used by the cluster's thread alone."""

    def __init__(self, learner: FrameLearner) -> None:
        self.learner = learner
        self._offered: deque[tuple[str, int, tuple[float, float]]] = deque(maxlen=KEPT_OFFERS)
        self._random = np.random.default_rng(0)
        self._credit, self._credited_at = 0.0, time.monotonic()
        self._next_labels = 0.0

    def offer(self, scan: ClusterScan, points: Sequence[ScanPoint]) -> None:
        """Offer some of the frames, evenly chosen."""
        now = time.monotonic()
        self._credit = min(self._credit + OFFERS_PER_S * (now - self._credited_at), OFFERS_PER_S)
        self._credited_at = now
        count = min(int(self._credit), len(points))
        if not count:
            return
        self._credit -= count
        chosen = [points[i] for i in np.linspace(0, len(points) - 1, count).astype(int).tolist()]
        for point, (y, x) in zip(chosen, scan.positions_px(chosen).tolist(), strict=True):
            self.learner.offer(scan.scan_id, point.index, to_amplitude(point.counts[None])[0], (y, x))
            self._offered.append((scan.scan_id, point.index, (y, x)))

    def label(self, scans: OpenClusterScans) -> None:
        """Give some of the offered frames the refined object at their places, once it is worth it."""
        if time.monotonic() < self._next_labels or not self._offered:
            return
        self._next_labels = time.monotonic() + LABEL_S
        for i in self._random.choice(len(self._offered), min(LABELS, len(self._offered)), replace=False).tolist():
            scan_id, index, place = self._offered[i]
            scan = scans.get(scan_id)
            if (
                scan is not None
                and scan.refined_visits >= LABEL_VISITS
                and (patch := scan.refined_patch(place)) is not None
            ):
                self.learner.label(scan_id, index, patch)
