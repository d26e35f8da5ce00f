"""Fine-tuning in general: a candidate is trained beside the active network and compared with it on held-out frames.

Only a better candidate is promoted; a worse one is discarded. A subclass for a family of networks defines how a network is
copied and trained, and its prediction of a held-out frame.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from ptychopinn.training.replay_buffer import Key, ReplayBuffer

CLIP = 1.0
"""Greatest norm of the gradient."""
WORSE = 1.01
"""Ratio of the candidate's R to the active one's from which the candidate is discarded."""

Net = TypeVar("Net", bound=nn.Module)
CandidateResult = Literal["promoted", "kept", "worse", "diverged"]


class Score(NamedTuple):
    """Score of a network on held-out frames: R-factor, and mean square misfit of the amplitudes (Poisson likelihood)."""

    rfactor: float
    misfit: float

    @property
    def is_finite(self) -> bool:
        """Whether both numbers are finite."""
        return math.isfinite(self.rfactor) and math.isfinite(self.misfit)


@dataclass(frozen=True, slots=True)
class FinetuneOptions:
    """Options of fine-tuning.

    Parameters
    ----------
    rate
        Learning rate.
    frames
        Number of frames of a step; the cnn gets them in groups of four.
    heldout_frames, heldout_neighbours
        Number of held-out frames of a comparison, and of frames with which each is stitched (lift).
    promote_if
        Share of the active network's R by which the candidate's R must be lower.
    projections
        Number of projections of a look (lift).
    """

    rate: float = 3e-4
    frames: int = 12
    heldout_frames: int = 24
    heldout_neighbours: int = 6
    promote_if: float = 0.002
    projections: int = 2
    seed: int = 0


class Tuner(ABC, Generic[Net]):
    """Fine-tunes a network: ``active`` is the best so far, ``candidate`` the one in training."""

    active: Net
    candidate: Net

    def __init__(self, network: Net, buffer: ReplayBuffer, options: FinetuneOptions) -> None:
        self._options = options
        self._buffer = buffer
        self.use(network)

    @abstractmethod
    def _copied(self, network: Net) -> Net:
        """Return a trainable copy of a network, in inference mode."""

    @abstractmethod
    def _set_training(self, network: Net) -> None:
        """Freeze the parts that are not trained, and set the others to training mode."""

    @abstractmethod
    def _loss(self) -> Tensor:
        """Return the candidate's loss on some frames."""

    @abstractmethod
    def _compared(self, network: Net, key: Key) -> tuple[Tensor, Tensor]:
        """Return the amplitudes ``(N, N)`` of a held-out frame that a network predicts and that were measured, -1 = no data."""

    @abstractmethod
    def weights(self) -> Mapping[str, Tensor]:
        """Return the active network's weights, as bundles hold them."""

    def _begin(self) -> None:
        """Begin a candidate from the active network."""
        self.candidate = self._copied(self.active)
        self._set_training(self.candidate)
        self._optimiser = torch.optim.Adam([p for p in self.candidate.parameters() if p.requires_grad], lr=self._rate)

    def use(self, network: Net) -> None:
        """Take another active network (an operator's choice, a rollback)."""
        self.active = self._copied(network)
        self._rate = self._options.rate
        self._begin()

    def step(self) -> float:
        """Take a training step; return the loss, or NaN if the step was skipped."""
        loss = self._loss()
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.candidate.parameters(), CLIP)
        if not torch.isfinite(norm):
            return math.nan
        self._optimiser.step()
        return float(loss.detach())

    @torch.no_grad()
    def score(self, network: Net, keys: Sequence[Key] | None = None) -> Score:
        """Return the score of a network on held-out frames, each stitched with its neighbours; None: the newest frames."""
        if keys is None:
            keys = self._buffer.held_out[-self._options.heldout_frames :]
        above = below = square = 0.0
        pixels = 0
        for key in keys:
            magnitude, amplitude = self._compared(network, key)
            valid = amplitude >= 0
            misfit = (magnitude - amplitude)[valid]
            above, below = above + float(misfit.abs().sum()), below + float(amplitude[valid].sum())
            square, pixels = square + float(misfit.square().sum()), pixels + misfit.numel()
        if not pixels or below <= 0:
            return Score(math.nan, math.nan)
        return Score(above / below, square / pixels)

    def compare(self) -> tuple[CandidateResult, Score, Score]:
        """Compare the candidate with the active network; promote it, keep it, or discard it and start a new one.

        It is promoted if it is better on the newest held-out frames and not worse on earlier ones, so that a period of bad
        frames cannot degrade the network.

        Returns the result, and the scores of the active network (before) and of the candidate.
        """
        training = self.candidate
        training.eval()
        active, candidate = self.score(self.active), self.score(training)
        if not candidate.is_finite:
            result: CandidateResult = "diverged" if active.is_finite else "kept"
        elif self._is_better(candidate, active) and not self._forgets(training):
            self.active = self._copied(training)
            result = "promoted"
        else:
            result = "worse" if candidate.rfactor > WORSE * active.rfactor else "kept"
        self._set_training(training)
        if result in ("worse", "diverged"):
            self._rate /= 2
            self._begin()
        return result, active, candidate

    def _is_better(self, candidate: Score, active: Score) -> bool:
        return candidate.rfactor < active.rfactor * (1 - self._options.promote_if) and candidate.misfit <= active.misfit

    def _forgets(self, candidate: Net) -> bool:
        most = self._options.heldout_frames
        earlier = self._buffer.held_out[:-most]
        keys = earlier[:: -(-len(earlier) // most) or 1]
        if not keys:
            return False
        before, after = self.score(self.active, keys), self.score(candidate, keys)
        return after.rfactor > before.rfactor or after.misfit > before.misfit
