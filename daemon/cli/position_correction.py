"""``--correct-positions``: positions found from the frames before a scan is reconstructed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from daemon.cli.progress import progress
from daemon.cli.verdict import finite
from daemon.files import LiveGroup
from daemon.messages.summaries import PositionSummary
from ptychopinn.positions.find import PASSES, FoundPositions, find_positions
from ptychopinn.positions.kinds import error_words


@dataclass(frozen=True, slots=True, eq=False)
class PositionCorrection:
    """Positions ``(n, 2)``, pixels, as they are used and as they were measured; what was found, None if not asked for."""

    positions_px: NDArray[np.float64]
    measured_px: NDArray[np.float64]
    found: FoundPositions | None = None

    @property
    def line(self) -> str:
        """One line for the screen and the product's comments; empty where nothing was asked for."""
        found = self.found
        if found is None:
            return ""
        if not found.is_corrected:
            return "positions fit the frames and stay as measured"
        fall = f"R of a quick picture falls from {found.told_rfactor:.3f} to {found.found_rfactor:.3f}"
        return f"{error_words(self.measured_px, self.positions_px)}; corrected, {fall} ({found.seconds:.0f} s)"

    def summary(self) -> PositionSummary:
        """Return the figures for JSON."""
        if self.found is None:
            return {}
        return {
            "positions_corrected": self.found.is_corrected,
            "position_error_px": finite(self.found.error_px(self.measured_px)),
            "position_seconds": self.found.seconds,
        }

    def noted(self, live: LiveGroup, rows: NDArray[np.int64], pixel_size_m: float) -> LiveGroup:
        """Return the group ``live`` with the measured positions of frames in these rows, if others were asked for."""
        if self.found is None:
            return live
        return replace(
            live,
            measured_position_m=self.measured_px[rows] * pixel_size_m,
            position_corrections_m=(self.positions_px - self.measured_px)[rows] * pixel_size_m,
        )


def corrected(
    amplitude: torch.Tensor,
    positions_px: NDArray[np.float64],
    probe: torch.Tensor,
    *,
    is_asked: bool,
    bound_px: float | None,
) -> PositionCorrection:
    """Find the positions if that is asked for, by name or by a bound."""
    if not is_asked and bound_px is None:
        return PositionCorrection(positions_px, positions_px)
    with progress(PASSES, "finding positions", "passes") as bar:
        found = find_positions(amplitude, positions_px, probe, bound_px=bound_px, on_pass=bar.update)
    return PositionCorrection(found.positions_px, positions_px, found)
