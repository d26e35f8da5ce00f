"""How many modes the probe has: one more is tried at a time, and kept where it lowers the misfit of frames held out.

The frames held out move the object but not the probe, so a mode cannot learn their noise. A new mode begins with a hundredth of
the light (:mod:`ptychopinn.refine.probe_modes`). After some passes it is kept if the frames held out fit clearly better with it
than without, and than before; then the next one is tried. The first that does not help is removed, and the number stays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ptychopinn.refine.frame_blocks import Block, Kept
from ptychopinn.refine.moving_probe import MovingProbe, magnitude_of
from ptychopinn.refine.probe_modes import orthogonal_modes, with_mode_count

MOST_MODES = 6
"""Modes at most: the time of a pass grows with their number, and beams have few that matter."""
TRIAL_PASSES = 8
"""Passes before the first new mode, and for each to find its shape."""
HELD_FRAMES = 16
"""Frames held out, evenly chosen: their mean misfit is known to a percent."""
WORTH = 0.98
"""Squared misfit of the frames held out with the mode over that without and over that before, below which the mode is kept."""


class ModeCount:
    """Changes the number of modes of one moving probe."""

    def __init__(self) -> None:
        self._is_over = False
        self._passes = 0
        self._before: float | None = None
        self._held: list[Kept] = []

    def learning(self, frames: Sequence[Kept]) -> list[int]:
        """Return the places of those of some frames that move the probe."""
        return [i for i, frame in enumerate(frames) if not any(frame is held for held in self._held)]

    def end_pass(self, block: Block, probe: MovingProbe, held: list[Kept]) -> None:
        """Go on after a pass in which the probe moved; ``held`` are the frames that the next trial holds out."""
        if self._is_over:
            return
        self._passes += 1
        if self._passes < TRIAL_PASSES:
            return
        count = len(probe.now)
        if self._before is not None and not self._helps(block, probe, self._before):
            _use(block, probe, with_mode_count(probe.now, count - 1))
            self._end()
        elif count >= MOST_MODES:
            self._end()
        else:
            self._held, self._passes = held, 0
            self._before = self._misfit(block, probe.now)
            _use(block, probe, with_mode_count(orthogonal_modes(probe.now), count + 1))

    def _end(self) -> None:
        self._is_over, self._held = True, []

    def _helps(self, block: Block, probe: MovingProbe, before: float) -> bool:
        without = self._misfit(block, with_mode_count(probe.now, len(probe.now) - 1))
        return self._misfit(block, probe.now) < WORTH * min(before, without)

    def _misfit(self, block: Block, probe: Tensor) -> float:
        """Return the squared misfit of the frames held out, on whole pixels."""
        patches, amplitude = block.cut(block.known, self._held), torch.stack([frame.amplitude for frame in self._held])
        magnitude = magnitude_of(torch.fft.fft2(patches[:, None] * probe, norm="ortho"))
        return float(torch.where(amplitude < 0, 0.0, magnitude - amplitude).square().sum())


def _use(block: Block, probe: MovingProbe, modes: Tensor) -> None:
    """Go on with other modes; the misfit may rise at first, and is no sign of divergence."""
    probe.use(modes)
    for frame in block.frames:
        frame.least_misfit = math.inf
