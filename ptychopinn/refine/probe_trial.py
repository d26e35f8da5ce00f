"""A trial of two probes: both follow some frames while the object stays, then both are compared on frames held out.

A richer probe fits any frames better that it may follow. Only where it also fits the frames better that it did not follow does
the beam have what it adds. The object and the probe of the passes stay untouched by a trial.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ptychopinn.refine.frame_blocks import Block, Kept, patterns_of
from ptychopinn.refine.moving_probe import MovingProbe, magnitude_of, toward
from ptychopinn.refine.no_data import mask_, mask_of

TRIAL_PASSES = 16
"""Passes of a trial; a new mode takes about ten to find its shape."""
HELD_SHARE = 4
"""One of so many frames is held out."""
MOST_FRAMES = 256
"""Frames of a trial, which takes about as long as 16 passes over them with both probes."""
SURE = 3.0
"""Mean gain of the frames held out in its standard errors, from which it is no chance."""
LEAST_GAIN = 0.003
"""Mean gain, of the squared misfit, that is worth the time that a richer probe takes."""


class ProbeTrial:
    """The trial of a ``rich`` probe against a ``plain`` one, on some of a block's frames."""

    def __init__(self, block: Block, frames: Sequence[Kept], plain: MovingProbe, rich: MovingProbe) -> None:
        self.block = block
        self._picture = block.known.clone()
        self.plain, self.rich = plain, rich
        some = list(frames)
        self._held = some[HELD_SHARE // 2 :: HELD_SHARE]
        held = set(map(id, self._held))
        self._learned = [frame for frame in some if id(frame) not in held]
        self._place = self._passes = 0
        self._momentum = 1.0
        self._gains: list[Tensor] = []
        self._misfits: list[Tensor] = []

    @property
    def is_over(self) -> bool:
        """Whether all frames held out are compared."""
        return self._passes == TRIAL_PASSES and self._place == len(self._held)

    @property
    def gain(self) -> tuple[float, float]:
        """Mean gain of the frames held out by the rich probe, of their squared misfit, and its standard error."""
        gains, misfits = torch.cat(self._gains), torch.cat(self._misfits)
        whole = float(misfits.mean())
        return float(gains.mean()) / whole, float(gains.std()) / len(gains) ** 0.5 / whole

    @property
    def is_rich_better(self) -> bool:
        """Whether the frames held out fit better with the rich probe than chance explains."""
        gain, error = self.gain
        return gain > LEAST_GAIN and gain > SURE * error

    def step(self, most: int) -> int:
        """Work on the next few frames; return how many."""
        is_learning = self._passes < TRIAL_PASSES
        source = self._learned if is_learning else self._held
        frames = source[self._place : self._place + most]
        patches = self.block.cut(self._picture, frames)
        light = torch.tensor([frame.light for frame in frames], device=patches.device)
        amplitude = patterns_of(frames) / light[:, None, None]
        misfits = [_visit(probe, frames, patches, amplitude, learns=is_learning) for probe in (self.plain, self.rich)]
        self._place += len(frames)
        if not is_learning:
            self._gains.append(misfits[0] - misfits[1])
            self._misfits.append(misfits[0])
        elif self._place == len(self._learned):
            self._end_pass()
        return len(frames)

    def _end_pass(self) -> None:
        grown = (1 + (1 + 4 * self._momentum**2) ** 0.5) / 2
        for probe in (self.plain, self.rich):
            probe.move(torch.tensor((self._momentum - 1) / grown, device=probe.weight.device))
        self._momentum = grown
        self._place, self._passes = 0, self._passes + 1


def _visit(probe: MovingProbe, frames: list[Kept], patches: Tensor, amplitude: Tensor, *, learns: bool) -> Tensor:
    """Return the squared misfits ``(B,)`` of frames; let the probe learn from them if wanted."""
    fields = probe.ahead if learns else probe.known
    far = torch.fft.fft2(patches[:, None] * fields.of(frames).probe, norm="ortho")
    magnitude = magnitude_of(far)
    excess = mask_(magnitude - amplitude, mask_of(amplitude))
    if learns:
        back = torch.fft.ifft2(toward(far, excess, magnitude), norm="ortho")
        probe.learn(frames, back * patches.conj()[:, None], patches)
    return excess.square().sum((1, 2))
