"""Building blocks of the ``cnn`` network. Attribute names are the keys of PtychoPINN's checkpoints, so they stay.

Shapes: features ``(B, channels, H, W)`` float. Every 3x3 convolution keeps H and W.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional

ATTENTION_REDUCTION = 16
"""Ratio of channels to hidden channels in channel attention, as in the paper on CBAM; published checkpoints have it."""


def convolution(channels_in: int, channels_out: int) -> nn.Conv2d:
    """Return a 3x3 convolution with bias that keeps the image size."""
    return nn.Conv2d(channels_in, channels_out, 3, padding=1)


class ChannelGate(nn.Module):
    """Weighs channels by sigmoid(mlp(mean) + mlp(maximum)), one perceptron for both."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // ATTENTION_REDUCTION
        with warnings.catch_warnings():
            # fewer than 16 channels leave no hidden unit: only the biases act
            warnings.filterwarnings("ignore", "Initializing zero-element tensors")
            self.mlp = nn.Sequential(
                nn.Flatten(), nn.Linear(channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted features."""
        gate = torch.sigmoid(self.mlp(x.mean((2, 3))) + self.mlp(x.amax((2, 3))))
        return x * gate[:, :, None, None]


class SpatialGate(nn.Module):
    """Weighs pixels by the sigmoid of a convolution over the channels' maximum and mean."""

    def __init__(self, kernel: int = 7) -> None:
        super().__init__()
        self.compress = nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted features."""
        pooled = torch.stack((x.amax(1), x.mean(1)), dim=1)
        return x * torch.sigmoid(self.compress(pooled))


class BlockAttention(nn.Module):
    """CBAM (Woo et al. 2018): channel gate, then spatial gate."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.ChannelGate = ChannelGate(channels)
        self.SpatialGate = SpatialGate()

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted features."""
        out: Tensor = self.SpatialGate(self.ChannelGate(x))
        return out


class EfficientAttention(nn.Module):
    """ECA (Wang et al. 2020): channel weights from a convolution along the channels' means."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted features."""
        gate = torch.sigmoid(self.conv(x.mean((2, 3))[:, None]))
        return x * gate[:, 0, :, None, None]


class PixelAttention(nn.Module):
    """Spatial attention alone."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.spatial_gate = SpatialGate(kernel)

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted features."""
        out: Tensor = self.spatial_gate(x)
        return out


class ConvBlock(nn.Module):
    """Twice: 3x3 convolution, batch norm if wanted, ReLU."""

    def __init__(self, channels_in: int, channels_out: int, batch_norm: bool = False) -> None:
        super().__init__()
        self.conv1 = convolution(channels_in, channels_out)
        self.conv2 = convolution(channels_out, channels_out)
        if batch_norm:
            self.bn1 = nn.BatchNorm2d(channels_out)
            self.bn2 = nn.BatchNorm2d(channels_out)
        self.batch_norm = batch_norm

    def forward(self, x: Tensor) -> Tensor:
        """Return features with ``channels_out`` channels."""
        x = self.conv1(x)
        x = functional.relu(self.bn1(x) if self.batch_norm else x, inplace=True)
        x = self.conv2(x)
        return functional.relu(self.bn2(x) if self.batch_norm else x, inplace=True)


class UpBlock(ConvBlock):
    """A :class:`ConvBlock`, then each pixel doubled along both axes."""

    def forward(self, x: Tensor) -> Tensor:
        """Return features of twice the height and width."""
        return functional.interpolate(super().forward(x), scale_factor=2.0, mode="nearest")


class RefinementBlock(nn.Module):
    """Three convolutions around a residual, ReLU after each."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            convolution(channels, hidden),
            nn.ReLU(inplace=True),
            convolution(hidden, hidden),
            nn.ReLU(inplace=True),
            convolution(hidden, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the refined features."""
        return functional.relu(x + self.block(x), inplace=True)
