"""The light of each frame: a factor on its amplitudes, where the beam's intensity varies from frame to frame.

A monitor has measured it; or it is found, as the factor in least squares between measured and computed amplitudes. The mean over
the frames of a pass is 1, so the object keeps its brightness. A frame's patch takes on a part of a factor that is found, but its
neighbours on the same patch oppose that.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ptychopinn.refine.frame_blocks import Kept

LEAST_VISITS = 3
"""Visits of a frame before its factor is found: the object is too far off earlier."""
STEP = 0.3
"""Share of the whole step that a pass makes: the object moves with momentum meanwhile, and whole steps make both swing."""
LEAST_FACTOR, MOST_FACTOR = 0.5, 2.0
"""Bounds of the factors: a quarter and four times the mean light."""
DARK = 1e-12
"""Least photons that are divided by."""


class FrameLight:
    """The factors of the frames of one object, kept with them; ``is_measured``: they are those of the beam monitor."""

    def __init__(self, *, is_measured: bool = False) -> None:
        self._is_measured = is_measured
        self._frames: list[Kept] = []
        self._sums: list[Tensor] = []

    def begin(self, frames: Sequence[Kept]) -> None:
        """Enter the measured factors of frames; 1 where the monitor told nothing."""
        if not self._is_measured:
            return
        lights = [frame.monitor for frame in frames if frame.monitor is not None]
        mean = sum(lights) / max(1, len(lights))
        for frame in frames:
            light = 1.0 if frame.monitor is None else max(frame.monitor / mean, 0.0) ** 0.5
            frame.light = min(max(light, LEAST_FACTOR), MOST_FACTOR)

    def even(self, frames: Sequence[Kept], amplitude: Tensor) -> Tensor:
        """Return amplitudes ``(B, N, N)`` of frames as they would be in mean light."""
        factors = torch.tensor([frame.light for frame in frames], device=amplitude.device)
        return amplitude / factors[:, None, None]

    def add(self, frames: Sequence[Kept], magnitude: Tensor, amplitude: Tensor) -> None:
        """Take the computed amplitudes ``(B, N, N)`` of frames, and those measured in mean light."""
        if self._is_measured:
            return
        seen = magnitude * (amplitude >= 0)
        self._frames += frames
        self._sums.append(torch.stack([(seen * amplitude).sum((1, 2)), (seen * seen).sum((1, 2))]))

    def end_pass(self) -> None:
        """Move the factors of the frames of a pass."""
        if self._is_measured:
            return
        both, computed = torch.cat(self._sums, dim=1).double().tolist()
        for frame, one, other in zip(self._frames, both, computed, strict=True):
            if frame.visits >= LEAST_VISITS and other > DARK:
                frame.light = min(max(frame.light * (max(one, DARK) / other) ** STEP, LEAST_FACTOR), MOST_FACTOR)
        mean = sum(frame.light for frame in self._frames) / len(self._frames)
        for frame in self._frames:
            frame.light /= mean
        self._frames, self._sums = [], []
