"""Training tasks: a network and its loss of a batch, independent of the loop that runs them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from ptychopinn.config.sections import DataConfig, ModelConfig, TrainingConfig
from ptychopinn.data.dataset import GroupBatch
from ptychopinn.model.base import Network
from ptychopinn.model.cnn import TrainableCnn
from ptychopinn.training.loss_stages import Stages
from ptychopinn.training.losses import LossSettings, first_scale, physics_loss, supervised_loss

LIFT_FRAMES = 12
"""Number of frames in a neighbourhood of the lift, unless ``overlap_frames`` says otherwise; as in its first training."""

B = TypeVar("B")
B_co = TypeVar("B_co", covariant=True)
State = Mapping[str, object]
"""State for a checkpoint: tensors, numbers, strings, and lists and dictionaries of them."""


class BatchIndex(NamedTuple):
    """Position in a training: the epoch and the batch in it, from 0."""

    epoch: int
    batch: int


class BatchSource(Protocol[B_co]):
    """Batches of the training epochs. An iteration that yields fewer batches than ``len`` ends the training."""

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        ...

    def set_epoch(self, epoch: int) -> None:
        """Select the epoch of the next iteration."""
        ...

    def __iter__(self) -> Iterator[B_co]:
        """Yield the batches of the epoch, from the current position."""
        ...

    def state_dict(self) -> State:
        """Return the position, and the worker's own state."""
        ...

    def load_state_dict(self, state: State) -> None:
        """Continue from a :meth:`state_dict`."""
        ...


class Task(ABC, Generic[B]):
    """A network with its loss."""

    network: Network
    """The network that is trained."""

    @abstractmethod
    def loss(self, batch: B, index: BatchIndex | None) -> dict[str, Tensor]:
        """Return ``loss``, which is minimised, and its parts for the log.

        Parameters
        ----------
        index
            Position in the training; None: a batch of the validation.
        """

    @abstractmethod
    def size(self, batch: B) -> int:
        """Return the weight of a batch in the mean losses of an epoch: its number of groups."""

    def prepare(self, batches: Iterable[B]) -> None:
        """Set initial values that depend on the first batch, before the first step."""

    def after_step(self, steps_done: int) -> None:
        """Update what follows the weights; ``steps_done`` includes this step."""

    def state_dict(self) -> State:
        """Return the state for a checkpoint beside the network's weights."""
        return {}

    def load_state_dict(self, state: State) -> None:
        """Continue from a :meth:`state_dict`."""


class GroupTask(Task[GroupBatch]):
    """Training of the cnn on groups as in PtychoPINN: unsupervised in stages, or supervised."""

    def __init__(self, network: TrainableCnn, model: ModelConfig, stages: Stages) -> None:
        self.network: TrainableCnn = network
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

    def loss(self, batch: GroupBatch, index: BatchIndex | None) -> dict[str, Tensor]:
        """Return the loss. Validation uses the loss of the last stage, so that epochs are comparable."""
        if self._is_supervised:
            return {"loss": self._supervised(batch)}
        stages = self._stages.last() if index is None else self._stages
        weight = stages.get_current_stage_and_weight(0 if index is None else index.epoch)[1]
        return {"loss": physics_loss(self.network, batch, self._settings, weight)}

    def size(self, batch: GroupBatch) -> int:
        """Return the number of groups of a batch."""
        return len(batch.group)

    def _supervised(self, batch: GroupBatch) -> Tensor:
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

    def prepare(self, batches: Iterable[GroupBatch]) -> None:
        """Set the two scales of the count regime from the first batch, if ``rect_s1s2_init`` is ``data``."""
        if self._starts_from_data:
            scale = first_scale(self.network, next(iter(batches)))
            with torch.no_grad():
                for value in self.network.forward_model.rect_scaler.parameters():
                    value.fill_(scale)


def group_size(data: DataConfig, training: TrainingConfig, model: ModelConfig) -> int:
    """Return the number of frames that one loss uses together: those of a neighbourhood, or of a group."""
    return neighbourhood_frames(training, model) or data.C


def neighbourhood_frames(training: TrainingConfig, model: ModelConfig) -> int:
    """Return the number of frames of a neighbourhood; 0 where groups are trained as in PtychoPINN."""
    if model.architecture == "lift":
        return training.overlap_frames or LIFT_FRAMES
    return training.overlap_frames
