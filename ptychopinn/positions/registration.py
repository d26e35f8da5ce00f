r"""Position of a frame on the picture of the other frames.

The frame's exit wave psi = P O is given the measured amplitudes: w. Half of what is wrong with it is still there, since
the phases in the far field are those of the wrong place; so the wave is led on in that direction, v = psi + k (w - psi). The
frame then lies best at the shift s with the least

    sum |v - P O(+s)|^2 = const - 2 Re sum (P^* v)^* O(+s) + sum |P|^2 |O(+s)|^2,

two cross-correlations. O is the picture of all other frames: with its own share in it each frame would find itself.
Where no other frame lies O is 1. Shifts are whole pixels, the place between them is a parabola's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ptychopinn.physics.diffraction import intensity

FAINT = 0.02
"""Share of the probe's greatest intensity below which the others' picture is not believed."""


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """How much better than nothing each shift explains each frame ``(n, 2 R + 1, 2 R + 1)``, photons."""

    gain: Tensor

    def best(self, penalty: Tensor) -> Tensor:
        """Return the best shifts ``(n, 2)``, pixels, of the gain less a penalty of the same shape."""
        score = self.gain - penalty
        side = score.shape[-1]
        place = score.flatten(1).argmax(1)
        y, x = place // side, place % side
        rows = torch.arange(len(score), device=score.device)
        inner_y, inner_x = y.clamp(1, side - 2), x.clamp(1, side - 2)
        along_y = torch.stack([score[rows, inner_y + d, x] for d in (-1, 0, 1)])
        along_x = torch.stack([score[rows, y, inner_x + d] for d in (-1, 0, 1)])
        parts = [
            at - side // 2 + torch.where(at == inner, _between(*along), 0.0)
            for at, inner, along in ((y, inner_y, along_y), (x, inner_x, along_x))
        ]
        return torch.stack(parts, dim=1)


def without_own(values: Tensor, weights: Tensor, own: Tensor, lit: Tensor, rim_px: int) -> Tensor:
    """Return the others' picture from the sums of all, cut with a rim.

    Parameters
    ----------
    values, weights : (n, N + 2 rim, N + 2 rim)
        Sums of P^* w and of |P|^2.
    own : (n, N, N) complex64
        The frames' shares of the values; ``lit (N, N)`` of the weights.
    """
    n = own.shape[-1]
    inside = slice(rim_px, rim_px + n)
    values[:, inside, inside] -= own
    weights[:, inside, inside] -= lit
    faint = FAINT * lit.max()
    return (values + faint) / (weights.clamp_min(0.0) + faint)


def surface(picture: Tensor, probe: Tensor, led: Tensor) -> Surface:
    """Compare led waves ``(n, N, N)`` with the picture around them ``(n, N + 2 R, N + 2 R)``."""
    side, n = picture.shape[-1], probe.shape[-1]
    reach = slice(0, side - n + 1)
    wave = torch.fft.fft2(probe.conj() * led, s=(side, side))
    seen = torch.fft.ifft2(torch.fft.fft2(picture) * wave.conj())[:, reach, reach].real
    lit = torch.fft.rfft2(intensity(probe), s=(side, side))
    there = torch.fft.irfft2(torch.fft.rfft2(intensity(picture)) * lit.conj(), s=(side, side))
    return Surface(2 * seen - there[:, reach, reach])


def _between(before: Tensor, at: Tensor, after: Tensor) -> Tensor:
    bend = (before - 2 * at + after).clamp_max(-1e-12)
    return ((before - after) / (2 * bend)).clamp(-0.5, 0.5)
