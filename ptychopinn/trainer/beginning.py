"""Where a new cnn begins that is trained on neighbourhoods: at the empty object, which is 1 + 0i in photon units."""

from __future__ import annotations

from math import atanh, exp

import torch
from torch import nn

from ptychopinn.model.cnn import Cnn

SIGMOID_NEAR_ONE = 3.0
REAL_OF_ONE = atanh(0.8)
CONTRAST = 0.3
"""What is left of the last layers' first weights: the first patches differ little from 1."""


def begin_empty(network: Cnn) -> None:
    """Set the last layers so that the first patches are nearly 1 everywhere."""
    options = network.options
    if options.output == "cartesian":
        centre = REAL_OF_ONE
    else:
        centre = SIGMOID_NEAR_ONE if options.amplitude_activation == "sigmoid" else _before_silu(1.0)
    if options.has_shared_decoder:
        head = network.autoencoder.decoder_shared.head
        channels = head.conv1.out_channels // 2
        _begin(head.conv1, [centre] * channels + [0.0] * channels)
        _begin(head.conv2, [_before_silu(centre)] * channels + [0.0] * channels)
        return
    for stage, inner, outer in (
        (network.autoencoder.decoder_amp.amp, centre, _before_silu(1.0)),
        (network.autoencoder.decoder_phase.phase, 0.0, 0.0),
    ):
        _begin(stage.conv1, [inner] * stage.conv1.out_channels)
        _begin(stage.conv2, [outer] * stage.conv2.out_channels)


def _before_silu(value: float) -> float:
    """Return the x whose SiLU is a value of about 1."""
    x = value
    for _ in range(50):
        x = value * (1 + exp(-x))
    return x


def _begin(last: nn.Conv2d, values: list[float]) -> None:
    with torch.no_grad():
        last.weight.mul_(CONTRAST)
        if last.bias is not None:
            last.bias.copy_(torch.tensor(values))
