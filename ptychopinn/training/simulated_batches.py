"""Training batches: neighbourhoods of simulated scans, all of one N and one number of probe modes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ptychopinn.model.optics import Optics, lit_side_px
from ptychopinn.model.overlap import Overlap
from ptychopinn.simulate import SimulatedScan, TextureBank, draw_neighbourhood, draw_recipe
from ptychopinn.training.heldout import training_kinds

MOST_SCANS = 16


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """What a batch holds.

    ``lit_pixels`` G x M x side^2 at most (at least one scan); ``frames`` M; ``large_share`` of the batches are 128 px,
    the rest 64 px; ``mode_shares`` of one, two, three probe modes.
    """

    lit_pixels: int = 40_000
    frames: int = 12
    large_share: float = 0.3
    mode_shares: tuple[float, ...] = (0.75, 0.15, 0.1)
    bank_textures: int = 256
    bank_side_px: int = 320


@dataclass(frozen=True, slots=True)
class Batch:
    """G neighbourhoods of M frames: ``amplitude (G, M, N, N)``, zero frequency at the corner, ``truth (G, M, s, s)``."""

    amplitude: Tensor
    truth: Tensor
    optics: Optics
    overlap: Overlap


class Source:
    """Batches of one worker, from one seed; ``begin`` is the step at which this source starts.

    All workers make a step's batch of one size, one number of modes and one footprint, so none waits for another.
    """

    def __init__(self, settings: BatchSettings, seed: int, rank: int = 0, begin: int = 0) -> None:
        self._settings = settings
        self._seed = seed
        self._rank = rank
        self._probe_kinds, textures = training_kinds()
        self._bank = TextureBank(settings.bank_side_px, settings.bank_textures, textures, (seed, rank, begin))

    def batch(self, step: int) -> Batch:
        """Return the batch of a step, and renew one texture."""
        s = self._settings
        common = np.random.default_rng((self._seed, step))
        size = 128 if common.random() < s.large_share else 64
        modes = 1 + int(common.choice(len(s.mode_shares), p=s.mode_shares))
        ratio = float(common.uniform(0.15, 0.6))
        rng = np.random.default_rng((self._seed, step, 1 + self._rank))
        scans: list[SimulatedScan] = []
        side = 16
        while not scans or (len(scans) + 1) * s.frames * side**2 <= s.lit_pixels:
            drawn = draw_recipe(size, rng, probe_kinds=self._probe_kinds, textures=["bank"], modes=modes)
            near = float(np.clip(ratio * rng.uniform(0.85, 1.15), 0.15, 0.6))
            scans.append(draw_neighbourhood(replace(drawn, frames=s.frames, footprint_ratio=near), self._bank))
            side = max(side, lit_side_px(scans[-1].probe.abs().square().sum(0)))
            if len(scans) == MOST_SCANS:
                break
        self._bank.renew(1)
        return collate(scans)


def collate(scans: list[SimulatedScan]) -> Batch:
    """Return scans of one N, one number of modes and one number of frames as a batch."""
    n = scans[0].recipe.size_px
    optics = Optics(torch.stack([s.probe for s in scans]))
    corners = torch.stack([torch.from_numpy(s.corners_px - s.corners_px.min(axis=0)) for s in scans])
    cuts = [[optics.lit(s.object[y : y + n, x : x + n]) for y, x in s.true_corners_px.tolist()] for s in scans]
    truth = torch.stack([torch.stack(frames) for frames in cuts])
    amplitude = torch.fft.ifftshift(torch.stack([s.amplitude for s in scans]), dim=(-2, -1))
    return Batch(amplitude, truth, optics, Overlap(corners, n))
