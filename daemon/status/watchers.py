"""Observations of a running scan over time: silences of a stream, the counts of the beam, a stage that stands still.

Each is told the state twice a second and costs nothing on the way of a frame.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LEAST_SAMPLES = 4
"""Patterns that tell the usual counts of a scan, two seconds of it."""
NEWEST_SAMPLES = 2
"""Patterns without beam in a row that tell that it is lost; one alone may be a bad frame."""
STILL_FRAMES = 60
"""Frames on one place that tell that the stage stands; a scan with several exposures at each place takes some ten."""
STILL_PX = 0.5
"""Extent of one place, object pixels: encoders are noisy."""


class SilenceWatch:
    """The longest silence of a stream between two of its messages, s."""

    def __init__(self) -> None:
        self._last_s = 0.0
        self._messages: int | None = None
        self.longest_s: float | None = None
        self.has_spoken = False
        """Whether a message came since the first look."""

    def look(self, messages: int, silent_s: float | None) -> None:
        """Take the number of all messages so far, and the time since the last one."""
        if self._messages is not None and messages > self._messages:
            if self.has_spoken:
                self.longest_s = max(self.longest_s or 0.0, self._last_s)
            self.has_spoken = True
        self._messages, self._last_s = messages, silent_s or 0.0


class BeamWatch:
    """The counts of the newest patterns beside those of earlier ones."""

    def __init__(self) -> None:
        self._counts: list[float] = []
        self._last_index: int | None = None
        self._usual: float | None = None

    def look(self, index: int, amplitude: NDArray[np.floating]) -> None:
        """Take the newest pattern ``(N, N)``, sqrt(counts), -1 = no data."""
        if index == self._last_index:
            return
        self._last_index = index
        self._counts.append(float(np.square(amplitude, where=amplitude > 0, out=np.zeros_like(amplitude)).sum()))
        if self._usual is None and len(self._counts) >= LEAST_SAMPLES:
            self._usual = float(np.median(self._counts))
        self._counts = self._counts[-LEAST_SAMPLES:]

    @property
    def share(self) -> float | None:
        """The greatest counts of the newest patterns over the usual ones; None before these are known."""
        if not self._usual:
            return None
        return max(self._counts[-NEWEST_SAMPLES:]) / self._usual


def still_frames(path_px: Sequence[tuple[float, float]]) -> int:
    """Return the number of the newest frames if all of them lie on one place, else 0.

    Parameters
    ----------
    path_px
        Positions (y, x) of the newest STILL_FRAMES + 1 frames or more, pixels.
    """
    newest = np.asarray(path_px[-STILL_FRAMES:], dtype=np.float64)
    if len(path_px) <= STILL_FRAMES or np.ptp(newest, axis=0).max() > STILL_PX:
        return 0
    return len(newest)
