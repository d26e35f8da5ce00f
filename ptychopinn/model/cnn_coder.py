"""Encoder and decoders of the ``cnn`` network.

The last stage of a decoder makes a patch in two parts: most features give the central N/2 square, the few last ones the
border around it, at twice the resolution.
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi

import torch
from torch import Tensor, nn
from torch.nn import functional

from ptychopinn.model.cnn_blocks import (
    BlockAttention,
    ConvBlock,
    EfficientAttention,
    PixelAttention,
    RefinementBlock,
    UpBlock,
    convolution,
)
from ptychopinn.model.cnn_options import CnnOptions
from ptychopinn.model.fourier import FourierEncoder

Activation = Callable[[Tensor], Tensor]


def phase_angle(x: Tensor) -> Tensor:
    """Return phases between -pi and pi."""
    return pi * torch.tanh(x)


def real_part(x: Tensor) -> Tensor:
    """Return real parts between -0.8 and 1.2."""
    return 0.2 + torch.tanh(x)


def imaginary_part(x: Tensor) -> Tensor:
    """Return imaginary parts between -1.2 and 1.2."""
    return 1.2 * torch.tanh(x)


def activations(options: CnnOptions) -> tuple[Activation, Activation]:
    """Return the activations of the two parts."""
    if options.output == "cartesian":
        return real_part, imaginary_part
    return (torch.sigmoid if options.amplitude_activation == "sigmoid" else functional.silu), phase_angle


class EncoderBlock(ConvBlock):
    """Convolutions, attention, halved image."""

    def __init__(self, channels_in: int, channels_out: int, options: CnnOptions) -> None:
        super().__init__(channels_in, channels_out, options.has_batch_norm)
        if options.has_attention:
            self.attention: nn.Module = BlockAttention(channels_out)
        elif options.idle_encoder_attention:
            self.attention = EfficientAttention()
        self._attends = options.has_attention

    def forward(self, x: Tensor) -> Tensor:
        """Return features of half the height and width."""
        x = super().forward(x)
        return functional.max_pool2d(self.attention(x) if self._attends else x, 2)


class Encoder(nn.Module):
    """Patterns ``(B, C, N, N)`` to features ``(B, 128 f, 8, 8)``."""

    def __init__(self, options: CnnOptions) -> None:
        super().__init__()
        widths = [options.members, *options.encoder_widths]
        self.blocks = nn.ModuleList(EncoderBlock(a, b, options) for a, b in zip(widths, widths[1:], strict=False))

    def forward(self, x: Tensor) -> Tensor:
        """Return the deepest features."""
        for block in self.blocks:
            x = block(x)
        return x


class LastStage(nn.Module):
    """Features ``(B, width, N/2, N/2)`` to an image ``(B, channels, N, N)``: ``activation`` in the centre, SiLU around it."""

    def __init__(
        self, options: CnnOptions, channels: int, border: int, activation: Activation, batch_norm: bool
    ) -> None:
        super().__init__()
        width = options.decoder_widths[-1]
        self.conv1 = convolution(width - border, channels)
        self.conv_up_block = UpBlock(border, width, batch_norm)
        self.conv2 = convolution(width, channels)
        if batch_norm:
            self.bn1 = nn.BatchNorm2d(channels)
            self.bn2 = nn.BatchNorm2d(channels)
        self._batch_norm = batch_norm
        self._border = border
        self._activation = activation
        self._quarter = options.size_px // 4
        self._has_border = options.has_border

    def forward(self, x: Tensor) -> Tensor:
        """Return the image."""
        centre = self.conv1(x[:, : -self._border])
        centre = self._activation(self.bn1(centre) if self._batch_norm else centre)
        inner = self._quarter
        if not self._has_border:
            return functional.pad(centre, (inner,) * 4)
        around = self.conv2(self.conv_up_block(x[:, -self._border :]))
        image = functional.silu(self.bn2(around) if self._batch_norm else around)
        image[..., inner:-inner, inner:-inner] = centre
        return image


class Decoder(nn.Module):
    """Blocks that double the image, from 8 to N/2."""

    def __init__(self, options: CnnOptions, batch_norm: bool) -> None:
        super().__init__()
        start = [] if options.fourier_modes else [options.encoder_widths[-1]]  # the type FNO has no blocks here
        widths = [*start, *options.decoder_widths]
        self.blocks = nn.ModuleList(UpBlock(a, b, batch_norm) for a, b in zip(widths, widths[1:], strict=False))
        kinds = [m for m in (_idle_attention(options, w) for w in widths[1:]) if m is not None]
        if kinds:
            self.attention_blocks = nn.ModuleList(kinds)

    def forward(self, x: Tensor) -> Tensor:
        """Return features ``(B, 32 f, N/2, N/2)``."""
        for block in self.blocks:
            x = block(x)
        return x


def _idle_attention(options: CnnOptions, channels: int) -> nn.Module | None:
    """Return the attention that checkpoints of some options hold; it is never applied."""
    match options.idle_decoder_attention:
        case "eca":
            return EfficientAttention()
        case "spatial":
            return PixelAttention(options.idle_kernel_px)
        case "cbam":
            return BlockAttention(channels)
    return None


class FirstDecoder(Decoder):
    """Amplitude or real part."""

    def __init__(self, options: CnnOptions) -> None:
        super().__init__(options, batch_norm=False)
        channels = options.first_channels or options.members
        border = options.border_features or options.members
        self.amp = LastStage(options, channels, border, activations(options)[0], batch_norm=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the part ``(B, C, N, N)``."""
        out: Tensor = self.amp(super().forward(x))
        return out


class SecondDecoder(Decoder):
    """Phase or imaginary part."""

    def __init__(self, options: CnnOptions) -> None:
        super().__init__(options, options.has_batch_norm)
        border = options.border_features or options.members
        self.phase = LastStage(options, options.members, border, activations(options)[1], options.has_batch_norm)

    def forward(self, x: Tensor) -> Tensor:
        """Return the part ``(B, C, N, N)``."""
        out: Tensor = self.phase(super().forward(x))
        return out


class SharedDecoder(Decoder):
    """Both parts, before their activations, on twice the channels; refined after every block."""

    def __init__(self, options: CnnOptions) -> None:
        super().__init__(options, options.has_batch_norm)
        widths = options.decoder_widths
        self.refinement_blocks = nn.ModuleList(RefinementBlock(w, max(w, 2 * widths[-1])) for w in widths)
        self.eca = EfficientAttention()
        channels = 2 * (options.first_channels or options.members)
        border = options.border_features or channels
        self.head = LastStage(options, channels, border, nn.Identity(), options.has_batch_norm)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(B, 2 C, N, N)``."""
        for block, refine in zip(self.blocks, self.refinement_blocks, strict=True):
            x = refine(block(x))
        out: Tensor = self.head(self.eca(x))
        return out


def _encoder(options: CnnOptions) -> Encoder | FourierEncoder:
    if not options.fourier_modes:
        return Encoder(options)
    return FourierEncoder(options.members, options.fourier_width, options.fourier_modes, options.fourier_blocks)


class Autoencoder(nn.Module):
    """Scaled patterns ``(B, C, N, N)`` to the two parts of the patches."""

    def __init__(self, options: CnnOptions) -> None:
        super().__init__()
        self.encoder = _encoder(options)
        if options.has_bottleneck_attention:
            self.bottleneck_cbam = BlockAttention(options.encoder_widths[-1])
        if options.has_shared_decoder:
            self.decoder_shared = SharedDecoder(options)
        else:
            self.decoder_amp = FirstDecoder(options)
            self.decoder_phase = SecondDecoder(options)
        self._options = options

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return amplitude and phase, or real and imaginary part, each ``(B, C, N, N)``."""
        x = self.encoder(x)
        if self._options.has_bottleneck_attention:
            x = self.bottleneck_cbam(x)
        if not self._options.has_shared_decoder:
            return self.decoder_amp(x), self.decoder_phase(x)
        first, second = activations(self._options)
        a, b = self.decoder_shared(x).chunk(2, dim=1)
        return first(a), second(b)
