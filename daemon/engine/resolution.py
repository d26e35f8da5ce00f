"""The resolution of a scan while it runs: halves of its frames get a share of the refiner's time and are compared."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from daemon.messages import FrcFields
from ptychopinn.diagnosis.resolution import RingCorrelation
from ptychopinn.refine.refined_layer import Refiner
from ptychopinn.workflow.half_pictures import HalfPictures

CRITERION: Literal["half-bit"] = "half-bit"
SHARE, LATER_SHARE, LATER_VISITS = 0.15, 0.5, 10
"""Time for the halves, of the refiner's own: the refined layer comes first until each frame has had ten visits. It is the
thread's processor time: on a busy host the halves would lose their share by each pause in one of their slices."""
MOST_OWED_S = 0.02
"""Time that the halves may catch up at once: two slices, so that a waiting frame hardly notices."""
PERIOD_S, COST_RATIO = 2.0, 50.0
"""Least time between two comparisons, and between two in units of the last one's own time."""
GAIN = 0.03
"""The resolution has got better when it falls by this share of itself: repeated comparisons scatter by a percent."""

MOST_GAP_S = 10.0
"""Time between two comparisons that counts at most: the device was too busy to refine in the rest."""
SETTLED_S = 30.0
"""Time without a gain after which more frames no longer pay."""
CURVE_POINTS = 48
"""Points of the curve in a status, which is sent twice a second."""


@dataclass(frozen=True, slots=True, eq=False)
class Resolution:
    """The last comparison of the halves.

    ``frc_px`` is half a period, object pixels, at which the curve falls below ``threshold`` (None: it has no meaning);
    ``frequency`` in cycles per pixel. ``no_gain_s`` is the time without a gain, up to this comparison; ``frames`` of both halves.
    """

    frc_px: float | None
    frequency: NDArray[np.float64]
    correlation: NDArray[np.float64]
    threshold: NDArray[np.float64]
    no_gain_s: float
    frames: int

    def frc_nm(self, pixel_size_m: float) -> float | None:
        """Return the resolution in nm; None if it is unknown."""
        return None if self.frc_px is None else self.frc_px * pixel_size_m * 1e9

    def fields(self, pixel_size_m: float) -> FrcFields:
        """Return the comparison as it is sent."""
        points = np.unique(np.linspace(0, len(self.frequency) - 1, CURVE_POINTS).astype(int))

        def some(values: NDArray[np.float64]) -> list[float]:
            return [round(value, 4) for value in values[points].tolist()]

        return {
            "frc_nm": self.frc_nm(pixel_size_m),
            "criterion": CRITERION,
            "frames": self.frames,
            "no_gain_s": self.no_gain_s,
            "is_settled": self.no_gain_s >= SETTLED_S,
            "frequency_per_m": (self.frequency[points] / pixel_size_m).tolist(),
            "correlation": some(self.correlation),
            "threshold": some(self.threshold),
        }


class ScanResolution:
    """Used by the engine's thread alone, ``latest`` by others too."""

    def __init__(self, *, update_probe: bool, is_subpixel: bool) -> None:
        self._halves = HalfPictures(update_probe=update_probe, is_subpixel=is_subpixel)
        self._owed_s = 0.0
        self._next_comparison = 0.0
        self._known_bytes = 0
        self._was_ripening = False
        self._compared_visits = -1.0
        self._best_px: float | None = None
        self._no_gain_s = self._noted_at = 0.0
        self._best_of = 0
        self.latest: Resolution | None = None

    def spend(self, source: Refiner, refined_s: float) -> None:
        """Give the halves their share of the processor time that the refiner has just had."""
        share = SHARE if source.least_visits < LATER_VISITS else LATER_SHARE
        self._owed_s = min(self._owed_s + share * refined_s, MOST_OWED_S)
        now, used_s = time.monotonic(), time.thread_time()
        has_doubled = source.kept_bytes > 2 * self._known_bytes  # a short scan is over within a period
        is_first = self._was_ripening and not self._halves.is_ripening
        if now >= self._next_comparison or has_doubled or is_first:
            self._halves.keep_up(source)
            self._known_bytes = source.kept_bytes
            self._compare(now)
            before_s, used_s = used_s, time.thread_time()
            self._next_comparison = now + max(PERIOD_S, COST_RATIO * (used_s - before_s))
        self._was_ripening = self._halves.is_ripening
        while self._owed_s > 0 and self._halves.step():
            before_s, used_s = used_s, time.thread_time()
            self._owed_s -= used_s - before_s

    @property
    def is_awaited(self) -> bool:
        """Whether more time would give the first comparison of a scan that has none."""
        return self.latest is None and self._halves.is_ripening

    def compare(self) -> None:
        """Compare the halves as they are, for the scan's result."""
        self._compare(time.monotonic())

    def _compare(self, now: float) -> None:
        visits = self._halves.visits
        if visits == self._compared_visits:
            return  # nothing has changed
        curve = self._halves.measure()
        if curve is not None:
            self._compared_visits = visits
            self._note(curve, now)

    def _note(self, curve: RingCorrelation, now: float) -> None:
        frc_px = curve.known_resolution_px(CRITERION)
        is_gain = frc_px is not None and (self._best_px is None or frc_px < (1 - GAIN) * self._best_px)
        if is_gain or self._best_px is None or self._best_of != self._halves.begun:
            self._best_px, self._best_of, self._no_gain_s = frc_px, self._halves.begun, 0.0
        else:
            self._no_gain_s += min(now - self._noted_at, MOST_GAP_S)
        self._noted_at = now
        self.latest = Resolution(
            frc_px=frc_px,
            frequency=curve.frequency,
            correlation=curve.correlation,
            threshold=curve.half_bit,
            no_gain_s=self._no_gain_s,
            frames=self._halves.frames,
        )
