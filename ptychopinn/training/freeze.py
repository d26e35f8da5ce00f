"""A frozen encoder: the decoders alone are trained."""

from __future__ import annotations

from ptychopinn.model.base import Network


def freeze_encoder(network: Network) -> None:
    """Leave the encoder as it is: its weights get no gradient, its batch statistics do not move."""
    for part in network.encoder_parts():
        part.requires_grad_(False)
        part.eval()


def set_training(network: Network, *, is_frozen: bool) -> None:
    """Put a network in training mode, a frozen encoder in that of inference."""
    network.train()
    if is_frozen:
        for part in network.encoder_parts():
            part.eval()
