"""The resolution of ``predict`` and ``refine``: its measurement and its texts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from daemon.files import LiveGroup
from daemon.files.product import known_pixel_size
from daemon.messages.summaries import ResolutionSummary
from ptychopinn.diagnosis.resolution import RingCorrelation

CRITERION = "half-bit"


@dataclass(frozen=True, slots=True, eq=False)
class FileResolution:
    """The ring correlation of two halves of the frames, None without a meaning; the seconds it took, None: not asked for."""

    curve: RingCorrelation | None
    pixel_size_m: float
    seconds: float | None

    @property
    def px(self) -> float | None:
        """Half a period at the line, object pixels."""
        return None if self.curve is None else self.curve.known_resolution_px(CRITERION)

    @property
    def nm(self) -> float | None:
        """The same in nm; None where the pixel size is unknown."""
        size_m = known_pixel_size(self.pixel_size_m)
        return None if self.px is None or size_m is None else self.px * size_m * 1e9

    @property
    def line(self) -> str:
        """One line for the screen; empty where it was not asked for."""
        if self.seconds is None:
            return ""
        if self.px is None:
            return "resolution unknown: two halves of the frames have too little in common"
        lengths = f"{self.px:.2f} px" if self.nm is None else f"{self.nm:.1f} nm ({self.px:.2f} px)"
        return f"resolution {lengths}, {CRITERION}, two halves of the frames ({self.seconds:.1f} s)"

    def summary(self) -> ResolutionSummary:
        """Return the figures for JSON."""
        if self.seconds is None:
            return {}
        return {"frc_nm": self.nm, "frc_px": self.px, "frc_criterion": CRITERION, "frc_seconds": self.seconds}

    def noted(self, live: LiveGroup) -> LiveGroup:
        """Return the group ``live`` with the curve and the number."""
        if self.curve is None:
            return live
        curve = np.column_stack([self.curve.frequency / self.pixel_size_m, self.curve.correlation])
        return replace(live, frc=curve, frc_nm=self.nm, frc_criterion=CRITERION)


def resolution_of(
    measure: Callable[[], RingCorrelation | None], pixel_size_m: float, *, is_asked: bool
) -> FileResolution:
    """Measure the resolution if that is asked for."""
    begun = time.monotonic()
    curve = measure() if is_asked else None
    return FileResolution(curve, pixel_size_m, time.monotonic() - begun if is_asked else None)
