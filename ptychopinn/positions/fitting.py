"""A quick picture of frames whose positions stay: object and probe are moved together, some frames at a time.

Frames lie between the pixels: the probe is moved by the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.physics.diffraction import intensity
from ptychopinn.positions.canvas import SearchCanvas
from ptychopinn.positions.scan import Frames, project

RIM_PX = 1
MOST_BATCH, LEAST_BATCH, BATCHES = 48, 4, 10
REGULAR = 0.1
"""Share of the greatest weight that is added to the weights of a step."""
PROBE_STEP = 0.5


@dataclass(slots=True, eq=False)
class Estimate:
    """Object ``(H, W)``, probe ``(N, N)`` and positions ``(n, 2)``, pixels.

    ``rfactor``, and the ``square`` misfit and ``noise``, the amplitudes' variance over that of photons, are of the last pass.
    """

    picture: Tensor
    probe: Tensor
    positions_px: NDArray[np.float64]
    rfactor: float = float("inf")
    square: float = float("inf")
    noise: float = 1.0


def ramps(frequency: Tensor, moves_px: NDArray[np.float64]) -> Tensor:
    """Return the factors ``(n, N, N)`` on a spectrum that move a field; ``frequency (N,)`` in 1 / px."""
    moves = torch.from_numpy(moves_px).float().to(frequency.device)
    y, x = (torch.exp(-2j * torch.pi * moves[:, axis, None] * frequency) for axis in (0, 1))
    return y[:, :, None] * x[:, None, :]


def on_canvas(quick: Estimate, canvas: SearchCanvas) -> Tensor:
    """Return a quick picture on another canvas ``(H, W)``, as far as it reaches."""
    own = SearchCanvas(quick.positions_px, canvas.size_px, RIM_PX, canvas.device)
    corner, picture = own.origin_px - canvas.origin_px, canvas.ones()
    (top, left), (bottom, right) = np.maximum(corner, 0), np.minimum(corner + own.shape, canvas.shape)
    picture[top:bottom, left:right] = quick.picture[
        top - corner[0] : bottom - corner[0], left - corner[1] : right - corner[1]
    ]
    return picture


class Fit:
    """Passes over all frames, in random batches, from an empty picture and the given probe."""

    def __init__(self, frames: Frames, positions_px: NDArray[np.float64]) -> None:
        self._frames = frames
        self._canvas = SearchCanvas(positions_px, frames.size_px, RIM_PX, frames.amplitude.device)
        self.estimate = Estimate(self._canvas.ones(), frames.probe.clone(), positions_px.copy())
        self._random = np.random.default_rng(0)
        self._batch = min(MOST_BATCH, max(LEAST_BATCH, len(frames) // BATCHES))
        self._frequency = torch.fft.fftfreq(frames.size_px, device=frames.amplitude.device)

    def run(self) -> None:
        """Make one pass."""
        order = self._random.permutation(len(self._frames))
        batches = range(0, len(order), self._batch)
        parts = [self._work_on(order[begin : begin + self._batch]) for begin in batches]
        misfit, total, square, pixels = torch.stack(parts).double().sum(0).tolist()
        self.estimate.rfactor = misfit / max(total, 1e-12)
        self.estimate.square = square
        self.estimate.noise = max(1.0, 4 * square / max(pixels, 1.0))  # an amplitude's variance is 1/4

    def _work_on(self, rows: NDArray[np.int64]) -> Tensor:
        """Move object and probe by some frames; return the parts of R and noise ``(4,)``."""
        here, canvas = self.estimate, self._canvas
        corners = canvas.corners(here.positions_px[rows])
        moved = ramps(self._frequency, here.positions_px[rows] - canvas.places(corners))
        probes = torch.fft.ifft2(torch.fft.fft2(here.probe) * moved)
        patches, amplitude = canvas.cut(here.picture, corners), self._frames.amplitude[rows.tolist()]
        exits = probes * patches
        waves, magnitude = project(exits, amplitude)
        difference = waves - exits
        values, weights = canvas.zeros(torch.complex64), canvas.zeros(torch.float32)
        canvas.add(values, corners, probes.conj() * difference)
        canvas.add(weights, corners, intensity(probes))
        parts = torch.fft.ifft2((torch.fft.fft2(patches.conj() * difference) * moved.conj()).sum(0))
        lit = intensity(patches).sum(0)
        here.picture = here.picture + values / (weights + REGULAR * intensity(here.probe).max())
        here.probe = here.probe + PROBE_STEP * parts / (lit + REGULAR * lit.max())
        left = torch.where(amplitude < 0, 0.0, magnitude - amplitude)
        return torch.stack(
            [left.abs().sum(), amplitude.clamp_min(0).sum(), left.square().sum(), (amplitude >= 0).sum()]
        )
