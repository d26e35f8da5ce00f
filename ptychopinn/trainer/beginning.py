"""Where a new cnn begins that is trained on neighbourhoods: at the empty object, which is 1 + 0i in photon units.

Under a usual draw of the weights the signal shrinks in every layer: the first patches of a scan differ by 1e-9, and the
training stays at the empty object. So every layer's channels are set to mean 0 and deviation 1 on some frames of the scan.
"""

from __future__ import annotations

from math import atanh, exp

import torch
from torch import Tensor, nn

from ptychopinn.model.cnn import Cnn

SIGMOID_NEAR_ONE = 3.0
REAL_OF_ONE = atanh(0.8)
CONTRAST = 0.1
"""Deviation of the last layers' outputs: the first patches differ little from 1."""
FLAT = 1e-6


def begin_empty(network: Cnn, scaled: Tensor, seed: int) -> None:
    """Draw the weights so that all layers pass the frames on and the first patches are nearly 1 everywhere.

    Parameters
    ----------
    scaled : (B, 1, N, N) float32
        Frames as the network takes them.
    """
    heads = _heads(network)
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
    for layer, values in heads:
        _begin(layer, values)


def _standardise(layer: nn.Module, _: tuple[Tensor, ...], out: Tensor) -> Tensor:
    """Set a layer so that its channels have mean 0 and deviation 1, which is returned."""
    mean, deviation = out.mean((0, 2, 3)), out.std((0, 2, 3)).clamp_min(FLAT)
    weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
    weight.div_(deviation[:, None, None, None])
    bias.sub_(mean).div_(deviation)
    return (out - mean[:, None, None]) / deviation[:, None, None]


def _heads(network: Cnn) -> list[tuple[nn.Conv2d, list[float]]]:
    """Return the last layers, and the biases that make 1 + 0i of them."""
    options = network.options
    if options.output == "cartesian":
        centre = REAL_OF_ONE
    else:
        centre = SIGMOID_NEAR_ONE if options.amplitude_activation == "sigmoid" else _before_silu(1.0)
    if options.has_shared_decoder:
        head = network.autoencoder.decoder_shared.head
        half = head.conv1.out_channels // 2
        return [
            (head.conv1, [centre] * half + [0.0] * half),
            (head.conv2, [_before_silu(centre)] * half + [0.0] * half),
        ]
    heads = []
    for stage, inner, outer in (
        (network.autoencoder.decoder_amp.amp, centre, _before_silu(1.0)),
        (network.autoencoder.decoder_phase.phase, 0.0, 0.0),
    ):
        heads.append((stage.conv1, [inner] * stage.conv1.out_channels))
        heads.append((stage.conv2, [outer] * stage.conv2.out_channels))
    return heads


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
