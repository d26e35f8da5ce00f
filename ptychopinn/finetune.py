"""Fine-tuning of the lift's network on the frames of running scans: the encoder stays as it is, the decoder follows.

The loss sees the overlap (:mod:`ptychopinn.overlap_loss`): patches of a neighbourhood are stitched, cut out again and
propagated. Where the refined layer has an object, it is a free label. A candidate is compared with the active network on
frames that are never trained on; only a better one is promoted, and one that gets worse is thrown away.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ptychopinn.model.network import CorrectionNet, channels_last, look, stitched_start
from ptychopinn.overlap_loss import Neighbourhood, overlap_losses
from ptychopinn.replay import KeptFrame, Key, ReplayBuffer
from ptychopinn.trainer.freeze import freeze_encoder, set_training

AGREEMENT, LABEL = 0.1, 0.3
SECOND_LOOK_SHARE = 0.4
CLIP = 1.0
WORSE = 1.01


class Score(NamedTuple):
    """Of a network on held-out frames: R-factor, and mean square misfit of the amplitudes (a Poisson likelihood's)."""

    rfactor: float
    misfit: float

    @property
    def is_finite(self) -> bool:
        """Whether there is a score at all."""
        return math.isfinite(self.rfactor) and math.isfinite(self.misfit)


@dataclass(frozen=True, slots=True)
class FinetuneOptions:
    """How to fine-tune: learning rate, frames of a neighbourhood, held-out frames of a comparison with so many frames each,
    and by how much a candidate's R must be lower to be promoted (a share of the active one's).
    """

    rate: float = 3e-4
    frames: int = 12
    heldout_frames: int = 24
    heldout_neighbours: int = 6
    promote_if: float = 0.002
    projections: int = 2
    seed: int = 0


Verdict = Literal["promoted", "kept", "worse", "diverged"]


class FineTuner:
    """A candidate beside the active network, for one probe ``(modes, N, N)`` complex64 in photon units."""

    def __init__(self, network: CorrectionNet, probe: Tensor, buffer: ReplayBuffer, options: FinetuneOptions) -> None:
        self._options = options
        self._probe = probe
        self._buffer = buffer
        self._rate = options.rate
        self._random = np.random.default_rng(options.seed)
        self.active = _copy(network)
        self._begin()

    def _begin(self) -> None:
        """Begin a candidate from the active network."""
        self.candidate = _copy(self.active)
        set_training(self.candidate, is_frozen=True)
        freeze_encoder(self.candidate)
        self._optimiser = torch.optim.Adam([p for p in self.candidate.parameters() if p.requires_grad], lr=self._rate)

    def use(self, network: CorrectionNet) -> None:
        """Take another active network (an operator's choice, a rollback)."""
        self.active = _copy(network)
        self._rate = self._options.rate
        self._begin()

    def step(self) -> float:
        """Train on one neighbourhood; return the loss, which is not finite where the step was not taken."""
        frames = self._buffer.neighbourhood(self._options.frames)
        seen = self._seen(frames)
        loss = self._loss(seen, frames)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.candidate.parameters(), CLIP)
        if not torch.isfinite(norm):
            return math.nan
        self._optimiser.step()
        return float(loss.detach())

    def _seen(self, frames: Sequence[KeptFrame]) -> Neighbourhood:
        images = torch.from_numpy(np.stack([f.amplitude for f in frames])).to(self._probe.device)
        positions = torch.tensor([f.position_px for f in frames], device=self._probe.device)
        return Neighbourhood.of(images[None], positions[None], self._probe[None])

    def _loss(self, seen: Neighbourhood, frames: Sequence[KeptFrame]) -> Tensor:
        looks = 1 + int(self._random.random() < SECOND_LOOK_SHARE)
        patches = self._patches(self.candidate, seen, looks)
        parts = overlap_losses(patches, seen)
        loss: Tensor = parts["physics"] + AGREEMENT * parts["agreement"]
        if all(frame.label is not None for frame in frames):
            label = torch.from_numpy(np.stack([f.label for f in frames if f.label is not None]))[None]
            loss = loss + LABEL * _label_loss(patches, label.to(patches.device), seen)
        return loss

    def _patches(self, network: nn.Module, seen: Neighbourhood, looks: int) -> Tensor:
        start: Tensor | None = None
        support: Tensor | None = None
        projections = self._options.projections
        with torch.no_grad():
            for _ in range(looks - 1):
                before = look(network, seen.optics, seen.amplitude, start, support, projections)
                start, support = stitched_start(before, seen.overlap, seen.optics)
        return look(network, seen.optics, seen.amplitude, start, support, projections)

    @torch.no_grad()
    def score(self, network: CorrectionNet, keys: Sequence[Key] | None = None) -> Score:
        """Return how well a network does on held-out frames, each stitched with its neighbours; the newest unless said."""
        if keys is None:
            keys = self._buffer.held_out[-self._options.heldout_frames :]
        above = below = square = 0.0
        pixels = 0
        for key in keys:
            seen = self._seen(self._buffer.around(key, self._options.heldout_neighbours))
            patches = self._patches(network, seen, 1)
            cut = seen.overlap.cut(seen.overlap.stitch(patches, seen.optics.weight)[0])
            amplitude, magnitude = seen.amplitude[0, 0], seen.optics.magnitude(cut)[0, 0]
            valid = amplitude >= 0
            misfit = (magnitude - amplitude)[valid]
            above, below = above + float(misfit.abs().sum()), below + float(amplitude[valid].sum())
            square, pixels = square + float(misfit.square().sum()), pixels + misfit.numel()
        if not pixels or below <= 0:
            return Score(math.nan, math.nan)
        return Score(above / below, square / pixels)

    def compare(self) -> tuple[Verdict, Score, Score]:
        """Judge the candidate; promoted, it is the active network now, and thrown away, a new one begins.

        It is promoted if it does better on the newest held-out frames and no worse on earlier ones: where frames get worse,
        it must not unlearn the good ones.

        Returns the verdict and the scores of the active network (as it was) and of the candidate.
        """
        training = self.candidate
        training.eval()
        active, candidate = self.score(self.active), self.score(training)
        if not candidate.is_finite:
            verdict: Verdict = "diverged" if active.is_finite else "kept"
        elif self._is_better(candidate, active) and not self._forgets(training):
            self.active = _copy(training)
            verdict = "promoted"
        else:
            verdict = "worse" if candidate.rfactor > WORSE * active.rfactor else "kept"
        set_training(training, is_frozen=True)
        if verdict in ("worse", "diverged"):
            self._rate /= 2
            self._begin()
        return verdict, active, candidate

    def _is_better(self, candidate: Score, active: Score) -> bool:
        return candidate.rfactor < active.rfactor * (1 - self._options.promote_if) and candidate.misfit <= active.misfit

    def _forgets(self, candidate: CorrectionNet) -> bool:
        most = self._options.heldout_frames
        earlier = self._buffer.held_out[:-most]
        keys = earlier[:: -(-len(earlier) // most) or 1]
        if not keys:
            return False
        before, after = self.score(self.active, keys), self.score(candidate, keys)
        return after.rfactor > before.rfactor or after.misfit > before.misfit


def _copy(network: CorrectionNet) -> CorrectionNet:
    other = channels_last(copy.deepcopy(network))
    other.requires_grad_(True)
    other.eval()
    return other


def _label_loss(patches: Tensor, label: Tensor, seen: Neighbourhood) -> Tensor:
    """Return the rms of the patches against the labels under |P|^2, one phase for all, over that of the labels' contrast."""
    weight = seen.optics.weight
    share = weight / (weight.sum((-2, -1), keepdim=True) * patches.shape[1])

    def mean(wave: Tensor) -> Tensor:
        return (wave * share).sum((1, 2, 3), keepdim=True)

    with torch.no_grad():
        turn = mean(patches * label.conj())
        turn = turn / turn.abs().clamp_min(1e-12)
        contrast = mean((label - mean(label)).abs().square().to(label.dtype)).real.clamp_min(1e-3)
    difference = torch.view_as_real(patches - label * turn).square().sum(-1)
    power: Tensor = ((difference * share).sum((1, 2, 3), keepdim=True) / contrast).clamp_min(1e-8)
    return power.sqrt().mean()
