"""The registry: each architecture that a bundle may name, how its network is built, and how it becomes a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ptychopinn.model.base import Model, Network
from ptychopinn.model.cnn import Cnn, CnnOptions
from ptychopinn.model.cnn_scaled import ScaledCnn
from ptychopinn.model.lift import Lift
from ptychopinn.model.network import CorrectionNet, channels_last
from ptychopinn.tensor_dict import TensorDict


class TrainingFacts(Protocol):
    """Facts about the training of a network, from its bundle."""

    @property
    def projections(self) -> int:
        """Number of projections of a look."""
        ...

    @property
    def has_own_scale(self) -> bool:
        """Whether an empty object may be another number than 1."""
        ...

    @property
    def part_scales(self) -> tuple[float, float]:
        """Trained scales of the real and the imaginary part."""
        ...


class ForwardInputs(NamedTuple):
    """The arguments of PtychoPINN's ``forward_predict``: images and positions of groups, the probe, and the input scale."""

    images: Tensor
    positions: Tensor
    probe: Tensor
    input_scale_factor: Tensor


ForwardPredict = Callable[[Any, Callable[[Tensor], Model], ForwardInputs], Tensor]
"""``(network, for_probe, inputs)`` to patches ``(B, C, N, N)`` complex64."""


class Architecture(NamedTuple):
    """One architecture.

    ``build(**options)`` returns its network with initial weights. ``for_probe(network, probe, trained)`` returns the model
    for a probe ``(modes, N, N)``; its patches are in photon units: an empty object is 1. ``forward_predict`` predicts as
    PtychoPINN does.
    """

    build: Callable[..., Network]
    for_probe: Callable[[Any, Tensor, TrainingFacts], Model]
    forward_predict: ForwardPredict


def _correction_net(**options: Any) -> Network:
    return channels_last(CorrectionNet(**options))


def _cnn(**options: Any) -> Network:
    return Cnn(CnnOptions(**options))


def _lift_for_probe(network: CorrectionNet, probe: Tensor, trained: TrainingFacts) -> Model:
    return Lift(probe, network, trained.projections)


def _cnn_for_probe(network: Cnn, probe: Tensor, trained: TrainingFacts) -> Model:
    return ScaledCnn(network, probe, trained.part_scales) if trained.has_own_scale else network


def _lift_forward(network: CorrectionNet, for_probe: Callable[[Tensor], Model], inputs: ForwardInputs) -> Tensor:
    """Predict from amplitudes ``images * input_scale_factor`` with the model for the probe."""
    images, positions, probe, input_scale_factor = inputs
    scaled = torch.where(images < 0, images, images * input_scale_factor)
    group = TensorDict({"images": scaled, "coords_relative": positions}, batch_size=[len(images)])
    return for_probe(probe).predict(group)


def _cnn_forward(network: Cnn, for_probe: Callable[[Tensor], Model], inputs: ForwardInputs) -> Tensor:
    """Predict with the network alone, in the scale of its training."""
    return network.forward_predict(*inputs)


ARCHITECTURES = {
    CorrectionNet.architecture_name: Architecture(_correction_net, _lift_for_probe, _lift_forward),
    Cnn.architecture_name: Architecture(_cnn, _cnn_for_probe, _cnn_forward),
    "fno": Architecture(_cnn, _cnn_for_probe, _cnn_forward),
}
