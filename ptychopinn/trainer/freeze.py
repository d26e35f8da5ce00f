"""Which weights are trained: all that act, or the decoders alone."""

from __future__ import annotations

from torch import nn

from ptychopinn.model.cnn import Cnn, TrainableCnn
from ptychopinn.model.network import CorrectionNet

IDLE = ("attention_blocks.",)
"""Weights that checkpoints hold and nothing applies."""


def act_alone(network: nn.Module, *, has_trained_scales: bool = True) -> None:
    """Leave weights without gradients that nothing applies: idle attention, and the scales of the other regime."""
    for name, parameter in network.named_parameters():
        if any(part in name for part in IDLE):
            parameter.requires_grad_(False)
    if not isinstance(network, TrainableCnn):
        return
    if not network.options.has_attention and network.options.idle_encoder_attention:
        for block in network.autoencoder.encoder.blocks:
            block.attention.requires_grad_(False)
    model = network.forward_model
    model.rect_scaler.requires_grad_(network.physics.regime == "counts" and has_trained_scales)
    for scale in (model.alpha, model.beta):
        scale.requires_grad_(network.physics.has_trained_scale and network.physics.regime == "amplitude")


def encoder_parts(network: nn.Module) -> list[nn.Module]:
    """Return the parts of a network that make its encoder."""
    if isinstance(network, Cnn):
        return [network.autoencoder.encoder]
    if isinstance(network, CorrectionNet):
        return [network.stem, network.stem_optics, network.numbers, network.down, network.coders]
    raise TypeError(f"{type(network).__name__} has no encoder that could be frozen")


def freeze_encoder(network: nn.Module) -> None:
    """Leave the encoder as it is: its weights get no gradient, its batch statistics do not move."""
    for part in encoder_parts(network):
        part.requires_grad_(False)
        part.eval()


def set_training(network: nn.Module, *, is_frozen: bool) -> None:
    """Put a network in training mode, a frozen encoder in that of inference."""
    network.train()
    if is_frozen:
        for part in encoder_parts(network):
            part.eval()
