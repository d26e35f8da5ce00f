"""A generator of the type FNO (Li et al., "Fourier neural operator for parametric PDEs", ICLR 2021), in place of encoder and
decoder blocks: layers that mix all pixels through their lowest spatial frequencies.

A pattern and its patch are related by a Fourier transform, so each pixel of one depends on all of the other. Features have half
the resolution of the patch; the last stages are those of the cnn.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

HALVED = 2
"""The stem halves height and width."""


class SpectralLayer(nn.Module):
    """Multiplies the lowest ``modes`` frequencies along both axes by trained matrices over the channels.

    Weights are stored as real and imaginary part, ``(2, modes, modes, in, out, 2)``: rows from 0 up, and from -1 down.
    """

    def __init__(self, channels: int, modes: int) -> None:
        super().__init__()
        self.modes = modes
        self.weight = nn.Parameter(torch.randn((2, modes, modes, channels, channels, 2)) / channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return features ``(B, channels, H, W)``."""
        height, width = x.shape[-2:]
        found, weight, m = torch.fft.rfft2(x, norm="ortho"), torch.view_as_complex(self.weight), self.modes
        low = torch.einsum("biyx,yxio->boyx", found[..., :m, :m], weight[0])
        high = torch.einsum("biyx,yxio->boyx", found[..., -m:, :m], weight[1])
        middle = found.new_zeros((*low.shape[:2], height - 2 * m, m))
        columns = torch.cat((low, middle, high), dim=-2)
        whole = functional.pad(columns, (0, found.shape[-1] - m))
        out: Tensor = torch.fft.irfft2(whole, (height, width), norm="ortho")
        return out


class FourierLayer(nn.Module):
    """A residual around a :class:`SpectralLayer` and a 3x3 convolution."""

    def __init__(self, channels: int, modes: int) -> None:
        super().__init__()
        self.spectral = SpectralLayer(channels, modes)
        self.local = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the same shape."""
        return x + functional.gelu(self.spectral(x) + self.local(x))


class FourierEncoder(nn.Module):
    """Patterns ``(B, C, N, N)`` to features ``(B, width, N/2, N/2)``."""

    def __init__(self, members: int, width: int, modes: int, blocks: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(members * HALVED**2, width, 3, padding=1)
        self.blocks = nn.Sequential(*(FourierLayer(width, modes) for _ in range(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        """Return the features."""
        found: Tensor = self.blocks(self.stem(functional.pixel_unshuffle(x, HALVED)))
        return found
