"""How many modes the probe has: one more is tried at a time, and kept where it lowers the misfit of frames held out.

The frames held out move the object but not the probe, so a mode cannot learn their noise. A new mode begins with a hundredth of
the light (:mod:`ptychopinn.refine.probe_modes`). After some passes it is kept if the frames held out fit clearly better with it
than without; then the next one is tried. The first that does not help is removed, and the number stays.
"""

from __future__ import annotations

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
"""Squared misfit of the frames held out with the mode over that without, below which the mode is kept."""


class ModeCount:
    """Changes the number of modes of one moving probe."""

    def __init__(self) -> None:
        self._is_over = self._is_trying = False
        self._passes = 0
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
        if self._is_trying and not self._helps(block, probe):
            probe.use(with_mode_count(probe.now, count - 1))
            self._end()
        elif count >= MOST_MODES:
            self._end()
        else:
            probe.use(with_mode_count(orthogonal_modes(probe.now), count + 1))
            self._held, self._passes, self._is_trying = held, 0, True

    def _end(self) -> None:
        self._is_over, self._held = True, []

    def _helps(self, block: Block, probe: MovingProbe) -> bool:
        fewer = with_mode_count(probe.now, len(probe.now) - 1)
        patches, amplitude = block.cut(block.known, self._held), torch.stack([frame.amplitude for frame in self._held])
        without = torch.fft.fft2(patches[:, None] * fewer, norm="ortho")
        misfit, misfit_without = (
            _square_misfit(far, amplitude) for far in (probe.far(self._held, patches)[0], without)
        )
        return misfit < WORTH * misfit_without


def _square_misfit(far: Tensor, amplitude: Tensor) -> float:
    return float(torch.where(amplitude < 0, 0.0, magnitude_of(far) - amplitude).square().sum())
