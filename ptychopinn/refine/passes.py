"""Passes of the refined layer over a block of frames: they gather the descent, then move object, probe and positions."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ptychopinn.device import is_batched
from ptychopinn.errors import ReconstructionError
from ptychopinn.mosaic.canvas import Box
from ptychopinn.mosaic.placement import covered, scatter_add
from ptychopinn.physics.diffraction import intensity
from ptychopinn.refine.fly_path import lay_paths
from ptychopinn.refine.frame_blocks import Block, Kept
from ptychopinn.refine.frame_buffer import FrameBuffer, around, moved
from ptychopinn.refine.frame_light import FrameLight
from ptychopinn.refine.moving_probe import SETTLED, MovingProbe, magnitude_of, over_modes, toward
from ptychopinn.refine.no_data import mask_, mask_of
from ptychopinn.refine.phase_bowl import without_bowl
from ptychopinn.refine.phase_ramp import ramp_factor
from ptychopinn.refine.position_offsets import LEAST_VISITS, OffsetPulls
from ptychopinn.refine.prior import prior_strength, smoothness
from ptychopinn.refine.probe_fields import FLOOR
from ptychopinn.refine.probe_growth import ProbeGrowth
from ptychopinn.refine.slow_phase import SAMPLE_AT_ONCE_PX, SAMPLE_FRAMES, SlowPhase
from ptychopinn.refine.subpixel_shifts import STEPS, shift_from

STIFFEST = 8.0
"""Greatest curvature of the smoothness prior, in its weight."""
BOWL_PASSES = 40
"""Passes over all frames that find the bowl of phase; it is held in those that follow."""
TURN_FRAMES = 32
"""Frames that must fit better without a phase ramp."""


RESTARTED = (1 + 5**0.5) / 2
"""Momentum after one pass from rest."""


class _Read(NamedTuple):
    """What a pass has found: the product of slow phase's last two steps (not finite where the step is not), that of the last
    step and the last change, the last change of the probe, the shift of the patterns.
    """

    slow: float
    against: float
    probe_change: float
    shift: list[float]


class Passes:
    """The passes over one object, with one momentum.

    ``bound_px`` is how far a position may be corrected, 0 = not at all; ``light`` finds the light of each frame. The stage
    moves during ``exposure_share`` of the time from frame to frame.
    """

    def __init__(
        self,
        buffer: FrameBuffer,
        probe: MovingProbe,
        bound_px: float,
        *,
        light: FrameLight | None = None,
        growth: ProbeGrowth | None = None,
        exposure_share: float = 0.0,
    ) -> None:
        self._buffer = buffer
        self._canvas = buffer.canvas
        self._probe = probe
        self._bound_px = bound_px
        self._light = light
        self.growth = growth
        self._exposure_share = exposure_share
        self._momentum = 1.0
        self._nothing = torch.zeros((), device=probe.weight.device)
        self._one = torch.ones((), dtype=torch.complex64, device=probe.weight.device)
        self._against = self._nothing  # product of the last step and the last change: above 0 where it turns back
        self.slow = SlowPhase()

    def begin(self, last: Block | None) -> Block | None:
        """Choose the next frames; carry on the momentum where they lie on the last ones' place."""
        frames, is_displaced = self._buffer.next_block()
        if not frames:
            return None
        if self._light is not None:
            self._light.begin(frames)
        if self._exposure_share > 0:
            lay_paths(frames, self._exposure_share)
        probe = self._probe
        region = around([corner for f in frames for corner in (f.corner, f.start_corner)], probe.size_px)
        here, start = self._canvas.place(region), self._buffer.start(region)
        block = Block(frames, (region.y, region.x), self._canvas.planes["object"][here.window].clone(), probe.size_px)
        if last is not None:
            block.follow(last)
            if is_displaced and last.frames == frames:
                block.passes = last.passes
        own = torch.zeros_like(block.curvature)
        begun = np.array([frame.start_corner for frame in frames]) - np.array(block.corner)
        block.prior = torch.where(covered(own, begun, probe.size_px), start, block.prior)
        scatter_add(own, block.corners(frames), probe.weight.expand(len(frames), -1, -1))
        others = (self._canvas.planes["coverage"][here.window] - own).clamp_min_(0.0).mul_(probe.peak)
        strength = prior_strength(block.prior, own, probe.peak)
        block.smoothness = smoothness(block.prior, own, probe.peak)
        block.prior_weight = others + strength
        block.stiffness = block.prior_weight + FLOOR * probe.peak + STIFFEST * block.smoothness
        block.prior = (block.prior * strength + block.known * others) / block.prior_weight
        return block

    def step(self, block: Block, most: int) -> int:
        """Work on the next few frames of a pass, or of a trial of the probe between two of them; return how many."""
        growth = self.growth if block.place == 0 < block.passes else None  # a pass first: new frames begin a block
        if growth is not None and (count := growth.step(block, most)):
            return count
        frames = block.frames[block.place : block.place + most]
        if self._bound_px == 0:  # else slow phase would take on what positions are wrong by
            if block.place == 0 and self.slow.is_due(len(block.frames)):
                block.unseen = evenly(block.frames, SAMPLE_FRAMES)
            self._look(block, max(1, SAMPLE_AT_ONCE_PX // self._probe.size_px**2))
        self._descend(block, frames)
        block.place += len(frames)
        if not is_batched(block.known.device):  # a GPU is waited for once a pass
            self._note(block, torch.cat(block.unread).tolist())
        return len(frames)

    def _descend(self, block: Block, frames: list[Kept]) -> None:
        """Add the descent of some frames to the pass."""
        windows = block.windows(frames)
        patches = windows.gather(block.ahead)
        amplitude = block.patterns(frames)
        probes = self._probe.ahead.of(frames)
        far = torch.fft.fft2(patches[:, None] * probes.probe, norm="ortho")
        magnitude = magnitude_of(far)
        if self._light is not None:
            amplitude = self._light.even(frames, amplitude)
            self._light.add(frames, magnitude, amplitude)
        mask = mask_of(amplitude)
        excess = mask_(magnitude - amplitude, mask)
        back = torch.fft.ifft2(toward(far, excess, magnitude), norm="ortho")
        windows.scatter_add(block.descent, over_modes(back * probes.back))
        windows.scatter_add(block.curvature, probes.intensity)
        learns_probe = self._probe.follows(block)
        felt = [i for i, frame in enumerate(frames) if self._bound_px > 0 and frame.visits >= LEAST_VISITS]
        if learns_probe or felt:
            parts = back * patches.conj()[:, None]
            if learns_probe:
                self._probe.learn(frames, parts, patches)
            for i in felt:
                lit = intensity(patches[i])
                block.pulls.add(frames[i].offset, self._probe.ahead.shifted, frames[i].shift, parts[i], lit)
            if felt:
                block.pulls.note(excess[felt], amplitude[felt])
        if len(block.frames) == len(self._buffer):
            block.add_shift(magnitude, amplitude, mask)
        block.unread.append(torch.linalg.vector_norm(excess, ord=1, dim=(1, 2)))

    def _note(self, block: Block, misfits: list[float]) -> None:
        """Enter the misfits of the frames that were visited last."""
        block.unread.clear()
        self._buffer.note(block.frames[block.place - len(misfits) : block.place], misfits)

    def finish(self, block: Block) -> bool:
        """End a pass: move the object, then the probe and the positions. False, and nothing is moved, if it has diverged.

        Values are read once; whether the descent turns against the way it went, which is known later, with the next pass.
        """
        self._prior_descend(block)
        step = block.descent / (curvature := block.curvature + block.stiffness)
        product = None
        if self._bound_px == 0:
            self._look(block, len(block.unseen))
            self.slow.settle()
            product = self.slow.seek(block, step, curvature)
        found = self._read(block, step, product)
        if block.has_diverged:
            return False
        if not math.isfinite(found.slow):
            raise ReconstructionError(
                "a pass of the refinement gave values that are not finite; the picture is left as it was"
            )
        is_settled = found.probe_change < SETTLED  # else slow phase would take on what the probe is wrong by
        self.slow.lengthen(step, found.slow, is_settled=is_settled)
        if found.against > 0:
            self._momentum = RESTARTED
        if block.has_risen:
            self._momentum = 1.0
        change, lead = self._move_object(block, step, is_settled=is_settled)
        here = self._canvas.place(Box(*block.corner, *block.ahead.shape))
        self._canvas.planes["object"][here.window].add_(change)
        self._canvas.touch(*here)
        if len(block.frames) == len(self._buffer):
            self._turn(block, found.shift)
        self._move_rest(block, lead)
        return True

    def _move_rest(self, block: Block, lead: Tensor) -> None:
        """Move probe, light and positions, and go on to the next pass."""
        self._probe.move(lead)
        if self._light is not None:
            self._light.end_pass()
        if self._bound_px > 0:
            self._displace(block, float(lead))
        block.next_pass()
        if self.growth is not None:
            self.growth.end_pass(block)

    def _prior_descend(self, block: Block) -> None:
        """Add the descent of both priors to the pass."""
        block.descent.addcmul_(block.ahead - block.prior, block.prior_weight)
        block.add_bend()

    def _read(self, block: Block, step: Tensor, product: Tensor | None) -> _Read:
        """Read what a pass has found, and enter the misfits that have not been read."""
        if product is None:
            product = self._nothing * torch.view_as_real(step).sum()
        numbers = [product, self._against, self._probe.last_step]
        values = torch.cat([*block.unread, *(n.view(1) for n in numbers), block.shift.flatten()]).tolist()
        visited = len(values) - len(numbers) - block.shift.numel()
        if visited:
            self._note(block, values[:visited])
        slow, against, change, *shift = values[visited:]
        return _Read(slow, against, self._probe.change_of(change), [s / 4 for s in shift])

    def _move_object(self, block: Block, step: Tensor, *, is_settled: bool) -> tuple[Tensor, Tensor]:
        """Move the block's object; return the change, and the share of it by which momentum leads."""
        new = block.ahead - step
        if is_settled and self._holds_bowl(block):
            new = without_bowl(new, block.known, block.curvature)
        change = new - block.known
        self._against = torch.dot(torch.view_as_real(step).flatten(), torch.view_as_real(change).flatten())
        grown = (1 + (1 + 4 * self._momentum**2) ** 0.5) / 2
        lead = (self._momentum - 1) / grown * (self._against <= 0)
        block.ahead, block.known, self._momentum = torch.addcmul(new, change, lead), new, grown
        return change, lead

    def _holds_bowl(self, block: Block) -> bool:
        """Whether the sample is found, so that the bowl only takes on what probe and positions are wrong by."""
        is_late = block.passes >= BOWL_PASSES and len(block.frames) == len(self._buffer)
        return is_late and self._probe.follows(block)

    def begin_again(self, block: Block) -> None:
        """Take back what a diverging pass made: the start under its frames, the first probe, which stays from now on."""
        region = Box(*block.corner, *block.ahead.shape)
        here = self._canvas.place(region)
        target = self._canvas.planes["object"][here.window]
        target.copy_(torch.where(block.curvature > 0, self._buffer.start(region), target))
        self._canvas.touch(*here)
        for frame in block.frames:
            frame.least_misfit = float("inf")
        self._probe.take_back()
        self._momentum, self.slow = 1.0, SlowPhase()
        self._against = self._nothing

    def _look(self, block: Block, most: int) -> None:
        """Look at the next of the frames that tell how much of slow phase is felt: a few a step, for a short pause."""
        some, block.unseen = block.unseen[:most], block.unseen[most:]
        if some:
            self.slow.look(*self._probe.far(some, block.cut(block.known, some)))

    def _displace(self, block: Block, lead: float) -> None:
        """Move the frames to where they pull."""
        block.pulls.move(self._bound_px, lead)
        block.pulls = OffsetPulls()
        half = self._probe.size_px // 2
        for frame in block.frames:
            whole = frame.corner[0] + half, frame.corner[1] + half
            frame.shift = shift_from(whole, moved(frame.position_px, frame.offset.ahead_px))
            self._buffer.is_displaced |= max(map(abs, frame.shift)) > STEPS // 2 + 1

    def _turn(self, block: Block, shift: list[float]) -> None:
        """Take the phase ramp off the whole object, if a sample of the frames fits better without it.

        Where the patterns are speckle finer than their shift, the ramp found from it is chance.
        """
        shape = self._canvas.shape
        turned = ramp_factor(shift, self._probe.size_px, shape, block.known.shape, block.known.device)
        if turned is None:
            return
        mine = turned[self._canvas.place(Box(*block.corner, *block.known.shape)).window].contiguous()
        factor = torch.where(self._fits_better(block, mine), turned, self._one)
        self._canvas.planes["object"] *= factor
        self._canvas.touch(0, 0, *shape)
        mine = factor[self._canvas.place(Box(*block.corner, *block.known.shape)).window]
        block.known, block.ahead = block.known * mine, block.ahead * mine

    def _fits_better(self, block: Block, factor: Tensor) -> Tensor:
        """Return whether sum (|F(P O)| - a)^2 of some frames is less with a factor ``(H, W)`` on the object of the block."""
        frames = evenly(block.frames, TURN_FRAMES)
        windows = block.windows(frames)
        patches = windows.gather(block.known)
        far, amplitude = self._probe.far(frames, torch.stack((patches, patches * windows.gather(factor))))
        magnitude = magnitude_of(far.flatten(0, 1)).view(2, *amplitude.shape)
        excess = mask_(magnitude - amplitude, mask_of(amplitude))
        squares = excess.square().sum((1, 2, 3))
        return squares[1] < squares[0]


def evenly(frames: list[Kept], most: int) -> list[Kept]:
    """Return at most this many of the frames, evenly chosen."""
    return frames[:: -(-len(frames) // most)]
