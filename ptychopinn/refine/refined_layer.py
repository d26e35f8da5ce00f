r"""The refined layer: an iterative reconstruction of all frames so far, updated in idle time.

A pass over a block of frames minimises the amplitude misfit sum (|F(P O)| - a)^2 with two priors,

    sum_px lambda |O - O_net|^2 + mu sum |grad O|^2,

where O_net is the network's mosaic. The step is the gradient divided by its diagonal curvature sum |P|^2 + lambda + 8 mu,
lengthened for slow phase (:mod:`ptychopinn.refine.slow_phase`), with Nesterov momentum that restarts when the gradient turns
against it. Slow phase settles in about five passes; updates frame by frame need a hundred. A phase ramp over the whole object
is the slowest of all; it is found from the common shift of the patterns (:mod:`ptychopinn.refine.phase_ramp`).

Counts are photons, so lambda is in photons a pixel: amplitudes of Poisson counts have the variance 1/4, and a network error of
standard deviation s gives lambda = 1 / (4 s^2). See :func:`ptychopinn.refine.prior.prior_strength`.

A block holds all frames while they are few, else the newest frame and those nearest to it, so a pass costs the same in a scan
of any length. The curvature of frames outside the block, sum |P|^2, keeps what they have found. Frames live in a buffer bounded
in bytes (:mod:`ptychopinn.refine.frame_buffer`); the oldest are dropped first, and their result is kept in the same way. The
probe is updated once there are enough frames. A pass that diverges is taken back (:attr:`Refiner.setbacks`).

Frames lie on whole pixels or, with ``is_subpixel``, between them (:mod:`ptychopinn.refine.subpixel_shifts`); their positions may
be corrected (:mod:`ptychopinn.refine.position_offsets`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.errors import ReconstructionError
from ptychopinn.mosaic.canvas import Box, Canvas
from ptychopinn.physics.diffraction import intensity
from ptychopinn.refine.certainty import Certainty, certainty
from ptychopinn.refine.frame_blocks import Block, Kept, bend
from ptychopinn.refine.frame_buffer import FrameBuffer, Start, around, moved
from ptychopinn.refine.phase_ramp import ramp_factor
from ptychopinn.refine.position_offsets import LEAST_VISITS, OffsetPulls
from ptychopinn.refine.prior import prior_strength, smoothness
from ptychopinn.refine.probe_gauge import Gauge
from ptychopinn.refine.slow_phase import SAMPLE_AT_ONCE_PX, SAMPLE_FRAMES, SlowPhase
from ptychopinn.refine.subpixel_shifts import STEPS, ShiftedProbes, shift_from, split

BLOCK_PASSES = 6
"""Passes over a block of a scan that is larger than one, before the next block."""
CHUNK_FRAMES = 8
"""Frames in a step: small enough to give way to new frames within a millisecond, large enough for the FFTs."""
STIFFEST = 8.0
"""Greatest curvature of the smoothness prior, in its weight."""
FLOOR = 0.01
"""Least curvature, of the greatest: keeps steps short where hardly any light falls."""
TURN_FRAMES, CERTAINTY_FRAMES = 32, 8
"""Frames that must fit better without a phase ramp, and frames that the certainty is taken from."""
MOST_SETBACKS = 3
"""Times that the refinement is begun again after it diverged."""
PROBE_FRAMES, PROBE_PASSES, PROBE_STEP = 100, 3, 0.3
"""The probe follows in blocks of at least this many frames, after this many passes, by this share of the whole step."""


class Refiner:
    """A live object estimate for one scan.

    Parameters
    ----------
    probe : (modes, N, N) complex64
        Its energy is the expected counts of a frame without sample.
    start
        Gives the network's mosaic ``(h, w)`` on a rectangle of the object's own frame; without it the start is the empty object.
    max_side_px
        Frames that would grow the canvas beyond this are not taken.
    buffer_bytes
        Bound on the patterns kept.
    update_probe
        Whether ``probe`` follows the frames.
    is_subpixel
        Whether frames lie between the pixels; else positions are rounded.
    position_bound_px
        How far a position may be corrected along y and x; 0 = not at all, else frames lie between the pixels.
    """

    def __init__(
        self,
        probe: Tensor,
        start: Start | None = None,
        max_side_px: int = 32768,
        buffer_bytes: int = 512 << 20,
        *,
        update_probe: bool = False,
        is_subpixel: bool = False,
        position_bound_px: float = 0.0,
    ) -> None:
        self.size_px = probe.shape[-1]
        self._probes = ShiftedProbes(probe)
        self._bound_px = position_bound_px
        self._is_subpixel = is_subpixel or position_bound_px > 0
        self._gauge = Gauge(probe)
        intensity = self._probes.intensity_at((0, 0))
        self._peak = float(intensity.max())
        self._weight = intensity / self._peak
        self._start: Start = start or (lambda box: torch.ones(box.h, box.w, dtype=torch.complex64, device=probe.device))
        self._update_probe = update_probe
        self._canvas = Canvas(
            {"object": ((), torch.complex64, 1.0), "coverage": ((), torch.float32, 0.0)}, max_side_px, probe.device
        )
        self._buffer = FrameBuffer(
            self._canvas,
            self._weight,
            self._start,
            buffer_bytes=buffer_bytes,
            is_subpixel=self._is_subpixel,
            bound_px=position_bound_px,
        )
        self._block: Block | None = None
        self._momentum = 1.0
        self._slow = SlowPhase()
        self._first_probe = probe
        self.updates = 0
        self.setbacks = 0
        """How often it diverged and was begun again from the start."""

    @property
    def probe(self) -> Tensor:
        """The probe as it is now."""
        return self._probes.probe

    @property
    def shape(self) -> tuple[int, int]:
        """Canvas size ``(H, W)``."""
        return self._canvas.shape

    @property
    def origin_px(self) -> tuple[int, int]:
        """Place of canvas pixel (0, 0) in the object's own frame."""
        return self._canvas.origin_px

    @property
    def left_out(self) -> set[int]:
        """Frames that are not worked on, since their amplitudes cannot be true."""
        return self._buffer.left_out

    @property
    def kept_bytes(self) -> int:
        """Memory of the patterns in the buffer."""
        return self._buffer.kept_bytes

    @property
    def rfactor(self) -> float | None:
        """R-factor over the buffered frames, each as it was at its last visit; None before the first."""
        return self._buffer.rfactor

    @property
    def least_visits(self) -> int:
        """Visits of the least visited frame in the buffer (0 when empty)."""
        return self._buffer.least_visits

    def add(self, index: int, amplitude: Tensor, position_px: tuple[float, float]) -> None:
        """Take a frame ``(N, N)`` float32, zero frequency in the middle, -1 = no data."""
        self._buffer.add(index, amplitude, position_px)

    def give_back(self, size_bytes: int) -> None:
        """Free this much memory of the oldest frames; the newest one is always kept."""
        self._buffer.give_back(size_bytes)

    def admit_all(self) -> None:
        """Lay the start under every frame that is new, so that the object covers all of them."""
        self._buffer.admit_all()

    def settled(self, most: int, least_visits: int) -> list[tuple[int, Tensor]]:
        """Return some of the frames visited often enough, with the object ``(N, N)`` at their place."""
        return self._buffer.settled(most, least_visits)

    def offsets_px(self, indexes: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float64]:
        """Return by how much the positions of frames are corrected ``(n, 2)``; 0 where they are not."""
        return self._buffer.offsets_px(indexes)

    def step(self) -> int:
        """Work on the next few frames of the pass; return how many. 0 if there is none."""
        block = self._block
        if self.has_given_up:
            return 0
        if block is None or (block.place == 0 and self._is_spent(block)):
            block = self._block = self._begin(block)
            if block is None:
                return 0
        frames = block.frames[block.place : block.place + CHUNK_FRAMES]
        if self._bound_px == 0:  # else slow phase would take on what positions are wrong by
            if block.place == 0 and self._slow.is_due(len(block.frames)):
                block.unseen = evenly(block.frames, SAMPLE_FRAMES)
            self._look(block, max(1, SAMPLE_AT_ONCE_PX // self.size_px**2))
        self._descend(block, frames)
        block.place += len(frames)
        if block.place == len(block.frames):
            (self._begin_again if block.has_diverged else self._finish_pass)(block)
        self.updates += len(frames)
        return len(frames)

    def _is_spent(self, block: Block) -> bool:
        return (
            self._buffer.is_displaced
            or self._buffer.has_new
            or (block.passes >= BLOCK_PASSES and len(block.frames) < len(self._buffer))
        )

    def _begin(self, last: Block | None) -> Block | None:
        """Choose the next frames; carry on the momentum where they lie on the last ones' place."""
        frames, is_displaced = self._buffer.next_block()
        if not frames:
            return None
        region = around([corner for f in frames for corner in (f.corner, f.start_corner)], self.size_px)
        here, start = self._canvas.place(region), self._start(region)
        block = Block(frames, (region.y, region.x), self._canvas.planes["object"][here.window].clone(), self.size_px)
        if last is not None:
            block.follow(last)
            if is_displaced and last.frames == frames:
                block.passes = last.passes
        own = torch.zeros_like(block.curvature)
        for frame in frames:
            lies_there = block.window(frame.start_corner)
            block.prior[lies_there] = start[lies_there]
            own[block.window(frame.corner)] += self._weight
        others = (self._canvas.planes["coverage"][here.window] - own).clamp_min_(0.0).mul_(self._peak)
        strength = prior_strength(block.prior, own, self._peak)
        block.smoothness = smoothness(block.prior, own, self._peak)
        block.prior_weight = others + strength
        block.prior = (block.prior * strength + block.known * others) / block.prior_weight
        return block

    def _descend(self, block: Block, frames: list[Kept]) -> None:
        """Add the descent of some frames to the pass."""
        windows = [block.window(frame.corner) for frame in frames]
        patches = block.cut(block.ahead, frames)
        amplitude = torch.stack([frame.amplitude for frame in frames])
        shifts = [frame.shift for frame in frames]
        probes = self._probes.stack(shifts)
        far = torch.fft.fft2(patches[:, None] * probes, norm="ortho")
        magnitude = _magnitude(far)
        excess = (magnitude - amplitude).mul_(amplitude.sign().clamp_max_(0.0).add_(1.0))  # 0 where there is no data
        back = torch.fft.ifft2(far * (excess / magnitude.clamp_min(1e-6))[:, None], norm="ortho")
        descents = _over_modes(back * probes.conj())
        for shift, window, descent in zip(shifts, windows, descents, strict=True):
            block.descent[window] += descent
            block.curvature[window] += self._probes.intensity_at(shift)
        learns_probe = self._learns_probe(block)
        felt = [i for i, frame in enumerate(frames) if self._bound_px > 0 and frame.visits >= LEAST_VISITS]
        if learns_probe or felt:
            parts, lit = back * patches.conj()[:, None], intensity(patches)
            if learns_probe:
                block.add_probe_descent(shifts, parts, lit)
            for i in felt:
                block.pulls.add(frames[i].offset, self._probes, shifts[i], parts[i], lit[i])
            if felt:
                block.pulls.note(excess[felt], amplitude[felt])
        if len(block.frames) == len(self._buffer):
            block.add_shift(magnitude, amplitude)
        self._buffer.note(frames, excess.abs().sum((1, 2)).tolist())

    def _learns_probe(self, block: Block) -> bool:
        return self._update_probe and len(block.frames) >= PROBE_FRAMES and block.passes >= PROBE_PASSES

    def _begin_again(self, block: Block) -> None:
        """Take back what a diverging pass made: the start under its frames, the first probe, which stays from now on."""
        region = Box(*block.corner, *block.ahead.shape)
        here = self._canvas.place(region)
        target = self._canvas.planes["object"][here.window]
        target.copy_(torch.where(block.curvature > 0, self._start(region), target))
        self._canvas.touch(*here)
        for frame in block.frames:
            frame.least_misfit = math.inf
        self._probes, self._update_probe = ShiftedProbes(self._first_probe), False
        self._momentum, self._slow, self._block = 1.0, SlowPhase(), None
        self.setbacks += 1

    @property
    def has_given_up(self) -> bool:
        """Whether it has diverged too often: the picture stays as it was begun."""
        return self.setbacks >= MOST_SETBACKS

    def _finish_pass(self, block: Block) -> None:
        """Move the object, then the probe."""
        here = self._canvas.place(Box(*block.corner, *block.ahead.shape))
        block.descent += block.prior_weight * (block.ahead - block.prior)
        block.descent += block.smoothness * bend(block.ahead)
        curvature = block.curvature + block.prior_weight + FLOOR * self._peak + STIFFEST * block.smoothness
        step = block.descent / curvature
        if self._bound_px == 0:
            self._look(block, len(block.unseen))
            self._slow.settle()
            step += self._slow.longer(block, curvature)
        if not bool(torch.isfinite(step.sum())):
            raise ReconstructionError(
                "a pass of the refinement gave values that are not finite; the picture is left as it was"
            )
        moved = block.ahead - step
        change = moved - block.known
        if float((step.conj() * change).real.sum()) > 0:  # the descent turns against the way it went
            self._momentum = 1.0
        grown = (1 + (1 + 4 * self._momentum**2) ** 0.5) / 2
        lead = (self._momentum - 1) / grown
        block.ahead = moved + lead * change
        block.known = moved
        self._canvas.planes["object"][here.window] += change
        self._momentum = grown
        self._canvas.touch(*here)
        if len(block.frames) == len(self._buffer):
            self._turn(block)
        if block.probe_descent is not None and block.probe_curvature is not None:
            self._move_probe(block.probe_descent.total(), block.probe_curvature)
        if self._bound_px > 0:
            self._displace(block, lead)
        block.descent.zero_()
        block.curvature.zero_()
        block.shift.zero_()
        block.probe_descent = block.probe_curvature = None
        block.passes, block.place = block.passes + 1, 0

    def _look(self, block: Block, most: int) -> None:
        """Look at the next of the frames that tell how much of slow phase is felt: a few a step, for a short pause."""
        some, block.unseen = block.unseen[:most], block.unseen[most:]
        if some:
            self._slow.look(*self._far(some, block.cut(block.known, some)))

    def _displace(self, block: Block, lead: float) -> None:
        """Move the frames to where they pull."""
        block.pulls.move(self._bound_px, lead)
        block.pulls = OffsetPulls()
        half = self.size_px // 2
        for frame in block.frames:
            whole = frame.corner[0] + half, frame.corner[1] + half
            frame.shift = shift_from(whole, moved(frame.position_px, frame.offset.ahead_px))
            self._buffer.is_displaced |= max(map(abs, frame.shift)) > STEPS // 2 + 1

    def _turn(self, block: Block) -> None:
        """Take the phase ramp off the whole object, if a sample of the frames fits better without it.

        Where the patterns are speckle finer than their shift, the ramp found from it is chance.
        """
        turned = ramp_factor(block.shift, self.size_px, self.shape, block.known.shape)
        if turned is None:
            return
        mine = turned[self._canvas.place(Box(*block.corner, *block.known.shape)).window]
        some = evenly(block.frames, TURN_FRAMES)
        if self._square_misfit(block, some, block.known * mine) < self._square_misfit(block, some, block.known):
            self._canvas.planes["object"] *= turned
            self._canvas.touch(0, 0, *self.shape)
            block.known, block.ahead = block.known * mine, block.ahead * mine

    def _square_misfit(self, block: Block, frames: list[Kept], picture: Tensor) -> float:
        """Return sum (|F(P O)| - a)^2 of frames for another object of the block."""
        far, amplitude = self._far(frames, block.cut(picture, frames))
        return float(torch.where(amplitude < 0, 0.0, _magnitude(far) - amplitude).square().sum())

    def _far(self, frames: list[Kept], patches: Tensor) -> tuple[Tensor, Tensor]:
        """Return frames' far fields ``(B, modes, N, N)`` with these patches ``(B, N, N)``, and patterns ``(B, N, N)``."""
        probes = self._probes.stack([frame.shift for frame in frames])
        amplitude = torch.stack([frame.amplitude for frame in frames])
        return torch.fft.fft2(patches[:, None] * probes, norm="ortho"), amplitude

    def _move_probe(self, descent: Tensor, curvature: Tensor) -> None:
        change = -PROBE_STEP * descent / (curvature + FLOOR * curvature.max())
        if bool(torch.isfinite(change.sum())):
            self._probes = ShiftedProbes(self.probe + self._gauge.without_free(change))

    def certainty(self) -> Certainty | None:
        """Return how far the object can be believed, by some of the frames; None before there is one."""
        admitted = self._buffer.admitted
        if not admitted:
            return None
        frames = evenly(admitted, CERTAINTY_FRAMES)
        value, coverage = (self._canvas.planes[name] for name in ("object", "coverage"))
        patches = torch.stack([value[self._buffer.box(frame).window] for frame in frames])
        (far, amplitude), (far_empty, _) = (self._far(frames, p) for p in (patches, torch.ones_like(patches)))
        return certainty(value, coverage, self._peak, _magnitude(far), _magnitude(far_empty), amplitude)

    def take_dirty(self) -> list[Box]:
        """Return the rectangles that changed since the last call."""
        return self._canvas.take_dirty()

    def read(self, box: Box | None = None) -> tuple[Tensor, Tensor]:
        """Return object ``(h, w)`` complex64 (0 where no frame lies) and coverage ``(h, w)`` float32."""
        window = (box or Box(0, 0, *self.shape)).window
        coverage = self._canvas.planes["coverage"][window]
        return torch.where(coverage > 0, self._canvas.planes["object"][window], 0), coverage.clone()

    @property
    def corrects(self) -> bool:
        """Whether positions may be corrected."""
        return self._bound_px > 0

    def probes_at(self, positions_px: Sequence[tuple[float, float]] | NDArray[np.float64]) -> Tensor:
        """Return the probe at positions ``(B, modes, N, N)``; ``(1, modes, N, N)`` where all are the same."""
        return self._probes.stack([split(p)[1] if self._is_subpixel else (0, 0) for p in positions_px])

    def cut(self, position_px: tuple[float, float]) -> Tensor:
        """Return the patch ``(N, N)`` complex64 at a position, rounded to whole pixels; it must lie on the canvas."""
        return self._canvas.planes["object"][self._canvas.place(Box.around(position_px, self.size_px)).window]


def _magnitude(far: Tensor) -> Tensor:
    """Return the amplitudes ``(B, N, N)`` of far fields ``(B, modes, N, N)``."""
    return _over_modes(intensity(far)).sqrt()


def _over_modes(parts: Tensor) -> Tensor:
    """Return the sum ``(B, N, N)`` over the modes ``(B, modes, N, N)``."""
    return parts[:, 0] if parts.shape[1] == 1 else parts.sum(1)


def evenly(frames: list[Kept], most: int) -> list[Kept]:
    """Return at most this many of the frames, evenly chosen."""
    return frames[:: -(-len(frames) // most)]
