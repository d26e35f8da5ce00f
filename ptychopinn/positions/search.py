"""The first stage: every frame is laid, again and again, where it fits the picture of the others best.

A pass takes the picture of all exit waves with the measured amplitudes, where the frames lie now, and the probe that fits
them; computes each frame's wave anew from the others' picture (:mod:`ptychopinn.positions.registration`); and moves
the frame most of the way to where that fits. A picture blurred by errors of 8 px still tells
two thirds of them, so few passes do.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.physics.diffraction import intensity
from ptychopinn.positions.canvas import Corners, SearchCanvas
from ptychopinn.positions.drift_guard import steadied
from ptychopinn.positions.fitting import Estimate
from ptychopinn.positions.registration import surface, without_own
from ptychopinn.positions.scan import TINY, Frames, project

LEAD = 3.0
"""How far a wave is led on: 2 doubles the half that is seen; 3 is as good and shakes frames out of places of chance."""
CHANCE = (3 * LEAD) ** 2 / 4
"""Greatest gain, photons, that noise of three standard deviations, led on likewise, gives a wrong place."""
WIDTH, NARROWEST_PX = 4.0, 2.0
"""Reach over the median error, once there is one: few frames err by more, and :mod:`ptychopinn.positions.wild` looks for them."""
MOVE = 0.8
"""Share of the way that a frame goes: its neighbours move at the same time."""
PICTURE_PASSES = 3
CHUNK_FRAMES = 32
LARGEST_VALUE = 2.0
"""Greatest amplitude of the object; it transmits."""
PROBE_KEEP, OBJECT_KEEP = 1e-2, 1e-3
LEAST_SUPPORT = 0.2
"""Share of a frame's light that must fall where others lie, else nothing tells where it is."""


class Search:
    """Frames, their positions as they are found, and the picture they make."""

    def __init__(self, frames: Frames, canvas: SearchCanvas, start: Estimate | None, reach_px: int) -> None:
        self.frames = frames
        self.canvas = canvas
        self.reach_px = reach_px
        self.positions_px = (frames.told_px if start is None else start.positions_px).copy()
        self._noise, self._square, self._pixels = 1.0, 0.0, 0
        self._width_px = float(reach_px)
        self._values, self._weights = canvas.zeros(torch.complex64), canvas.zeros(torch.float32)
        self.probe = frames.probe.clone() if start is None else start.probe
        self.picture = canvas.ones() if start is None else start.picture
        self._waves = self._first_waves()
        if start is None:
            self._settle()

    def _first_waves(self) -> Tensor:
        waves, corners = torch.empty_like(self.frames.amplitude, dtype=torch.complex64), self._corners()
        for part in self._parts():
            exits = self.probe * self.canvas.cut(self.picture, corners[part])
            waves[part] = project(exits, self.frames.amplitude[part])[0]
        return waves

    def _parts(self) -> list[slice]:
        return [slice(begin, begin + CHUNK_FRAMES) for begin in range(0, len(self.frames), CHUNK_FRAMES)]

    def _settle(self) -> None:
        """Make the picture that fits the positions as they are."""
        for number in range(PICTURE_PASSES):
            corners = self._corners()
            self._sum(corners, moves_probe=number > 0)
            for part in self._parts():
                exits = self.probe * self.canvas.cut(self.picture, corners[part])
                self._waves[part] = project(exits, self.frames.amplitude[part])[0]

    def step(self) -> float:
        """Move all frames once; return how far they moved, pixels rms, what is common taken out."""
        corners = self._corners()
        self._sum(corners, moves_probe=True)
        self._square, self._pixels = 0.0, 0
        moves = np.concatenate([self._register(part, corners[part]) for part in self._parts()])
        self._noise = max(1.0, 4 * self._square / max(1, self._pixels))  # an amplitude's variance is 1/4
        moves -= moves.mean(axis=0)
        self.positions_px = steadied(self.frames.told_px, self.positions_px + MOVE * moves)
        away = float(np.median(np.hypot(*(self.positions_px - self.frames.told_px).T)))
        self._width_px = min(max(NARROWEST_PX, WIDTH * away), self.reach_px)
        return float(np.sqrt(np.square(moves).sum(axis=1).mean()))

    def _corners(self) -> Corners:
        return self.canvas.corners(self.positions_px, self.reach_px)

    def _sum(self, corners: Corners, *, moves_probe: bool) -> None:
        """Lay the waves on the picture; have the probe follow."""
        self._values, self._weights = self.canvas.zeros(torch.complex64), self.canvas.zeros(torch.float32)
        lit = intensity(self.probe)
        for part in self._parts():
            self.canvas.add(self._values, corners[part], self.probe.conj() * self._waves[part])
            self.canvas.add(self._weights, corners[part], lit.expand(len(corners[part]), -1, -1))
        keep = OBJECT_KEEP * self._weights.max()
        picture = (self._values + keep * self.picture) / (self._weights + keep)
        size = intensity(picture).sqrt()
        self.picture = torch.where(size > LARGEST_VALUE, picture * (LARGEST_VALUE / size.clamp_min(TINY)), picture)
        if moves_probe:
            self._move_probe(corners)

    def _move_probe(self, corners: Corners) -> None:
        values, weights = torch.zeros_like(self.probe), torch.zeros_like(self.probe.real)
        for part in self._parts():
            patches = self.canvas.cut(self.picture, corners[part])
            values += (patches.conj() * self._waves[part]).sum(0)
            weights += intensity(patches).sum(0)
        keep = PROBE_KEEP * weights.max()
        self.probe = (values + keep * self.probe) / (weights + keep)

    def _register(self, part: slice, corners: Corners) -> NDArray[np.float64]:
        """Return the moves ``(n, 2)`` of some frames; their waves become those of the others' picture."""
        probe, reach, n = self.probe, self.reach_px, self.frames.size_px
        lit = intensity(probe)
        weights = self.canvas.cut(self._weights, corners, reach)
        values = self.canvas.cut(self._values, corners, reach)
        others = without_own(values, weights, probe.conj() * self._waves[part], lit, reach)
        here = slice(reach, reach + n)
        exits = probe * others[:, here, here]
        amplitude = self.frames.amplitude[part]
        waves, magnitude = project(exits, amplitude)
        self._square += float(torch.where(amplitude < 0, 0.0, magnitude - amplitude).square().sum())
        self._pixels += int((amplitude >= 0).sum())
        found = surface(others, probe, exits + LEAD * (waves - exits))
        rounded = np.rint(self.positions_px[part])
        moves = found.best(self._penalty(rounded - self.frames.told_px[part])).double().cpu().numpy()
        supported = self._support(weights[:, here, here], lit)
        self._waves[part] = waves
        return np.where(supported[:, None], moves - (self.positions_px[part] - rounded), 0.0)

    def _penalty(self, away_px: NDArray[np.float64]) -> Tensor:
        """Return what a shift costs ``(n, 2 R + 1, 2 R + 1)``, photons; at the end of the reach what chance may give."""
        grid = torch.arange(-self.reach_px, self.reach_px + 1, device=self.canvas.device)
        away = torch.from_numpy(away_px).float().to(self.canvas.device)
        y, x = ((away[:, axis, None] + grid).square() for axis in (0, 1))
        return (y[:, :, None] + x[:, None, :]) * (CHANCE * self._noise / self._width_px**2)

    def _support(self, others: Tensor, lit: Tensor) -> NDArray[np.bool_]:
        share = (lit * others / (others + lit).clamp_min(TINY)).sum((1, 2)) / lit.sum()
        supported: NDArray[np.bool_] = (share > LEAST_SUPPORT).cpu().numpy()
        return supported

    def others_of(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the picture without some of the frames, the others where they lie now."""
        values, weights = self.canvas.zeros(torch.complex64), self.canvas.zeros(torch.float32)
        corners, lit = self._corners(), intensity(self.probe)
        kept = np.setdiff1d(np.arange(len(self.frames)), rows)
        for begin in range(0, len(kept), CHUNK_FRAMES):
            part = kept[begin : begin + CHUNK_FRAMES]
            self.canvas.add(values, corners[part], self.probe.conj() * self._waves[part.tolist()])
            self.canvas.add(weights, corners[part], lit.expand(len(part), -1, -1))
        faint = OBJECT_KEEP * lit.max()
        return (values + faint) / (weights + faint)
