"""What all fine-tuning shares: a candidate beside the active network, compared with it on frames that are never trained on.

Only a better candidate is promoted, and one that gets worse is thrown away. What a family of networks adds is how it is
copied and trained, and what it predicts of a held-out frame.
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
    """Of a network on held-out frames: R-factor, and mean square misfit of the amplitudes (a Poisson likelihood's)."""

    rfactor: float
    misfit: float

    @property
    def is_finite(self) -> bool:
        """Whether there is a score at all."""
        return math.isfinite(self.rfactor) and math.isfinite(self.misfit)


@dataclass(frozen=True, slots=True)
class FinetuneOptions:
    """How to fine-tune: learning rate, frames of a step, held-out frames of a comparison with so many frames each, and by
    how much a candidate's R must be lower to be promoted (a share of the active one's).

    The cnn sees its frames in groups of four; ``heldout_neighbours`` and ``projections`` are the lift's.
    """

    rate: float = 3e-4
    frames: int = 12
    heldout_frames: int = 24
    heldout_neighbours: int = 6
    promote_if: float = 0.002
    projections: int = 2
    seed: int = 0


class Tuner(ABC, Generic[Net]):
    """Fine-tunes a network: ``active`` is the best one known, ``candidate`` the one that is trained."""

    active: Net
    candidate: Net

    def __init__(self, network: Net, buffer: ReplayBuffer, options: FinetuneOptions) -> None:
        self._options = options
        self._buffer = buffer
        self.use(network)

    @abstractmethod
    def _copied(self, network: Net) -> Net:
        """Return a copy of a network that can be trained, in inference mode."""

    @abstractmethod
    def _set_training(self, network: Net) -> None:
        """Freeze what stays as it is, and put the rest in training mode."""

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
        """Train on some frames; return the loss, which is not finite where the step was not taken."""
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
        """Return how well a network does on held-out frames, each stitched with its neighbours; the newest unless said."""
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
        """Judge the candidate; promoted, it is the active network now, and thrown away, a new one begins.

        It is promoted if it does better on the newest held-out frames and no worse on earlier ones: where frames get worse,
        it must not unlearn the good ones.

        Returns the verdict and the scores of the active network (as it was) and of the candidate.
        """
        training = self.candidate
        training.eval()
        active, candidate = self.score(self.active), self.score(training)
        if not candidate.is_finite:
            verdict: CandidateResult = "diverged" if active.is_finite else "kept"
        elif self._is_better(candidate, active) and not self._forgets(training):
            self.active = self._copied(training)
            verdict = "promoted"
        else:
            verdict = "worse" if candidate.rfactor > WORSE * active.rfactor else "kept"
        self._set_training(training)
        if verdict in ("worse", "diverged"):
            self._rate /= 2
            self._begin()
        return verdict, active, candidate

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
