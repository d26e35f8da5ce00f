r"""The refined layer: an object estimate that the frames received so far pull at together, pass after pass.

A pass over a block of frames computes the descent of the amplitude misfit sum (|F(P O)| - a)^2 with the prior

    sum_px lambda |O - O_net|^2,

O_net the network's mosaic; divides it by its diagonal curvature sum |P|^2 + lambda; and adds momentum (Nesterov's, begun
anew when the descent turns against it). That settles slow phase in some ten passes, where sweeps frame by frame need a
hundred; a ramp over everything, slowest of all, is found from the patterns' common shift. Counts are photons, so lambda is
in photons a pixel: amplitudes of Poisson counts have the variance 1/4, and a network's error of standard deviation s gives
lambda = 1 / (4 s^2). It is small, and larger where the photons say less than the network does: for a weak sample in few
counts (see :func:`_prior`).

Blocks: all frames while they are few, else the newest frame and those nearest to it, so that a pass costs the same in a
scan of any length; what frames outside a block have found is held by their own curvature, sum |P|^2 over them. Frames
live in a buffer bounded in bytes; the oldest go first, and what they gave is held likewise. A new frame blends the mosaic
into the object in proportion to how little is covered there. The probe follows once there are enough frames.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ptychopinn.canvas import Box, Canvas

BLOCK_FRAMES = 1024
BLOCK_PASSES = 6
CHUNK_FRAMES = 8
PRIOR, PRIOR_SHARE, DOUBT = 2.0, 0.005, 2.0
LEAST_CONTRAST = 0.05
FLOOR = 0.01
NEW_SHARE = 10.0
LEAST_TURN_RAD, SURE = 0.02, 5.0
PROBE_FRAMES, PROBE_PASSES, PROBE_STEP = 100, 3, 0.3

StartAt = Callable[[tuple[float, float]], Tensor]


@dataclass(slots=True)
class _Kept:
    """A frame in the buffer. Once admitted, ``amplitude`` has its zero frequency at the corner."""

    amplitude: Tensor
    position_px: tuple[float, float]
    corner: tuple[int, int] = (0, 0)
    is_admitted: bool = False
    visits: int = 0
    misfit: float = 0.0
    total: float = 0.0


class _Gauge:
    """What is free between probe and object is held: the probe does not change along its scale, phase, place and ramp."""

    def __init__(self, probe: Tensor) -> None:
        size = probe.shape[-1]
        along = torch.arange(size, device=probe.device) - size / 2
        slopes = [(torch.roll(probe, -1, d) - torch.roll(probe, 1, d)) / 2 for d in (-2, -1)]
        free = [probe, 1j * probe, 1j * along[:, None] * probe, 1j * along * probe, *slopes]
        flat = torch.stack([torch.view_as_real(part).flatten() for part in free], dim=1)
        self._free = torch.linalg.qr(flat)[0]

    def without_free(self, change: Tensor) -> Tensor:
        """Return a change of the probe ``(modes, N, N)`` without what is free."""
        flat = torch.view_as_real(change).flatten()
        kept = flat - self._free @ (self._free.T @ flat)
        return torch.view_as_complex(kept.view(*change.shape, 2))


class _Block:
    """Frames that are worked on together, and the sums of the pass over them. Places are relative to ``corner``."""

    def __init__(self, frames: list[_Kept], corner: tuple[int, int], known: Tensor) -> None:
        self.frames = frames
        self.corner = corner
        self.known = known
        self.ahead = known.clone()
        self.prior = known.clone()
        self.prior_weight = torch.zeros(known.shape, device=known.device)
        self.descent = torch.zeros_like(known)
        self.curvature = torch.zeros_like(self.prior_weight)
        self.probe_descent: Tensor | None = None
        self.probe_curvature: Tensor | None = None
        self.shift = torch.zeros(2, 2, device=known.device)
        self.place = 0
        self.passes = 0

    def window(self, frame: _Kept, size_px: int) -> tuple[slice, slice]:
        """Return where a frame lies."""
        return Box(frame.corner[0] - self.corner[0], frame.corner[1] - self.corner[1], size_px, size_px).window


class Refiner:
    """A live object estimate for one scan; ``probe`` is the probe as it is now.

    Parameters
    ----------
    probe : (modes, N, N) complex64
        Its energy is the expected counts of a frame without sample.
    start_at
        Gives the network mosaic's patch ``(N, N)`` at a position (pixels).
    max_side_px
        Frames that would grow the canvas beyond this are not taken.
    buffer_bytes
        Bound on the patterns kept.
    update_probe
        Whether ``probe`` follows the frames.
    """

    def __init__(
        self,
        probe: Tensor,
        start_at: StartAt,
        max_side_px: int = 32768,
        buffer_bytes: int = 512 << 20,
        *,
        update_probe: bool = False,
    ) -> None:
        self.size_px = probe.shape[-1]
        self.probe = probe
        self._intensity = probe.abs().square().sum(0)
        self._gauge = _Gauge(probe)
        self._peak = float(self._intensity.max())
        self._weight = self._intensity / self._peak
        self._start_at = start_at
        self._update_probe = update_probe
        self._canvas = Canvas(
            {"object": ((), torch.complex64, 1.0), "coverage": ((), torch.float32, 0.0)}, max_side_px, probe.device
        )
        self._frames: OrderedDict[int, _Kept] = OrderedDict()
        self._visits: Counter[int] = Counter()
        self._buffer_frames = max(1, buffer_bytes // (4 * self.size_px**2))
        self._new: list[int] = []
        self._block: _Block | None = None
        self._momentum = 1.0
        self._misfit = self._total = 0.0
        self._random = np.random.default_rng(0)
        self.updates = 0

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
        self._frames[index] = _Kept(amplitude, position_px)
        self._visits[0] += 1
        self._new.append(index)
        if len(self._frames) > self._buffer_frames:
            self._let_go(next(iter(self._frames)))

    def admit_all(self) -> None:
        """Lay the start under every frame that is new, so that the object covers all of them."""
        new, self._new = self._new, []
        for index in new:
            frame = self._frames.get(index)
            if frame is not None and not self._admit(frame):
                self._forget(index)

    def _let_go(self, index: int) -> None:
        self._admit(self._frames[index])
        self._forget(index)

    def _forget(self, index: int) -> None:
        frame = self._frames.pop(index)
        self._visits[frame.visits] -= 1
        self._misfit -= frame.misfit
        self._total -= frame.total

    def _admit(self, frame: _Kept) -> bool:
        """Blend the start into the object under a frame, once; False if the canvas would grow too large."""
        if frame.is_admitted:
            return True
        n = self.size_px
        top, left = (round(p) - n // 2 for p in frame.position_px)
        if not self._canvas.ensure(top, left, top + n, left + n):
            return False
        frame.corner = (top, left)
        box = self._box(frame)
        coverage, target = (self._canvas.planes[name][box.window] for name in ("coverage", "object"))
        share = self._weight / (self._weight + NEW_SHARE * coverage).clamp_min(1e-12)
        target += share * (self._start_at(frame.position_px) - target)
        coverage += self._weight
        self._canvas.touch(*box)
        frame.amplitude = torch.fft.ifftshift(frame.amplitude)
        frame.is_admitted = True
        return True

    def _box(self, frame: _Kept) -> Box:
        y, x = self.origin_px
        return Box(frame.corner[0] - y, frame.corner[1] - x, self.size_px, self.size_px)

    def step(self) -> int:
        """Work on the next few frames of the pass; return how many. 0 if there is none."""
        block = self._block
        if block is None or (block.place == 0 and self._is_spent(block)):
            block = self._block = self._begin(block)
            if block is None:
                return 0
        frames = block.frames[block.place : block.place + CHUNK_FRAMES]
        self._descend(block, frames)
        block.place += len(frames)
        if block.place == len(block.frames):
            self._finish_pass(block)
        self.updates += len(frames)
        return len(frames)

    def _is_spent(self, block: _Block) -> bool:
        return bool(self._new) or (block.passes >= BLOCK_PASSES and len(block.frames) < len(self._frames))

    def _begin(self, last: _Block | None) -> _Block | None:
        """Choose the next frames; carry on the momentum where they lie on the last ones' place."""
        seed = next((self._frames[i] for i in reversed(self._new) if i in self._frames), None)
        self.admit_all()
        frames = self._choose(seed)
        if not frames:
            return None
        n = self.size_px
        corners = np.array([f.corner for f in frames])
        top, left = corners.min(axis=0).tolist()
        height, width = (corners.max(axis=0) - (top, left) + n).tolist()
        here = Box(top - self.origin_px[0], left - self.origin_px[1], height, width)
        block = _Block(frames, (top, left), self._canvas.planes["object"][here.window].clone())
        if last is not None:
            self._carry(last, block)
        own = torch.zeros_like(block.curvature)
        for frame in frames:
            window = block.window(frame, n)
            block.prior[window] = self._start_at(frame.position_px)
            own[window] += self._weight
        others = (self._canvas.planes["coverage"][here.window] - own).clamp_min_(0.0).mul_(self._peak)
        strength = _prior(block.prior, own, self._peak)
        block.prior_weight = others + strength
        block.prior = (block.prior * strength + block.known * others) / block.prior_weight
        return block

    def _choose(self, seed: _Kept | None) -> list[_Kept]:
        frames = list(self._frames.values())
        if len(frames) <= BLOCK_FRAMES:
            return frames
        if seed is None or not seed.is_admitted:
            seed = min(frames, key=lambda f: f.visits)
        corners = np.array([f.corner for f in frames])
        distance = np.square(corners - np.array(seed.corner)).sum(axis=1)
        nearest = np.argpartition(distance, BLOCK_FRAMES)[:BLOCK_FRAMES]
        return [frames[i] for i in nearest.tolist()]

    @staticmethod
    def _carry(last: _Block, block: _Block) -> None:
        """Give a block the lead that the last one had over the object, where both lie."""
        low = [max(a, b) for a, b in zip(last.corner, block.corner, strict=True)]
        ends = [
            min(a + s, b + t)
            for a, s, b, t in zip(last.corner, last.ahead.shape, block.corner, block.ahead.shape, strict=True)
        ]
        if any(e <= b for b, e in zip(low, ends, strict=True)):
            return
        old, new = (
            tuple(slice(b - o, e - o) for b, e, o in zip(low, ends, origin, strict=True))
            for origin in (last.corner, block.corner)
        )
        block.ahead[new] += last.ahead[old] - last.known[old]

    def _descend(self, block: _Block, frames: list[_Kept]) -> None:
        """Add the descent of some frames to the pass."""
        windows = [block.window(frame, self.size_px) for frame in frames]
        patches = torch.stack([block.ahead[window] for window in windows])
        amplitude = torch.stack([frame.amplitude for frame in frames])
        far = torch.fft.fft2(patches[:, None] * self.probe, norm="ortho")
        magnitude = far[:, 0].abs() if far.shape[1] == 1 else far.abs().square().sum(1).sqrt()
        excess = torch.where(amplitude < 0, 0.0, magnitude - amplitude)
        back = torch.fft.ifft2(far * (excess / magnitude.clamp_min(1e-6))[:, None], norm="ortho")
        descents = (back * self.probe.conj()).sum(1)
        for window, descent in zip(windows, descents, strict=True):
            block.descent[window] += descent
            block.curvature[window] += self._intensity
        if self._learns_probe(block):
            block.probe_descent = _plus(block.probe_descent, (back * patches.conj()[:, None]).sum(0))
            block.probe_curvature = _plus(block.probe_curvature, patches.abs().square().sum(0))
        block.shift += _shift_sums(magnitude, amplitude)
        self._note(frames, excess.abs().sum((1, 2)).tolist(), amplitude.clamp_min(0.0).sum((1, 2)).tolist())

    def _note(self, frames: list[_Kept], misfits: list[float], totals: list[float]) -> None:
        for frame, misfit, total in zip(frames, misfits, totals, strict=True):
            if frame.visits == 0:
                frame.total = total
                self._total += total
            self._visits[frame.visits] -= 1
            frame.visits += 1
            self._visits[frame.visits] += 1
            self._misfit += misfit - frame.misfit
            frame.misfit = misfit

    def _learns_probe(self, block: _Block) -> bool:
        return self._update_probe and len(block.frames) >= PROBE_FRAMES and block.passes >= PROBE_PASSES

    def _finish_pass(self, block: _Block) -> None:
        """Move the object, then the probe."""
        y, x = (a - o for a, o in zip(block.corner, self.origin_px, strict=True))
        here = Box(y, x, *block.ahead.shape)
        block.descent += block.prior_weight * (block.ahead - block.prior)
        step = block.descent / (block.curvature + block.prior_weight + FLOOR * self._peak)
        moved = block.ahead - step
        change = moved - block.known
        if float((step.conj() * change).real.sum()) > 0:  # the descent turns against the way it went
            self._momentum = 1.0
        grown = (1 + (1 + 4 * self._momentum**2) ** 0.5) / 2
        block.ahead = moved + (self._momentum - 1) / grown * change
        block.known = moved
        self._canvas.planes["object"][here.window] += change
        self._momentum = grown
        self._canvas.touch(*here)
        if len(block.frames) == len(self._frames):
            self._turn(block)
        if block.probe_descent is not None and block.probe_curvature is not None:
            self._move_probe(block.probe_descent, block.probe_curvature)
        block.descent.zero_()
        block.curvature.zero_()
        block.shift.zero_()
        block.probe_descent = block.probe_curvature = None
        block.passes, block.place = block.passes + 1, 0

    def _turn(self, block: _Block) -> None:
        """Turn the whole object by the phase ramp that its patterns' shift against the measured ones tells.

        A ramp is the slowest of all for the descent, since each frame alone hardly feels it.
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
        self._canvas.planes["object"] *= turned
        self._canvas.touch(0, 0, *self.shape)
        y0, x0 = (a - o for a, o in zip(block.corner, self.origin_px, strict=True))
        mine = turned[Box(y0, x0, *block.known.shape).window]
        block.known, block.ahead = block.known * mine, block.ahead * mine

    def _move_probe(self, descent: Tensor, curvature: Tensor) -> None:
        change = -PROBE_STEP * descent / (curvature + FLOOR * curvature.max())
        self.probe = self.probe + self._gauge.without_free(change)
        self._intensity = self.probe.abs().square().sum(0)

    @property
    def rfactor(self) -> float | None:
        """R-factor over the buffered frames, each as it was at its last visit; None before the first."""
        return self._misfit / self._total if self._total > 0 else None

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

    def cut(self, position_px: tuple[float, float]) -> Tensor:
        """Return the patch ``(N, N)`` complex64 at a position, rounded to whole pixels; it must lie on the canvas."""
        top, left = (round(float(p)) - self.size_px // 2 - o for p, o in zip(position_px, self.origin_px, strict=True))
        return self._canvas.planes["object"][Box(top, left, self.size_px, self.size_px).window]


def _plus(total: Tensor | None, part: Tensor) -> Tensor:
    return part if total is None else total.add_(part)


def _shift_sums(magnitude: Tensor, amplitude: Tensor) -> Tensor:
    """Return pull and stiffness ``(2, 2)``, each (y, x), of the patterns' common shift, in least squares."""
    valid = amplitude >= 0
    slopes = [(torch.roll(magnitude, -1, d) - torch.roll(magnitude, 1, d)) * valid / 2 for d in (-2, -1)]
    excess = (magnitude.square() - amplitude.square()) / (2 * magnitude.clamp_min(0.5))  # unbiased at few counts too
    pull = torch.stack([(excess * slope).sum() for slope in slopes])
    return torch.stack([pull, torch.stack([slope.square().sum() for slope in slopes])])


def _prior(picture: Tensor, coverage: Tensor, peak: float) -> float:
    """Return the prior's strength, photons a pixel.

    A share of the photons W on a pixel, PRIOR at most; and where they tell a contrast c from noise badly (W c^2 small) as
    much as the contrast itself allows the network to be wrong, 1 / (4 c^2), DOUBT at most.
    """
    weight = coverage.sum().clamp_min(1e-12)
    mean = (picture * coverage).sum() / weight
    spread = ((picture - mean).abs().square() * coverage).sum() / weight
    contrast = max(float(spread / mean.abs().square().clamp_min(1e-12)), LEAST_CONTRAST**2)
    photons = peak * float(coverage.square().sum() / weight)
    return min(PRIOR, PRIOR_SHARE * photons) + min(DOUBT, 1 / (4 * contrast) / (1 + 2 * photons * contrast))
