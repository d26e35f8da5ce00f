"""What is trained: a network and its loss of a batch, whoever runs the loop."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ptychopinn.config.sections import DataConfig, ModelConfig, TrainingConfig
from ptychopinn.data.dataset import Batch
from ptychopinn.model.base import Network
from ptychopinn.model.cnn import TrainableCnn
from ptychopinn.training.loss_stages import Stages
from ptychopinn.training.losses import LossSettings, first_scale, physics_loss, supervised_loss


class Moment(NamedTuple):
    """Where a training stands: epoch and batch of it, from 0."""

    epoch: int
    batch: int


class Task(Protocol):
    """A network with its loss."""

    @property
    def network(self) -> Network:
        """What is trained."""
        ...

    def loss(self, batch: Batch, moment: Moment | None) -> dict[str, Tensor]:
        """Return ``loss``, which is trained, and its parts for the log; no moment: a batch of the validation."""
        ...

    def prepare(self, batch: Batch) -> None:
        """Look at the first batch before the first step."""
        ...


class GroupTask:
    """The cnn on groups as PtychoPINN trains it, unsupervised in stages, or supervised."""

    def __init__(self, network: TrainableCnn, model: ModelConfig, stages: Stages) -> None:
        self.network = network
        self._settings = LossSettings(
            loss_function=model.loss_function,
            amp_loss=model.amp_loss,
            phase_loss=model.phase_loss,
            amp_loss_coeff=model.amp_loss_coeff,
            phase_loss_coeff=model.phase_loss_coeff,
        )
        self._is_supervised = model.mode == "Supervised"
        self._starts_from_data = model.rect_s1s2_init == "data" and network.physics.regime == "counts"
        self._stages = stages

    def loss(self, batch: Batch, moment: Moment | None) -> dict[str, Tensor]:
        """Return the loss; that of the validation is of the last stage, so that epochs can be compared."""
        if self._is_supervised:
            return {"loss": self._supervised(batch)}
        weight = 1.0 if moment is None else self._stages.get_current_stage_and_weight(moment.epoch)[1]
        group, probe, factor = batch
        return {"loss": physics_loss(self.network, group, probe, factor, self._settings, weight)}

    def _supervised(self, batch: Batch) -> Tensor:
        group, network = batch.group, self.network
        images = group["images"].clamp_min(0)
        factor = network.input_factor(group["rms_scaling_constant"])
        if network.options.sees_counts:
            images, factor = images.square(), group["rms_input_scale"]
        first, second = network.parts(images * factor)
        if network.options.output == "cartesian":
            patches = network.combine(first, second)
            first, second = patches.abs(), patches.angle()
        return supervised_loss(first, second, group["label_amp"], group["label_phase"])

    def prepare(self, batch: Batch) -> None:
        """Set the count regime's two scales from the first batch, if they start from the data."""
        if self._starts_from_data:
            scale = first_scale(self.network, batch.group, batch.probe, batch.probe_scaling)
            with torch.no_grad():
                for value in self.network.forward_model.rect_scaler.parameters():
                    value.fill_(scale)


def group_size(data: DataConfig, training: TrainingConfig, model: ModelConfig) -> int:
    """Return the frames that a loss sees together: those of a neighbourhood, or of a group."""
    return neighbourhood_frames(training, model) or data.C


def neighbourhood_frames(training: TrainingConfig, model: ModelConfig) -> int:
    """Return the frames of a neighbourhood; 0 where groups are trained as PtychoPINN does."""
    if model.architecture == "lift":
        return training.overlap_frames or 12
    return training.overlap_frames
