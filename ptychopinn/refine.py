r"""The refined layer: an object estimate swept over the frames received so far, and probe retrieval.

One update at a frame's whole-pixel place (a plain sequential projection, the PIE family's first):

    Y_m = F(P_m O);  d_m = F^-1(a Y_m / sqrt(sum |Y|^2)) - P_m O;  O <- O + alpha sum_m P_m^* d_m / max sum |P|^2

and, when the probe is unknown, P_m <- P_m + alpha O^* d_m / max |O|^2. Pixels without data keep their computed amplitude.

Where a region is new the object starts from the network's mosaic: a frame that enters blends the mosaic into pixels in
proportion to how little they were visited, when its turn comes, so that entering costs the network layer nothing. alpha
falls with a frame's visits and with the photons (at 1e3 counts a frame, a full step does harm). Frames live in a buffer
bounded in bytes; the oldest go first and keep what they gave.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.canvas import Box, Canvas
from ptychopinn.errors import ReconstructionError
from ptychopinn.physics import centroid_px, vacuum_counts

FULL_STEP = 0.8
LEAST_STEP = 0.05
STEP_DECAY = 0.75
COUNTS_OF_HALF_STEP = 3e3


@dataclass(slots=True)
class _Visited:
    """A frame in the buffer. Once admitted, ``amplitude`` has its zero frequency at the corner."""

    amplitude: Tensor
    position_px: tuple[float, float]
    top_left: tuple[int, int] = (0, 0)
    is_admitted: bool = False
    visits: int = 0
    misfit: float = 0.0
    total: float = 0.0


class ProjectionStep:
    """The update of one frame, for one probe ``(modes, N, N)``."""

    def __init__(self, probe: Tensor) -> None:
        self.set_probe(probe)

    def set_probe(self, probe: Tensor) -> None:
        """Take a new probe."""
        self.probe = probe
        self.intensity = probe.abs().square().sum(0)
        self.peak = float(self.intensity.max())
        self._back = probe.conj() / self.peak

    def __call__(self, patch: Tensor, amplitude: Tensor) -> tuple[Tensor, Tensor, float]:
        """Return the object's update ``(N, N)`` at full step, d ``(modes, N, N)``, and the misfit before it.

        ``amplitude`` has its zero frequency at the corner; the misfit is the numerator of the R-factor.
        """
        exits = self.probe * patch
        far = torch.fft.fft2(exits, norm="ortho")
        magnitude = far[0].abs() if len(far) == 1 else far.abs().square().sum(0).sqrt()
        target = torch.where(amplitude < 0, magnitude, amplitude)
        misfit = float((magnitude - target).abs_().sum())
        difference = torch.fft.ifft2(far.mul_(target.div_(magnitude.clamp_min_(1e-6))), norm="ortho").sub_(exits)
        update = difference * self._back
        return (update[0] if len(update) == 1 else update.sum(0)), difference, misfit


class Refiner:
    """A live object estimate for one scan and a known probe.

    Parameters
    ----------
    probe : (modes, N, N) complex64
    start_at
        Gives the network mosaic's patch ``(N, N)`` at a position (pixels); asked when a frame is first visited.
    max_side_px
        Frames that would grow the canvas beyond this are not taken.
    buffer_bytes
        Bound on the patterns kept for the sweeps.
    """

    def __init__(
        self,
        probe: Tensor,
        start_at: Callable[[tuple[float, float]], Tensor],
        max_side_px: int = 32768,
        buffer_bytes: int = 512 << 20,
        seed: int = 0,
    ) -> None:
        self.size_px = probe.shape[-1]
        self._step = ProjectionStep(probe)
        self._weight = self._step.intensity / self._step.peak
        self._start_at = start_at
        self._canvas = Canvas(
            {"object": ((), torch.complex64, 1.0), "visited": ((), torch.float32, 0.0)}, max_side_px, probe.device
        )
        self._frames: OrderedDict[int, _Visited] = OrderedDict()
        self._buffer_frames = max(1, buffer_bytes // (4 * self.size_px**2))
        self._new: list[int] = []
        self._waiting: list[int] = []
        self._sweep: list[int] = []
        self._random = np.random.default_rng(seed)
        self._counts = 0.0
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
        self._frames[index] = _Visited(amplitude, position_px)
        self._new.append(index)
        self._waiting.append(index)
        if len(self._frames) > self._buffer_frames:
            self._admit(self._frames.popitem(last=False)[1])

    def admit_all(self) -> None:
        """Lay the start under every frame that has not been visited, so that the object covers all of them."""
        for index in self._waiting:
            if index in self._frames:
                self._admit(self._frames[index])
        self._waiting.clear()

    def _admit(self, frame: _Visited) -> bool:
        """Blend the start into the object under a frame, once; False if the canvas would grow too large."""
        if frame.is_admitted:
            return True
        n = self.size_px
        top, left = (round(p) - n // 2 for p in frame.position_px)
        frame.top_left = (top, left)
        if not self._canvas.ensure(top, left, top + n, left + n):
            return False
        box = self._box(top, left)
        visited = self._canvas.planes["visited"][box.window]
        target = self._canvas.planes["object"][box.window]
        visited += self._weight
        share = self._weight / visited.clamp_min(1e-12)
        target += share * (self._start_at(frame.position_px) - target)
        self._canvas.touch(*box)
        frame.amplitude = torch.fft.ifftshift(frame.amplitude)
        frame.is_admitted = True
        return True

    def _box(self, top: int, left: int) -> Box:
        return Box(top - self.origin_px[0], left - self.origin_px[1], self.size_px, self.size_px)

    def step(self) -> bool:
        """Update the object at one frame: the newest unvisited one, else the next of a random sweep. False if none."""
        index = self._next()
        if index is None:
            return False
        frame = self._frames[index]
        if not self._admit(frame):
            del self._frames[index]
            return True
        if frame.visits == 0:
            valid = frame.amplitude.clamp_min(0.0)
            frame.total, counts = float(valid.sum()), float(valid.square_().sum())
            self._counts = 0.95 * self._counts + 0.05 * counts if self.updates else counts
        alpha = max(LEAST_STEP, FULL_STEP * STEP_DECAY**frame.visits)
        alpha *= self._counts / (self._counts + COUNTS_OF_HALF_STEP)
        box = self._box(*frame.top_left)
        patch = self._canvas.planes["object"][box.window]
        update, _, frame.misfit = self._step(patch, frame.amplitude)
        patch.add_(update, alpha=alpha)
        self._canvas.planes["visited"][box.window] += self._weight
        self._canvas.touch(*box)
        frame.visits += 1
        self.updates += 1
        return True

    def _next(self) -> int | None:
        while self._new:
            index = self._new.pop()
            if index in self._frames:
                return index
        while True:
            while self._sweep:
                index = self._sweep.pop()
                if index in self._frames:
                    return index
            if not self._frames:
                return None
            self._sweep = self._random.permutation(list(self._frames)).tolist()

    @property
    def rfactor(self) -> float | None:
        """R-factor over the buffered frames, each as it was at its last visit; None before the first."""
        done = [f for f in self._frames.values() if f.visits]
        total = sum(f.total for f in done)
        return sum(f.misfit for f in done) / total if total > 0 else None

    @property
    def least_visits(self) -> int:
        """Visits of the least visited frame in the buffer (0 when empty)."""
        return min((f.visits for f in self._frames.values()), default=0)

    def take_dirty(self) -> list[Box]:
        """Return the rectangles that changed since the last call."""
        return self._canvas.take_dirty()

    def read(self, box: Box | None = None) -> tuple[Tensor, Tensor]:
        """Return object ``(h, w)`` complex64 (0 where never visited) and visit weight ``(h, w)`` float32."""
        window = (box or Box(0, 0, *self.shape)).window
        visited = self._canvas.planes["visited"][window]
        return torch.where(visited > 0, self._canvas.planes["object"][window], 0), visited.clone()

    def cut(self, position_px: tuple[float, float]) -> Tensor:
        """Return the patch ``(N, N)`` complex64 at a position, rounded to whole pixels; it must lie on the canvas."""
        top, left = (round(float(p)) - self.size_px // 2 for p in position_px)
        return self._canvas.planes["object"][self._box(top, left).window]


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What :func:`retrieve` found: probe ``(modes, N, N)``, object ``(H, W)``, its origin, weight, R by sweep."""

    probe: Tensor
    object: Tensor
    origin_px: tuple[int, int]
    weight: Tensor
    rfactors: list[float]


def retrieve(
    amplitude: Tensor,
    positions_px: NDArray[np.float64],
    probe: Tensor,
    *,
    sweeps: int = 40,
    full_sweeps: int = 12,
    decay: float = 0.9,
    update_probe: bool = True,
    seed: int = 0,
    on_sweep: Callable[[int, float], None] | None = None,
) -> Retrieval:
    """Retrieve probe and object of a whole scan from a guess of the probe.

    Parameters
    ----------
    amplitude : (n, N, N) float32
        sqrt(counts), zero frequency in the middle, -1 = no data.
    positions_px : (n, 2) float64
    probe : (modes, N, N) complex64
        First guess; its energy is set to the vacuum counts.
    sweeps, full_sweeps, decay
        Full step for the first ``full_sweeps``, then times ``decay`` a sweep.

    The result is in the gauge of :func:`fix_gauge`.
    """
    n = probe.shape[-1]
    if amplitude.shape[-1] != n:
        raise ReconstructionError(
            f"the probe is {n} px but the patterns are {amplitude.shape[-1]} px; crop one to the other"
        )
    probe = probe * (vacuum_counts(amplitude) / float(probe.abs().square().sum())) ** 0.5
    corner = np.round(positions_px).astype(np.int64) - n // 2
    origin = corner.min(axis=0)
    height, width = (corner.max(axis=0) - origin + n).tolist()
    estimate = torch.ones(height, width, dtype=torch.complex64, device=probe.device)
    patterns = torch.fft.ifftshift(amplitude, dim=(-2, -1))
    total = float(torch.where(patterns < 0, 0.0, patterns).double().sum())
    step, random, alpha, rfactors = ProjectionStep(probe), np.random.default_rng(seed), 1.0, []
    for sweep in range(sweeps):
        misfit = 0.0
        alpha *= decay if sweep >= full_sweeps else 1.0
        for i in random.permutation(len(patterns)).tolist():
            y, x = (corner[i] - origin).tolist()
            patch = estimate[y : y + n, x : x + n]
            update, difference, parts = step(patch, patterns[i])
            misfit += parts
            if update_probe:
                gain = patch.conj() * (alpha / float(patch.abs().square().max()))
                new_probe = step.probe + gain * difference
                patch.add_(update, alpha=alpha)
                step.set_probe(new_probe)
            else:
                patch.add_(update, alpha=alpha)
        rfactors.append(misfit / total)
        if on_sweep:
            on_sweep(sweep, rfactors[-1])
    weight = torch.zeros(height, width, device=probe.device)
    for y, x in (corner - origin).tolist():
        weight[y : y + n, x : x + n] += step.intensity / step.peak
    where = (int(origin[0]), int(origin[1]))
    fixed_probe, fixed_object, where = fix_gauge(step.probe, estimate, weight, where)
    return Retrieval(fixed_probe, fixed_object, where, weight, rfactors)


def fix_gauge(
    probe: Tensor, estimate: Tensor, weight: Tensor, origin_px: tuple[int, int]
) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Return probe, object and its origin in the fixed gauge.

    Mean object amplitude 1 where the weight is above 5 % of its greatest (the probe takes the scale, so its energy is
    the expected vacuum counts); mean object phase 0; probe centroid in the middle to half a pixel, the object's origin
    moved against it. Whole pixels only, so nothing is interpolated.
    """
    covered = weight > 0.05 * weight.max()
    scale = float(estimate[covered].abs().mean())
    mean = (estimate[covered] * weight[covered]).sum()
    phase = mean / mean.abs().clamp_min(1e-12)
    dy, dx = (-round(c) for c in centroid_px(probe))
    probe = torch.roll(probe, (dy, dx), dims=(-2, -1)) * scale
    return probe, estimate * (phase.conj() / scale), (origin_px[0] + dy, origin_px[1] + dx)
