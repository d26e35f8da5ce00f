"""Fine-tuning of the lift's network on the frames of running scans: the encoder is frozen, the decoder is trained.

The loss uses the overlap (:mod:`ptychopinn.training.overlap_loss`): patches of a neighbourhood are stitched, cut out again and
propagated. Where the refined layer has an object, it is a label too.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ptychopinn.model.network import TINY_MODULUS, CorrectionNet, channels_last
from ptychopinn.training.freeze import freeze_encoder, set_training
from ptychopinn.training.looks import predict_last_look
from ptychopinn.training.overlap_loss import FLOOR, Neighbourhood, overlap_losses
from ptychopinn.training.replay_buffer import Key, ReplayBuffer, ReplayFrame
from ptychopinn.training.tuner import FinetuneOptions, Tuner

AGREEMENT, LABEL = 0.1, 0.3
"""Weights of the agreement and of the refined object as label; the physics loss has weight 1."""
SECOND_LOOK_SHARE = 0.4
"""Share of the steps that train the second look."""
LEAST_CONTRAST = 1e-3
"""Lowest mean square contrast of labels that is divided by: weaker labels are mostly noise."""


class FineTuner(Tuner[CorrectionNet]):
    """Fine-tunes the lift's network for one probe ``(modes, N, N)`` complex64 in photon units."""

    def __init__(self, network: CorrectionNet, probe: Tensor, buffer: ReplayBuffer, options: FinetuneOptions) -> None:
        self._probe = probe
        self._random = np.random.default_rng(options.seed)
        super().__init__(network, buffer, options)

    def _copied(self, network: CorrectionNet) -> CorrectionNet:
        other = channels_last(copy.deepcopy(network))
        other.requires_grad_(True)
        other.eval()
        return other

    def _set_training(self, network: CorrectionNet) -> None:
        set_training(network, is_frozen=True)
        freeze_encoder(network)

    def weights(self) -> Mapping[str, Tensor]:
        """Return the active network's weights."""
        return self.active.state_dict()

    def _seen(self, frames: Sequence[ReplayFrame]) -> Neighbourhood:
        images = torch.from_numpy(np.stack([f.amplitude for f in frames])).to(self._probe.device)
        positions = torch.tensor([f.position_px for f in frames], device=self._probe.device)
        return Neighbourhood.of(images[None], positions[None], self._probe[None])

    def _loss(self) -> Tensor:
        frames = self._buffer.neighbourhood(self._options.frames)
        seen = self._seen(frames)
        looks = 1 + int(self._random.random() < SECOND_LOOK_SHARE)
        patches = self._patches(self.candidate, seen, looks)
        parts = overlap_losses(patches, seen)
        loss: Tensor = parts["physics"] + AGREEMENT * parts["agreement"]
        if all(frame.label is not None for frame in frames):
            label = torch.from_numpy(np.stack([f.label for f in frames if f.label is not None]))[None]
            loss = loss + LABEL * _label_loss(patches, label.to(patches.device), seen)
        return loss

    def _patches(self, network: nn.Module, seen: Neighbourhood, looks: int) -> Tensor:
        return predict_last_look(network, seen, looks, self._options.projections)

    def _compared(self, network: CorrectionNet, key: Key) -> tuple[Tensor, Tensor]:
        seen = self._seen(self._buffer.around(key, self._options.heldout_neighbours))
        patches = self._patches(network, seen, 1)
        return seen.optics.magnitude(seen.merged(patches))[0, 0], seen.amplitude[0, 0]


def _label_loss(patches: Tensor, label: Tensor, seen: Neighbourhood) -> Tensor:
    """Return the rms of patches - labels under |P|^2, with one phase for all, divided by the rms contrast of the labels."""
    weight = seen.optics.weight
    share = weight / (weight.sum((-2, -1), keepdim=True) * patches.shape[1])

    def mean(wave: Tensor) -> Tensor:
        return (wave * share).sum((1, 2, 3), keepdim=True)

    with torch.no_grad():
        phase = mean(patches * label.conj())
        phase = phase / phase.abs().clamp_min(TINY_MODULUS)
        contrast = mean((label - mean(label)).abs().square().to(label.dtype)).real.clamp_min(LEAST_CONTRAST)
    difference = torch.view_as_real(patches - label * phase).square().sum(-1)
    power: Tensor = ((difference * share).sum((1, 2, 3), keepdim=True) / contrast).clamp_min(FLOOR)
    return power.sqrt().mean()
