"""The model family ``cnn``: the network of PtychoPINN, which must be trained for each probe and kind of sample.

An encoder halves the pattern down to 8 x 8; two decoders without skip connections bring it back to N / 2, one for the
amplitude (or the real part), one for the phase (or the imaginary part). From their last 32 f features the first ones give the
central half of the patch, the last k its border, k the number of patches of a group. With f the width factor:

* N = 64: C -> 32f -> 64f -> 128f; N = 128 begins at 16f, N = 256 at 8f.
* decoders: N = 64: 64f, 32f; N = 128: 128f, 64f, 32f; N = 256: 256f, 128f, 64f, 32f.

Parameters carry the names that published checkpoints use, so those load; see :mod:`ptychopinn.model.cnn_import`.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn import functional

from ptychopinn.errors import ReconstructionError

LEVELS = {64: 3, 128: 4, 256: 5}
BOTTOM = 128


@dataclass(frozen=True, slots=True)
class CnnOptions:
    """The network's form.

    ``members`` patches of a group, 1 or 4; ``has_border``: whether the border of the patch is predicted too;
    ``output`` polar (amplitude, phase) or cartesian (real, imaginary).
    """

    size_px: int = 64
    members: int = 1
    width_factor: int = 2
    output: Literal["polar", "cartesian"] = "polar"
    has_attention: bool = True
    has_batch_norm: bool = False
    has_border: bool = True
    amplitude_activation: Literal["silu", "sigmoid"] = "silu"

    def __post_init__(self) -> None:
        if self.size_px not in LEVELS:
            raise ReconstructionError(f"the cnn takes patterns of 64, 128 or 256 px, not {self.size_px}; crop to one")


class _Pair(nn.Module):
    """Convolution, relu, convolution, relu; batch norm after each convolution on demand."""

    def __init__(self, before: int, after: int, has_norm: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        self.bn1: nn.Module = nn.BatchNorm2d(after) if has_norm else nn.Identity()
        self.bn2: nn.Module = nn.BatchNorm2d(after) if has_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(x)))


class _ChannelGate(nn.Module):
    """Weighs channels by their means and maxima (CBAM, Woo et al. 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // 16
        self.mlp = nn.Sequential(nn.Flatten(), nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))

    def forward(self, x: Tensor) -> Tensor:
        strength = self.mlp(x.mean((-2, -1), keepdim=True)) + self.mlp(x.amax((-2, -1), keepdim=True))
        gated: Tensor = x * torch.sigmoid(strength)[:, :, None, None]
        return gated


class _SpatialGate(nn.Module):
    """Weighs pixels by the maxima and means over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.compress = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        seen = torch.stack((x.amax(1), x.mean(1)), dim=1)
        gated: Tensor = x * torch.sigmoid(self.compress(seen))
        return gated


class _Attention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.ChannelGate = _ChannelGate(channels)
        self.SpatialGate = _SpatialGate()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.SpatialGate(self.ChannelGate(x))
        return out


class _EncoderBlock(_Pair):
    def __init__(self, before: int, after: int, options: CnnOptions) -> None:
        super().__init__(before, after, options.has_batch_norm)
        self.attention = _Attention(after) if options.has_attention else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return functional.max_pool2d(self.attention(super().forward(x)), 2)


class _DecoderBlock(_Pair):
    def forward(self, x: Tensor) -> Tensor:
        return functional.interpolate(super().forward(x), scale_factor=2.0)


class _Encoder(nn.Module):
    def __init__(self, options: CnnOptions) -> None:
        super().__init__()
        top = BOTTOM * options.width_factor
        widths = [top >> level for level in reversed(range(LEVELS[options.size_px]))]
        pairs = zip([options.members, *widths], widths, strict=False)
        self.blocks = nn.ModuleList(_EncoderBlock(a, b, options) for a, b in pairs)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class _LastStage(nn.Module):
    """From features at N / 2 to the whole patch: the centre through an activation, the border through SiLU."""

    def __init__(self, features: int, options: CnnOptions, has_norm: bool) -> None:
        super().__init__()
        members = options.members
        self.conv1 = nn.Conv2d(features - members, members, 3, padding=1)
        self.conv_up_block = _DecoderBlock(members, features, has_norm)
        self.conv2 = nn.Conv2d(features, members, 3, padding=1)
        self.bn1: nn.Module = nn.BatchNorm2d(members) if has_norm else nn.Identity()
        self.bn2: nn.Module = nn.BatchNorm2d(members) if has_norm else nn.Identity()
        self._members, self._has_border, self._rim_px = members, options.has_border, options.size_px // 4

    def forward(self, x: Tensor, activation: Any) -> Tensor:
        rim = self._rim_px
        centre = activation(self.bn1(self.conv1(x[:, : -self._members])))
        patch = functional.pad(centre, (rim, rim, rim, rim))
        if not self._has_border:
            return patch
        around = functional.silu(self.bn2(self.conv2(self.conv_up_block(x[:, -self._members :]))))
        around[..., rim:-rim, rim:-rim] = 0
        return patch + around


class _Decoder(nn.Module):
    """Decoder whose last stage is called ``last``: ``amp`` or ``phase``."""

    def __init__(self, options: CnnOptions, last: str, has_norm: bool) -> None:
        super().__init__()
        features = 32 * options.width_factor
        widths = [features << level for level in reversed(range(LEVELS[options.size_px] - 1))]
        pairs = zip([BOTTOM * options.width_factor, *widths], widths, strict=False)
        self.blocks = nn.ModuleList(_DecoderBlock(a, b, has_norm) for a, b in pairs)
        self.add_module(last, _LastStage(features, options, has_norm))
        self._last = last

    def forward(self, x: Tensor, activation: Any) -> Tensor:
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.get_submodule(self._last)(x, activation)
        return out


class _Autoencoder(nn.Module):
    def __init__(self, options: CnnOptions) -> None:
        super().__init__()
        self.encoder = _Encoder(options)
        self.decoder_amp = _Decoder(options, "amp", has_norm=False)
        self.decoder_phase = _Decoder(options, "phase", has_norm=options.has_batch_norm)


def _phase(x: Tensor) -> Tensor:
    return math.pi * torch.tanh(x)


def _real(x: Tensor) -> Tensor:
    return 0.2 + torch.tanh(x)


def _imaginary(x: Tensor) -> Tensor:
    return 1.2 * torch.tanh(x)


class Cnn(nn.Module):
    """The network: scaled patterns ``(B, C, N, N)`` float32 to complex patches ``(B, C, N, N)``."""

    name = "cnn"

    def __init__(self, options: CnnOptions) -> None:
        super().__init__()
        self.options = options
        self.autoencoder = _Autoencoder(options)

    @property
    def architecture(self) -> dict[str, Any]:
        """Options as plain data."""
        return asdict(self.options)

    def forward(self, scaled: Tensor) -> Tensor:
        """Return complex64 patches of patterns that are already scaled."""
        options, parts = self.options, self.autoencoder
        code = parts.encoder(scaled)
        if options.output == "cartesian":
            return torch.complex(parts.decoder_amp(code, _real), parts.decoder_phase(code, _imaginary))
        activation = functional.silu if options.amplitude_activation == "silu" else torch.sigmoid
        amplitude, phase = parts.decoder_amp(code, activation), parts.decoder_phase(code, _phase)
        return torch.complex(amplitude * torch.cos(phase), amplitude * torch.sin(phase))

    def forward_predict(self, images: Tensor, positions: Tensor, probe: Tensor, input_scale_factor: Tensor) -> Tensor:
        """Return patches of ``images * input_scale_factor``; positions and probe are not used (one signature for all)."""
        del positions, probe
        out: Tensor = self(images * input_scale_factor)
        return out

    def predict(self, group: TensorDict) -> Tensor:
        """Return patches of a DiffractionGroup; pixels without data count as dark.

        The polar network takes amplitudes, the cartesian one counts, each times its normalisation.
        """
        images = group["images"].clamp_min(0.0)
        with torch.inference_mode():
            if self.options.output == "polar":
                return self.forward_predict(images, images, images, group["rms_scaling_constant"])
            counts = images.square()
            energy = counts.square().sum((-2, -1)).mean().clamp_min(1e-12)
            out: Tensor = self(counts * (counts.shape[-1] / 2) / energy.sqrt())
            return out
