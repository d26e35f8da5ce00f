r"""The bowl of phase: the part of an object's phase that grows with the square of the distance from its middle.

Patterns hardly show it. A bowl exp(i a r^2 / 2) of the object is, under a frame at x, a ramp exp(i a x u), a bowl
exp(i a u^2 / 2) and a constant phase. The probe takes on the second; and if the probe has the curvature b, positions that are
too large by the share a / b make the first: 0.1 % is enough on the measured spiral. So the passes find the bowl together with
the sample; later passes only add the errors of positions, probe and beam to it, and it is held.
"""

from __future__ import annotations

import torch
from torch import Tensor

FULL_WEIGHT = 0.3
"""Coverage, of its mean where frames lie, from which a pixel counts in full."""


def without_bowl(new: Tensor, known: Tensor, coverage: Tensor) -> Tensor:
    """Return a changed object ``(H, W)`` without the bowl of its change; ``coverage (H, W)`` is that of the frames."""
    mean = coverage.sum() / (coverage > 0).sum().clamp_min(1)
    weight = (coverage / (FULL_WEIGHT * mean)).clamp_max(1.0)
    y, x = (torch.linspace(-1, 1, side, device=new.device) * (side / max(new.shape)) for side in new.shape)
    square = y[:, None].square() + x.square()
    parts = (torch.ones_like(square), y[:, None].expand_as(square), x.expand_as(square), square)
    columns = torch.stack([part.flatten() for part in parts], dim=1)
    weighted = columns * weight.flatten()[:, None]
    turned = torch.angle(new * known.conj()).flatten()
    found = torch.linalg.solve_ex((weighted.T @ columns).double(), (weighted.T @ turned).double())[
        0
    ]  # waits for nothing
    middle = (weight * square).sum() / weight.sum()
    return new * torch.exp(-1j * found[3].float() * (square - middle))
