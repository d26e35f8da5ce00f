"""The face of an engine: one in this process (:mod:`daemon.engine.loop`), or several on a cluster
(:mod:`daemon.cluster.engine`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from daemon.engine.held_scan import HeldScan
from daemon.engine.models import ActiveModel
from daemon.engine.ports import ExaminerPort, FrameLearner, PositionFinderPort
from daemon.messages import FrcFields
from ptychopinn.diagnosis.correction import Correction
from streams.frame import ScanPoint


class EngineFace(Protocol):
    """Safe from any thread; :class:`daemon.engine.loop.Engine` describes each member."""

    warm: threading.Event
    beat: float
    examiner: ExaminerPort | None
    learner: FrameLearner | None

    @property
    def active(self) -> ActiveModel:
        """The model in use."""

    @property
    def correction(self) -> Correction:
        """Correction of patterns and positions."""

    @property
    def failure(self) -> str | None:
        """The last fault, in words."""

    @property
    def last_pattern(self) -> tuple[str, int, NDArray[np.float32]] | None:
        """Scan, index and amplitudes ``(N, N)`` of the newest frame."""

    @property
    def latency_s(self) -> float | None:
        """From receipt to publication, s."""

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""

    @property
    def backlog(self) -> tuple[int, int]:
        """Frames that wait, and how many of them are on the disk."""

    @property
    def backlog_age_s(self) -> float:
        """Waiting time of the oldest, s."""

    @property
    def is_finishing(self) -> bool:
        """Whether a scan that has ended has its last seconds."""

    def wait_for_rest(self, most_s: float) -> None:
        """Return when background work does not hold frames up."""

    def find_positions_with(self, finder: PositionFinderPort) -> None:
        """Have true positions looked for."""

    def begin_with(self, model: ActiveModel) -> None:
        """Take another model before the start."""

    def use(self, model: ActiveModel, change: Correction = ...) -> ActiveModel:
        """Take another model."""

    def pixel_size_m(self, scan_id: str) -> float | None:
        """Return the object pixel of a scan."""

    def start(self) -> None:
        """Start the thread."""

    def wait_until_warm(self) -> None:
        """Return when frames can be taken."""

    def submit(self, points: Iterable[ScanPoint]) -> None:
        """Take points."""

    def finish(self, scan_id: str) -> None:
        """Say that a scan has all the frames it will get."""

    def frc(self, scan_id: str) -> FrcFields | None:
        """Return how sharp the refined layer is."""

    def path_px(self, scan_id: str, after: int, most: int, *, told: bool = False) -> list[tuple[float, float]] | None:
        """Return positions of stitched frames."""

    def held(self, scan_id: str) -> HeldScan | None:
        """Return copies of what is known about frames."""

    def stop(self, within_s: float = ...) -> None:
        """Finish what is queued and end the thread."""
