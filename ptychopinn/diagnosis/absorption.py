"""Whether the phase of a picture falls where the sample absorbs, as it does for X-rays in matter."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ptychopinn.refine.refined_layer import Refiner


def absorption_sign(refiner: Refiner) -> float:
    """Return the correlation of a picture's phase with the logarithm of its amplitude, ramps taken out of both.

    Matter delays X-rays less than vacuum does and absorbs them: with transforms exp(-2 pi i q r) it is positive in a true
    picture, negative in a conjugate one.
    """
    picture, coverage = refiner.read()
    inside = coverage > 0.3 * coverage.max()
    phase = _without_ramp(picture, inside)
    absorbed = picture.abs().clamp_min(1e-3).log()
    y, x = np.nonzero(inside.numpy())
    plane = np.stack([np.ones(len(y)), y, x], axis=1)
    flat = [values[inside].double().numpy() for values in (phase, absorbed)]
    rests = [values - plane @ np.linalg.lstsq(plane, values, rcond=None)[0] for values in flat]
    spread = float(rests[0].std() * rests[1].std())
    return float((rests[0] * rests[1]).mean()) / spread if spread > 0 else 0.0


def _without_ramp(picture: Tensor, inside: Tensor) -> Tensor:
    """Return the phase of a picture, the mean ramp and offset taken out so that it seldom wraps."""
    slopes = []
    for axis in (0, 1):
        length = picture.shape[axis] - 1
        ahead, behind = picture.narrow(axis, 1, length), picture.narrow(axis, 0, length)
        both = inside.narrow(axis, 1, length) & inside.narrow(axis, 0, length)
        slopes.append(float(torch.angle((ahead * behind.conj())[both].sum())))
    y, x = (torch.arange(side) * slope for side, slope in zip(picture.shape, slopes, strict=True))
    level = picture * torch.exp(-1j * (y[:, None] + x[None, :]))
    return torch.angle(level * level[inside].sum().conj())
