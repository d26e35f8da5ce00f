"""Pixels of patterns without data, whose amplitude is below 0: a mask of a batch, and values without them."""

from __future__ import annotations

from torch import Tensor

from ptychopinn.device import is_batched


def mask_of(amplitude: Tensor) -> Tensor:
    """Return the mask of patterns, for :func:`mask_`: on a GPU True where there is no data; on a CPU 0 there, else 1."""
    if is_batched(amplitude.device):
        return amplitude < 0
    return amplitude.sign().clamp_max_(0.0).add_(1.0)  # a mask takes a CPU as long as a transform


def mask_(values: Tensor, mask: Tensor) -> Tensor:
    """Set values to 0 in place where there is no data, and return them."""
    return values.masked_fill_(mask, 0.0) if is_batched(values.device) else values.mul_(mask)
