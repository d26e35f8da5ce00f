"""Training batches of simulated neighbourhoods; all scans of a batch have one N and one number of probe modes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, TypedDict, cast

import numpy as np
import torch
from torch import Tensor

from ptychopinn.data.loader import WorkerRank
from ptychopinn.model.optics import GRAIN_PX, ProbeOptics, lit_side_px
from ptychopinn.model.overlap import Overlap
from ptychopinn.simulate import SimulatedScan, TextureBank, draw_neighbourhood, draw_recipe
from ptychopinn.simulate.factory import TextureBankState
from ptychopinn.training.heldout import training_kinds
from ptychopinn.training.overlap_loss import Neighbourhood
from ptychopinn.training.task import State

MOST_SCANS = 16
"""Greatest number of scans in a batch; more do not make a step better, only slower."""
FOOTPRINT_RATIOS = (0.15, 0.6)
"""Smallest and greatest lit diameter over N, as in real scans."""
FOOTPRINT_SCATTER = (0.85, 1.15)
"""Range of the factor by which the footprints of a batch differ from each other."""


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """Content of a batch.

    Parameters
    ----------
    lit_pixels
        Greatest number of pixels in all lit squares, scans x frames x side^2 (one scan is always taken).
    frames
        Number of frames M of a neighbourhood.
    large_share
        Share of the batches with N = 128 px; the others have 64 px.
    mode_shares
        Shares of batches with one, two, three probe modes.
    bank_textures, bank_side_px
        Number and side of the textures from which objects are cut.
    """

    lit_pixels: int = 40_000
    frames: int = 12
    large_share: float = 0.3
    mode_shares: tuple[float, ...] = (0.75, 0.15, 0.1)
    bank_textures: int = 256
    bank_side_px: int = 320


class SimulatedBatch(NamedTuple):
    """G neighbourhoods of M frames, and the true patches ``truth (G, M, s, s)`` complex64 in the lit square."""

    seen: Neighbourhood
    truth: Tensor


class SourceState(TypedDict):
    """State of a :class:`SimulatedSource`."""

    steps: int
    patches: int
    bank: TextureBankState | None


class SimulatedSource:
    """Batches of one worker, drawn from one seed; the same seed and step give the same batch.

    All workers draw the same N, number of modes and footprint in a step, so that no worker waits for another.

    Parameters
    ----------
    epoch_steps
        Number of batches of an epoch.
    is_over
        Called before each batch with the number of batches drawn; True ends the training.
    """

    def __init__(
        self,
        settings: BatchSettings,
        seed: int,
        epoch_steps: int = 1,
        is_over: Callable[[int], bool] = lambda steps: False,
    ) -> None:
        self._settings = settings
        self._seed = seed
        self._epoch_steps = epoch_steps
        self._is_over = is_over
        self._worker = WorkerRank.current()
        self._probe_kinds, self._textures = training_kinds()
        self._bank: TextureBank | None = None
        self.steps = 0
        """Number of batches drawn."""
        self.patches = 0
        """Number of frames drawn by all workers, if their batches are alike."""

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return self._epoch_steps

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: the batches continue over epochs."""

    def __iter__(self) -> Iterator[SimulatedBatch]:
        end = (self.steps // self._epoch_steps + 1) * self._epoch_steps
        while self.steps < end and not self._is_over(self.steps):
            batch = self.batch(self.steps)
            self.steps += 1
            scans, frames = batch.seen.amplitude.shape[:2]
            self.patches += self._worker.workers * scans * frames
            yield batch

    def batch(self, step: int) -> SimulatedBatch:
        """Return the batch of a step, and renew one texture."""
        s = self._settings
        if self._bank is None:
            self._bank = self._new_bank()
        common = np.random.default_rng((self._seed, step))
        size = 128 if common.random() < s.large_share else 64
        modes = 1 + int(common.choice(len(s.mode_shares), p=s.mode_shares))
        ratio = float(common.uniform(*FOOTPRINT_RATIOS))
        rng = np.random.default_rng((self._seed, step, 1 + self._worker.rank))
        scans: list[SimulatedScan] = []
        side = GRAIN_PX
        while not scans or (len(scans) + 1) * s.frames * side**2 <= s.lit_pixels:
            drawn = draw_recipe(size, rng, probe_kinds=self._probe_kinds, textures=["bank"], modes=modes)
            near = float(np.clip(ratio * rng.uniform(*FOOTPRINT_SCATTER), *FOOTPRINT_RATIOS))
            scans.append(draw_neighbourhood(replace(drawn, frames=s.frames, footprint_ratio=near), self._bank))
            side = max(side, lit_side_px(scans[-1].probe.abs().square().sum(0)))
            if len(scans) == MOST_SCANS:
                break
        self._bank.renew(1)
        return collate(scans)

    def _new_bank(self) -> TextureBank:
        s = self._settings
        return TextureBank(s.bank_side_px, s.bank_textures, self._textures, (self._seed, self._worker.rank, self.steps))

    def state_dict(self) -> State:
        """Return the position and the state of the textures."""
        bank = None if self._bank is None else self._bank.state_dict()
        return {"steps": self.steps, "patches": self.patches, "bank": bank}

    def load_state_dict(self, state: State) -> None:
        """Continue from a :meth:`state_dict`; the textures are drawn again, the same ones."""
        known = cast(SourceState, state)
        self.steps, self.patches = known["steps"], known["patches"]
        if known["bank"] is not None:
            self._bank = TextureBank.restored(self._settings.bank_side_px, self._textures, known["bank"])


def collate(scans: list[SimulatedScan]) -> SimulatedBatch:
    """Return a batch of scans that have one N, one number of modes and one number of frames."""
    n = scans[0].recipe.size_px
    optics = ProbeOptics(torch.stack([s.probe for s in scans]))
    corners = torch.stack([torch.from_numpy(s.corners_px - s.corners_px.min(axis=0)) for s in scans])
    cuts = [[optics.lit(s.object[y : y + n, x : x + n]) for y, x in s.true_corners_px.tolist()] for s in scans]
    truth = torch.stack([torch.stack(frames) for frames in cuts])
    amplitude = torch.fft.ifftshift(torch.stack([s.amplitude for s in scans]), dim=(-2, -1))
    return SimulatedBatch(Neighbourhood(amplitude, optics, Overlap(corners, n)), truth)
