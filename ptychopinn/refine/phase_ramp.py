"""The phase ramp over a whole object, from the shift of its computed patterns against the measured ones.

A ramp is the slowest of all for the descent, since each frame alone hardly feels it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

LEAST_TURN_RAD = 0.02
"""A ramp that turns the phase by less from rim to rim is left: no eye sees it."""
SURE = 5.0
"""Standard deviations of the shift's noise; an amplitude's variance is 1/4."""


def ramp_factor(
    shift: Sequence[float], size_px: int, shape: Sequence[int], block_shape: Sequence[int], device: torch.device
) -> Tensor | None:
    """Return the factor ``(H, W)`` that takes the ramp off an object of ``shape``; None where it is not certain, or small.

    Parameters
    ----------
    shift
        Pull (y, x) and stiffness (y, x) of the patterns' common shift.
    block_shape
        Of the rectangle that the patterns are of.
    """
    pull, stiffness = shift[:2], shift[2:]
    certain = [p**2 > SURE**2 * s / 4 for p, s in zip(pull, stiffness, strict=True)]
    ramp = [
        2 * np.pi / size_px * p / s if is_sure else 0.0 for p, s, is_sure in zip(pull, stiffness, certain, strict=True)
    ]
    turns = [r * side for r, side in zip(ramp, block_shape, strict=True)]
    if max(map(abs, turns)) < LEAST_TURN_RAD:
        return None
    y, x = (
        torch.linspace(-turn / 2, (size - 1) * r - turn / 2, size, device=device)
        for size, r, turn in zip(shape, ramp, turns, strict=True)
    )
    return torch.exp(1j * (y[:, None] + x[None, :]))
