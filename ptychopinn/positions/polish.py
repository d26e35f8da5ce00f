r"""The third stage: below a pixel, object, probe and positions are moved together, some frames at a time.

Frames lie between the pixels: the probe is moved by the rest. Moving a frame by s changes its wave by P s . grad O, so the
difference d between the wave with the measured amplitudes and the computed one pulls with the least squares of
d - P s . grad O; as only half of an error is seen and the object gives way, a step is :data:`STEP` times that.
How far positions are wrong is a prior, as wide as they have been found to be wrong on the whole: exact ones stay.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.positions.canvas import SearchCanvas
from ptychopinn.positions.drift_guard import steadied
from ptychopinn.positions.scan import Frames, project

STEP, MOMENTUM = 4.0, 0.5
LONGEST_PX = 2.0
MOST_BATCH, LEAST_BATCH, BATCHES = 48, 4, 10
REGULAR = 0.1
"""Share of the greatest weight that is added to the weights of a step."""
PROBE_STEP = 0.5
NARROWEST_PX = 0.02


@dataclass(slots=True, eq=False)
class Estimate:
    """Object ``(H, W)``, probe ``(N, N)`` and positions ``(n, 2)``, which are moved.

    ``rfactor``, the ``square`` misfit, and ``noise``, the amplitudes' variance over that of photons, are of the last pass.
    """

    picture: Tensor
    probe: Tensor
    positions_px: NDArray[np.float64]
    rfactor: float = float("inf")
    square: float = float("inf")
    noise: float = 1.0


class Polish:
    """Passes over all frames, in random batches."""

    def __init__(self, frames: Frames, canvas: SearchCanvas, estimate: Estimate, *, moves_positions: bool) -> None:
        self.estimate = estimate
        self._frames = frames
        self._canvas = canvas
        self._moves_positions = moves_positions
        self._speed = np.zeros_like(estimate.positions_px)
        self._random = np.random.default_rng(0)
        self._batch = min(MOST_BATCH, max(LEAST_BATCH, len(frames) // BATCHES))
        self._frequency = torch.fft.fftfreq(frames.size_px, device=canvas.device)

    def run(self) -> None:
        """Make one pass."""
        order = self._random.permutation(len(self._frames))
        pulls = np.zeros((len(order), 2, 3))
        misfit = total = square = pixels = 0.0
        for begin in range(0, len(order), self._batch):
            rows = order[begin : begin + self._batch]
            pulls[rows], sums = self._work_on(rows)
            misfit, total, square, pixels = (a + b for a, b in zip((misfit, total, square, pixels), sums, strict=True))
        self.estimate.rfactor = misfit / max(total, 1e-12)
        self.estimate.square = square
        self.estimate.noise = max(1.0, 4 * square / max(pixels, 1.0))  # an amplitude's variance is 1/4
        if self._moves_positions:
            self._move(pulls)

    def _work_on(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], list[float]]:
        """Move object and probe by some frames; return the frames' pulls and the parts of R and noise."""
        here, canvas = self.estimate, self._canvas
        corners = canvas.corners(here.positions_px[rows])
        ramps = self._ramps(here.positions_px[rows] - canvas.places(corners))
        probes = torch.fft.ifft2(torch.fft.fft2(here.probe) * ramps)
        patches, amplitude = canvas.cut(here.picture, corners), self._frames.amplitude[rows.tolist()]
        exits = probes * patches
        waves, magnitude = project(exits, amplitude)
        difference = waves - exits
        intensity, back = probes.abs().square(), probes.conj() * difference
        pulls = _pulls(patches, intensity, back) if self._moves_positions else np.zeros((len(rows), 2, 3))
        values, weights = canvas.zeros(torch.complex64), canvas.zeros(torch.float32)
        canvas.add(values, corners, back)
        canvas.add(weights, corners, intensity)
        parts = torch.fft.ifft2((torch.fft.fft2(patches.conj() * difference) * ramps.conj()).sum(0))
        lit = patches.abs().square().sum(0)
        here.picture = here.picture + values / (weights + REGULAR * here.probe.abs().square().max())
        here.probe = here.probe + PROBE_STEP * parts / (lit + REGULAR * lit.max())
        left = torch.where(amplitude < 0, 0.0, magnitude - amplitude)
        sums = [left.abs().sum(), amplitude.clamp_min(0).sum(), left.square().sum(), (amplitude >= 0).sum()]
        return pulls, [float(value) for value in sums]

    def _ramps(self, moves_px: NDArray[np.float64]) -> Tensor:
        """Return the factors ``(n, N, N)`` on a spectrum that move a field."""
        moves = torch.from_numpy(moves_px).float().to(self._canvas.device)
        y, x = (torch.exp(-2j * torch.pi * moves[:, axis, None] * self._frequency) for axis in (0, 1))
        return y[:, :, None] * x[:, None, :]

    def _move(self, pulls: NDArray[np.float64]) -> None:
        here = self.estimate
        away = here.positions_px - self._frames.told_px
        away -= np.median(away, axis=0)
        width = max(NARROWEST_PX, float(np.square(away).mean()) ** 0.5) if np.any(away) else 1.0
        prior = here.noise / (4 * width**2)
        matrix = pulls[:, :, 1:] + prior * np.eye(2)
        steps = np.linalg.solve(matrix, (pulls[:, :, 0] - prior * away / STEP)[..., None])[..., 0]
        self._speed = MOMENTUM * self._speed + np.clip(STEP * steps, -LONGEST_PX, LONGEST_PX)
        here.positions_px = steadied(self._frames.told_px, here.positions_px + self._speed)


def _pulls(patches: Tensor, intensity: Tensor, back: Tensor) -> NDArray[np.float64]:
    """Return right side and matrix ``(n, 2, 1 + 2)`` of each frame's least squares."""
    slope_y = (patches.roll(-1, 1) - patches.roll(1, 1)) / 2
    slope_x = (patches.roll(-1, 2) - patches.roll(1, 2)) / 2
    lit = intensity.clone()
    lit[:, (0, -1), :] = 0.0
    lit[:, :, (0, -1)] = 0.0  # slopes wrap there
    back = torch.where(lit > 0, back, 0.0)
    pull_y, pull_x = ((slope.conj() * back).real.sum((1, 2)) for slope in (slope_y, slope_x))
    yy, xx = ((lit * slope.abs().square()).sum((1, 2)) for slope in (slope_y, slope_x))
    yx = (lit * (slope_y.conj() * slope_x).real).sum((1, 2))
    found = torch.stack([torch.stack([pull_y, yy, yx], 1), torch.stack([pull_x, yx, xx], 1)], 1)
    return found.double().cpu().numpy()


def fitted(frames: Frames, positions_px: NDArray[np.float64], passes: int) -> Estimate:
    """Return what positions reach in some passes from an empty picture and the given probe."""
    canvas = SearchCanvas(positions_px, frames.size_px, 1, frames.amplitude.device)
    estimate = Estimate(canvas.ones(), frames.probe.clone(), positions_px.copy())
    polish = Polish(replace(frames, told_px=positions_px), canvas, estimate, moves_positions=False)
    for _ in range(passes):
        polish.run()
    return estimate
