"""Freezing the encoder, so that only the decoders are trained."""

from __future__ import annotations

from ptychopinn.model.base import Network


def freeze_encoder(network: Network) -> None:
    """Freeze the encoder: no gradients for its weights, no update of its batch statistics."""
    for part in network.encoder_parts():
        part.requires_grad_(False)
        part.eval()


def set_training(network: Network, *, is_frozen: bool) -> None:
    """Set a network to training mode, a frozen encoder to inference mode."""
    network.train()
    if is_frozen:
        for part in network.encoder_parts():
            part.eval()
