"""One probe for all workers: the mean of theirs, which each moves by its own frames; told to all once a second.

A worker's change is told as a difference to the probe that it reported, so its steps meanwhile are not lost. A worker has one
change on its way at most. Means of probes stay in the gauge that all have in common (:mod:`ptychopinn.refine.probe_gauge`).
"""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from daemon.cluster.plan import ProbeReport

SHARE_S = 1.0
"""Time between two changes of a worker's probe, s: a pass over a block of frames takes some tenths of a second."""
TINY = 1e-30
"""Energy that is divided by where no worker has a frame."""
LEAST_CHANGE = 1e-4
"""Norm of a change relative to the probe, below which it is not told: a probe is settled at 3e-3 a pass."""


class SharedProbe:
    """The probe of one scan."""

    def __init__(self) -> None:
        self._reports: dict[int, ProbeReport] = {}
        self._told: dict[int, int] = {}
        self._next: dict[int, float] = {}
        self._mean: NDArray[np.complex64] | None = None
        self.modes = 0

    @property
    def probe(self) -> NDArray[np.complex64] | None:
        """The mean probe ``(modes, N, N)``; None before a worker has reported one."""
        return None if self._mean is None else self._mean[: self.modes]

    def note(self, worker: int, report: ProbeReport) -> None:
        """Take a worker's probe as it is now."""
        self._reports[worker] = report
        alike = [one for one in self._reports.values() if one.fields.shape == report.fields.shape]
        moved = [one for one in alike if one.steps] or alike
        mean = np.zeros_like(report.fields)
        for one in moved:
            mean += one.frames * one.fields
        energy = max(_energy(one.fields) for one in moved)
        self._mean = mean * np.complex64((energy / max(_energy(mean), TINY)) ** 0.5)
        self.modes = report.modes

    def forget(self, worker: int) -> None:
        """Forget a worker that begins again."""
        for known in (self._reports, self._told, self._next):
            known.pop(worker, None)

    def change(self, worker: int) -> NDArray[np.complex64] | None:
        """Return what to tell a worker now, a change of its fields; None where nothing is due."""
        report, now = self._reports.get(worker), time.monotonic()
        is_pending = report is None or report.taken < self._told.get(worker, 0)
        if report is None or is_pending or self._mean is None or now < self._next.get(worker, 0.0):
            return None
        if report.fields.shape != self._mean.shape:
            return None
        change: NDArray[np.complex64] = self._mean - report.fields
        if _energy(change) < LEAST_CHANGE**2 * _energy(self._mean):
            return None
        self._told[worker] = report.taken + 1
        self._next[worker] = now + SHARE_S
        return change


def _energy(fields: NDArray[np.complex64]) -> float:
    """Return the sum of squared magnitudes."""
    return float(np.square(np.abs(fields)).sum())
