r"""The refined layer: an object estimate that the frames received so far pull at together, pass after pass.

A pass over a block of frames computes the descent of the amplitude misfit sum (|F(P O)| - a)^2 with the prior

    sum_px lambda |O - O_net|^2,

O_net the network's mosaic, and a little smoothness, mu sum |grad O|^2; divides it by its diagonal curvature
sum |P|^2 + lambda + 8 mu; makes what is slow phase of it longer (:mod:`ptychopinn.refine.slow_phase`); and adds momentum
(Nesterov's, begun anew when the descent turns against it). That settles slow phase in some five passes, where sweeps frame
by frame need a hundred; a ramp over everything, slowest of all, is found from the patterns' common shift. Counts are
photons, so lambda is in photons a pixel: amplitudes of Poisson counts have the variance 1/4, and a network's error of
standard deviation s gives lambda = 1 / (4 s^2). It is small, and larger where the photons say less than the network does: for a
weak sample in few counts (see :func:`_prior`).

Blocks: all frames while they are few, else the newest frame and those nearest to it, so that a pass costs the same in a
scan of any length; what frames outside a block have found is held by their own curvature, sum |P|^2 over them. Frames
live in a buffer bounded in bytes; the oldest go first, and what they gave is held likewise. A new frame blends the mosaic
into the object in proportion to how little is covered there. The probe follows once there are enough frames. A frame that
is not finite, or far brighter than the others of its block, is left out (:attr:`Refiner.left_out`), and it alone.

Frames lie on whole pixels, or, with ``is_subpixel``, between them (:mod:`ptychopinn.refine.subpixel_shifts`), and their
positions may be corrected (:mod:`ptychopinn.refine.position_offsets`).
"""

from __future__ import annotations

import math
from array import array
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.errors import ReconstructionError
from ptychopinn.mosaic.canvas import Box, Canvas
from ptychopinn.physics.diffraction import intensity
from ptychopinn.refine.certainty import Certainty, certainty
from ptychopinn.refine.frame_blocks import Block, Kept, bend, steepness
from ptychopinn.refine.position_offsets import LEAST_VISITS, OffsetPulls
from ptychopinn.refine.probe_gauge import Gauge
from ptychopinn.refine.slow_phase import SAMPLE_AT_ONCE_PX, SAMPLE_FRAMES, SlowPhase
from ptychopinn.refine.subpixel_shifts import STEPS, ShiftedProbes, shift_from, split

ADMITTED_FRAMES = 64
BLOCK_FRAMES = 1024
BLOCK_PASSES = 6
CHUNK_FRAMES = 8
PRIOR, PRIOR_SHARE, DOUBT = 2.0, 0.005, 2.0
LEAST_CONTRAST = 0.05
SMOOTHNESS, STIFFEST, LEAST_STEEPNESS = 0.01, 8.0, 1e-6
FLOOR = 0.01
NEW_SHARE = 10.0
LEAST_TURN_RAD, SURE, TURN_FRAMES = 0.02, 5.0, 32
CERTAINTY_FRAMES = 8
MOST_BRIGHT = 100.0
"""Sum of a frame's amplitudes over the median of its block's: 10^4 times their counts. Beams flicker by 10, absorbers by 100."""
MOST_SETBACKS = 3
"""Times that the refinement is begun again after it diverged."""
PROBE_FRAMES, PROBE_PASSES, PROBE_STEP = 100, 3, 0.3

Start = Callable[[Box], Tensor]


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
        self._start = start or (lambda box: torch.ones(box.h, box.w, dtype=torch.complex64, device=probe.device))
        self._update_probe = update_probe
        self._canvas = Canvas(
            {"object": ((), torch.complex64, 1.0), "coverage": ((), torch.float32, 0.0)}, max_side_px, probe.device
        )
        self._frames: OrderedDict[int, Kept] = OrderedDict()
        self._visits: Counter[int] = Counter()
        self._frame_bytes = 4 * self.size_px**2
        self._buffer_frames = max(1, buffer_bytes // self._frame_bytes)
        self._new: list[int] = []
        self._block: Block | None = None
        self._is_displaced = False
        self._gone, self._gone_px = array("q"), array("f")
        self._momentum = 1.0
        self._slow = SlowPhase()
        self._misfit = self._total = 0.0
        self._random = np.random.default_rng(0)
        self._first_probe = probe
        self.updates = 0
        self.setbacks = 0
        """How often it diverged and was begun again from the start."""
        self.left_out: set[int] = set()
        """Frames that are not worked on, since their amplitudes cannot be true."""

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

    def add(self, index: int, amplitude: Tensor, position_px: tuple[float, float]) -> None:
        """Take a frame ``(N, N)`` float32, zero frequency in the middle, -1 = no data."""
        self._frames[index] = Kept(amplitude, position_px)
        self._visits[0] += 1
        self._new.append(index)
        if len(self._frames) > self._buffer_frames:
            self._let_go(next(iter(self._frames)))

    @property
    def kept_bytes(self) -> int:
        """Memory of the patterns in the buffer."""
        return len(self._frames) * self._frame_bytes

    def give_back(self, size_bytes: int) -> None:
        """Let go of the oldest frames until so much memory is free; the newest one is always kept."""
        for _ in range(min(len(self._frames) - 1, -(-size_bytes // self._frame_bytes))):
            self._let_go(next(iter(self._frames)))

    def admit_all(self) -> None:
        """Lay the start under every frame that is new, so that the object covers all of them."""
        new, self._new = self._new, []
        for begin in range(0, len(new), ADMITTED_FRAMES):
            self._admit(new[begin : begin + ADMITTED_FRAMES])

    def _let_go(self, index: int) -> None:
        self._admit([index])
        if index in self._frames:
            self._forget(index)

    def _forget(self, index: int) -> None:
        frame = self._frames.pop(index)
        if frame.offset.moves:
            self._gone.append(index)
            self._gone_px.extend(frame.offset.known_px)
        self._visits[frame.visits] -= 1
        if frame.visits > 0:
            self._misfit -= frame.misfit
            self._total -= frame.total

    def _admit(self, indexes: Sequence[int]) -> None:
        """Blend the start into the object under frames that are new; forget those that would grow the canvas too far."""
        frames = []
        new = {i: frame for i in indexes if (frame := self._frames.get(i)) is not None and not frame.is_admitted}
        self._weigh(list(new.values()))
        for index, frame in new.items():
            if not math.isfinite(frame.total):
                self.left_out.add(index)
                self._forget(index)
            elif self._place(frame):
                frames.append(frame)
            else:
                self._forget(index)
        if not frames:
            return
        here = _around([frame.corner for frame in frames], self.size_px)
        is_dense = here.h * here.w <= len(frames) * self.size_px**2
        for some, box in [(frames, here)] if is_dense else [([f], Box(*f.corner, *self._weight.shape)) for f in frames]:
            self._blend(some, box)

    def _weigh(self, frames: list[Kept]) -> None:
        """Enter the sum of each frame's amplitudes."""
        if not frames:
            return
        sums = torch.stack([frame.amplitude for frame in frames]).clamp_min(0.0).sum((1, 2)).tolist()
        for frame, total in zip(frames, sums, strict=True):
            frame.total = total

    def _place(self, frame: Kept) -> bool:
        """Find a frame's place on the canvas; False if that would grow too large."""
        n = self.size_px
        (y, x), shift = split(frame.position_px)
        top, left, rim = y - n // 2, x - n // 2, math.ceil(self._bound_px)
        if not self._canvas.ensure(top - rim, left - rim, top + n + rim, left + n + rim):
            return False
        frame.corner = frame.start_corner = (top, left)
        if self._is_subpixel:
            frame.shift = shift
        frame.amplitude = torch.fft.ifftshift(frame.amplitude)
        frame.is_admitted = True
        return True

    def _blend(self, frames: list[Kept], here: Box) -> None:
        """Blend the start into the object under frames, in proportion to how little is covered there."""
        box = self._canvas.place(here)
        weight = torch.zeros(here.h, here.w, device=self._weight.device)
        for frame in frames:
            y, x = frame.corner
            weight[Box(y - here.y, x - here.x, self.size_px, self.size_px).window] += self._weight
            self._canvas.touch(*self._box(frame))
        coverage, target = (self._canvas.planes[name][box.window] for name in ("coverage", "object"))
        share = weight / (weight + NEW_SHARE * coverage).clamp_min(1e-12)
        target += share * (self._start(here) - target)
        coverage += weight

    def _box(self, frame: Kept) -> Box:
        return self._canvas.place(Box(*frame.corner, self.size_px, self.size_px))

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
                block.unseen = _some_of(block.frames, SAMPLE_FRAMES)
            self._look(block, max(1, SAMPLE_AT_ONCE_PX // self.size_px**2))
        self._descend(block, frames)
        block.place += len(frames)
        if block.place == len(block.frames):
            (self._begin_again if block.has_diverged else self._finish_pass)(block)
        self.updates += len(frames)
        return len(frames)

    def _is_spent(self, block: Block) -> bool:
        return (
            self._is_displaced
            or bool(self._new)
            or (block.passes >= BLOCK_PASSES and len(block.frames) < len(self._frames))
        )

    def _begin(self, last: Block | None) -> Block | None:
        """Choose the next frames; carry on the momentum where they lie on the last ones' place."""
        seed = next((self._frames[i] for i in reversed(self._new) if i in self._frames), None)
        self.admit_all()
        is_displaced = self._take_places()
        frames = self._believable(self._choose(seed))
        if not frames:
            return None
        around = _around([corner for f in frames for corner in (f.corner, f.start_corner)], self.size_px)
        here, start = self._canvas.place(around), self._start(around)
        block = Block(frames, (around.y, around.x), self._canvas.planes["object"][here.window].clone(), self.size_px)
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
        strength = _prior(block.prior, own, self._peak)
        block.smoothness = _smoothness(block.prior, own, self._peak)
        block.prior_weight = others + strength
        block.prior = (block.prior * strength + block.known * others) / block.prior_weight
        return block

    def _believable(self, frames: list[Kept]) -> list[Kept]:
        """Return the frames without those that are far brighter than the others, which are forgotten."""
        limit = MOST_BRIGHT * float(np.median([frame.total for frame in frames])) if frames else 0.0
        odd = {id(frame) for frame in frames if frame.total > limit > 0}
        if not odd:
            return frames
        for index, frame in list(self._frames.items()):
            if id(frame) in odd:
                self._canvas.planes["coverage"][self._box(frame).window].sub_(self._weight).clamp_min_(0.0)
                self.left_out.add(index)
                self._forget(index)
        return [frame for frame in frames if id(frame) not in odd]

    def _choose(self, seed: Kept | None) -> list[Kept]:
        frames = list(self._frames.values())
        if len(frames) <= BLOCK_FRAMES:
            return frames
        if seed is None or not seed.is_admitted:
            seed = min(frames, key=lambda f: f.visits)
        corners = np.array([f.corner for f in frames])
        distance = np.square(corners - np.array(seed.corner)).sum(axis=1)
        nearest = np.argpartition(distance, BLOCK_FRAMES)[:BLOCK_FRAMES]
        return [frames[i] for i in nearest.tolist()]

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
        if len(block.frames) == len(self._frames):
            block.add_shift(magnitude, amplitude)
        self._note(frames, excess.abs().sum((1, 2)).tolist())

    def _note(self, frames: list[Kept], misfits: list[float]) -> None:
        for frame, misfit in zip(frames, misfits, strict=True):
            if frame.visits == 0:
                self._total += frame.total
            self._visits[frame.visits] -= 1
            frame.visits += 1
            self._visits[frame.visits] += 1
            self._misfit += misfit - frame.misfit
            frame.misfit = misfit
            frame.least_misfit = min(frame.least_misfit, misfit)

    def _learns_probe(self, block: Block) -> bool:
        return self._update_probe and len(block.frames) >= PROBE_FRAMES and block.passes >= PROBE_PASSES

    def _begin_again(self, block: Block) -> None:
        """Take back what a diverging pass made: the start under its frames, the first probe, which stays from now on."""
        around = Box(*block.corner, *block.ahead.shape)
        here = self._canvas.place(around)
        target = self._canvas.planes["object"][here.window]
        target.copy_(torch.where(block.curvature > 0, self._start(around), target))
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
        if len(block.frames) == len(self._frames):
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
            frame.shift = shift_from(whole, _moved(frame.position_px, frame.offset.ahead_px))
            self._is_displaced |= max(map(abs, frame.shift)) > STEPS // 2 + 1

    def _take_places(self) -> bool:
        """Lay frames that have moved on the pixels nearest to them; False if none had moved so far."""
        if not self._is_displaced:
            return False
        self._is_displaced = False
        n = self.size_px
        for frame in self._frames.values():
            (y, x), shift = split(_moved(frame.position_px, frame.offset.ahead_px))
            top, left = y - n // 2, x - n // 2
            if (top, left) != frame.corner:  # on the canvas, which has a rim as wide as the bound
                coverage = self._canvas.planes["coverage"]
                coverage[self._box(frame).window].sub_(self._weight).clamp_min_(0.0)
                frame.corner, frame.shift = (top, left), shift
                coverage[self._box(frame).window] += self._weight
        return True

    def _turn(self, block: Block) -> None:
        """Turn the whole object by the phase ramp that its patterns' shift against the measured ones tells.

        A ramp is the slowest of all for the descent, since each frame alone hardly feels it. Where patterns are speckle
        finer than the shift, what they tell is chance, so a turn must make a sample of the frames fit better.
        """
        pull, stiffness = block.shift.tolist()
        certain = [
            p**2 > SURE**2 * s / 4 for p, s in zip(pull, stiffness, strict=True)
        ]  # an amplitude's variance is 1/4
        ramp = [
            2 * np.pi / self.size_px * p / s if is_sure else 0.0
            for p, s, is_sure in zip(pull, stiffness, certain, strict=True)
        ]
        turns = [r * side for r, side in zip(ramp, block.known.shape, strict=True)]
        if max(map(abs, turns)) < LEAST_TURN_RAD:
            return
        y, x = (
            torch.arange(size, device=block.known.device) * r - turn / 2
            for size, r, turn in zip(self.shape, ramp, turns, strict=True)
        )
        turned = torch.exp(1j * (y[:, None] + x[None, :]))
        mine = turned[self._canvas.place(Box(*block.corner, *block.known.shape)).window]
        some = _some_of(block.frames, TURN_FRAMES)
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

    @property
    def rfactor(self) -> float | None:
        """R-factor over the buffered frames, each as it was at its last visit; None before the first."""
        rfactor = self._misfit / self._total if self._total > 0 else math.nan
        return rfactor if math.isfinite(rfactor) else None

    def certainty(self) -> Certainty | None:
        """Return how far the object can be believed, by some of the frames; None before there is one."""
        admitted = [f for f in self._frames.values() if f.is_admitted]
        if not admitted:
            return None
        frames = _some_of(admitted, CERTAINTY_FRAMES)
        value, coverage = (self._canvas.planes[name] for name in ("object", "coverage"))
        patches = torch.stack([value[self._box(frame).window] for frame in frames])
        (far, amplitude), (far_empty, _) = (self._far(frames, p) for p in (patches, torch.ones_like(patches)))
        return certainty(value, coverage, self._peak, _magnitude(far), _magnitude(far_empty), amplitude)

    @property
    def least_visits(self) -> int:
        """Visits of the least visited frame in the buffer (0 when empty)."""
        return min((visits for visits, count in self._visits.items() if count > 0), default=0)

    def settled(self, most: int, least_visits: int) -> list[tuple[int, Tensor]]:
        """Return some of the frames visited often enough, with the object ``(N, N)`` at their place."""
        keys = list(self._frames)
        some = self._random.choice(len(keys), min(most, len(keys)), replace=False).tolist() if keys else []
        frames = [(keys[i], self._frames[keys[i]]) for i in some]
        planes = self._canvas.planes["object"]
        return [(key, planes[self._box(f).window].clone()) for key, f in frames if f.visits >= least_visits]

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

    def offsets_px(self, indexes: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float64]:
        """Return by how much the positions of frames are corrected ``(n, 2)``; 0 where they are not."""
        gone = dict(zip(self._gone, zip(self._gone_px[::2], self._gone_px[1::2], strict=True), strict=True))
        found = [
            frame.offset.known_px if (frame := self._frames.get(int(index))) else gone.get(int(index), (0.0, 0.0))
            for index in indexes
        ]
        return np.array(found, dtype=np.float64).reshape(-1, 2)

    def probes_at(self, positions_px: Sequence[tuple[float, float]] | NDArray[np.float64]) -> Tensor:
        """Return the probe at positions ``(B, modes, N, N)``; ``(1, modes, N, N)`` where all are the same."""
        return self._probes.stack([split(p)[1] if self._is_subpixel else (0, 0) for p in positions_px])

    def cut(self, position_px: tuple[float, float]) -> Tensor:
        """Return the patch ``(N, N)`` complex64 at a position, rounded to whole pixels; it must lie on the canvas."""
        return self._canvas.planes["object"][self._canvas.place(Box.around(position_px, self.size_px)).window]


def _around(corners: list[tuple[int, int]], size_px: int) -> Box:
    """Return the rectangle around patches with these corners."""
    (top, left), (bottom, right) = np.min(corners, axis=0).tolist(), np.max(corners, axis=0).tolist()
    return Box(top, left, bottom - top + size_px, right - left + size_px)


def _magnitude(far: Tensor) -> Tensor:
    """Return the amplitudes ``(B, N, N)`` of far fields ``(B, modes, N, N)``."""
    return _over_modes(intensity(far)).sqrt()


def _over_modes(parts: Tensor) -> Tensor:
    """Return the sum ``(B, N, N)`` over the modes ``(B, modes, N, N)``."""
    return parts[:, 0] if parts.shape[1] == 1 else parts.sum(1)


def _some_of(frames: list[Kept], most: int) -> list[Kept]:
    """Return at most so many of the frames, evenly chosen."""
    return frames[:: -(-len(frames) // most)]


def _moved(position_px: tuple[float, float], offset_px: tuple[float, float]) -> tuple[float, float]:
    return position_px[0] + offset_px[0], position_px[1] + offset_px[1]


def _prior(picture: Tensor, coverage: Tensor, peak: float) -> float:
    """Return the prior's strength, photons a pixel.

    A share of the photons W on a pixel, PRIOR at most; and where they tell a contrast c from noise badly (W c^2 small) as
    much as the contrast itself allows the network to be wrong, 1 / (4 c^2), DOUBT at most.
    """
    weight = coverage.sum().clamp_min(1e-12)
    mean = (picture * coverage).sum() / weight
    spread = ((picture - mean).abs().square() * coverage).sum() / weight
    contrast = max(float(spread / mean.abs().square().clamp_min(1e-12)), LEAST_CONTRAST**2)
    photons = _photons(coverage, peak)
    return min(PRIOR, PRIOR_SHARE * photons) + min(DOUBT, 1 / (4 * contrast) / (1 + 2 * photons * contrast))


def _smoothness(picture: Tensor, coverage: Tensor, peak: float) -> float:
    """Return the weight of the squared gradient, photons a pixel: at most the photons there, 0 for an empty picture."""
    found = steepness(picture, coverage)
    return 0.0 if found < LEAST_STEEPNESS else min(SMOOTHNESS / found, _photons(coverage, peak))


def _photons(coverage: Tensor, peak: float) -> float:
    """Return the photons a pixel, where most of them fall."""
    return peak * float(coverage.square().sum() / coverage.sum().clamp_min(1e-12))
