"""Initial weights of a new cnn: its first patches are nearly the empty object (1 + 0i in photon units).

With usual random weights the signal shrinks in every layer: the first patches of a scan differ by 1e-9, and the training
stays at the empty object. Therefore the channels of every layer are set to mean 0 and deviation 1 on some frames of the scan.
"""

from __future__ import annotations

from math import atanh, exp

import torch
from torch import Tensor, nn

from ptychopinn.model.cnn import Cnn

SIGMOID_NEAR_ONE = 3.0
"""Input of a sigmoid whose output is about 0.95."""
REAL_OF_ONE = atanh(0.8)
"""Input of the scaled tanh of the real part whose output is 1."""
CONTRAST = 0.1
"""Deviation of the outputs of the last layers: the first patches differ little from 1."""
FLAT = 1e-6
"""Lowest deviation of a channel that is divided by; avoids 0 / 0 for a constant one."""


def begin_empty(network: Cnn, scaled: Tensor, seed: int, empty: float = 1.0) -> None:
    """Set the initial weights so that the signal passes all layers and the first patches are nearly ``empty``.

    Parameters
    ----------
    scaled : (B, C, N, N) float32
        Frames scaled for the network.
    empty
        Amplitude of the empty object. The outputs of a sigmoid and of a cartesian network are limited; they start near 1.
    """
    heads = _heads(network, empty)
    layers = [m for m in network.autoencoder.modules() if isinstance(m, nn.Conv2d) and m.bias is not None]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    hooks = [layer.register_forward_hook(_standardise) for layer in layers]
    was_training = network.training
    try:
        with torch.no_grad():
            network.eval().parts(scaled)
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()
    for layer, values, contrast in heads:
        _begin(layer, values, contrast)


def _standardise(layer: nn.Module, _: tuple[Tensor, ...], out: Tensor) -> Tensor:
    """Scale a layer so that its channels have mean 0 and deviation 1; return its new output."""
    mean, deviation = out.mean((0, 2, 3)), out.std((0, 2, 3)).clamp_min(FLAT)
    weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
    weight.div_(deviation[:, None, None, None])
    bias.sub_(mean).div_(deviation)
    return (out - mean[:, None, None]) / deviation[:, None, None]


def _heads(network: Cnn, empty: float) -> list[tuple[nn.Conv2d, list[float], float]]:
    """Return the last layers, their biases for an empty object, and the deviation of their outputs."""
    options = network.options
    inner, contrast = _before_silu(empty), CONTRAST * empty
    if options.output == "cartesian":
        inner, empty, contrast = REAL_OF_ONE, 1.0, CONTRAST
    elif options.amplitude_activation == "sigmoid":
        inner, empty, contrast = SIGMOID_NEAR_ONE, 1.0, CONTRAST
    outer = _before_silu(empty)
    if options.has_shared_decoder:
        head = network.autoencoder.decoder_shared.head
        half = head.conv1.out_channels // 2
        return [
            (head.conv1, [inner] * half + [0.0] * half, CONTRAST),
            (head.conv2, [_before_silu(inner)] * half + [0.0] * half, CONTRAST),
        ]
    heads = []
    for stage, middle, around, deviation in (
        (network.autoencoder.decoder_amp.amp, inner, outer, contrast),
        (network.autoencoder.decoder_phase.phase, 0.0, 0.0, CONTRAST),
    ):
        heads.append((stage.conv1, [middle] * stage.conv1.out_channels, deviation))
        heads.append((stage.conv2, [around] * stage.conv2.out_channels, deviation))
    return heads


def _before_silu(value: float) -> float:
    """Return the x whose SiLU is a value of about 1 or more."""
    x = value
    for _ in range(50):
        x = value * (1 + exp(-x))
    return x


def _begin(last: nn.Conv2d, values: list[float], contrast: float) -> None:
    with torch.no_grad():
        last.weight.mul_(contrast)
        if last.bias is not None:
            last.bias.copy_(torch.tensor(values))
