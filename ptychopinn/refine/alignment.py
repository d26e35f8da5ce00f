"""Pictures of one object that overlap: their relative phase and phase ramp, by least squares over all overlaps.

Each part was refined from other frames, and patterns do not depend on an object's global phase and hardly on a ramp. The
unknowns of a part are (phase, ramp y, ramp x) with the phase phase + ramp y * y + ramp x * x, y and x in pixels of the
object's frame. Their means over the parts, weighted by coverage, are not determined by the overlaps and stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.mosaic.canvas import Box, Canvas
from ptychopinn.mosaic.merged import whole

MOST_PX = 1 << 14
"""Pixels of an overlap that are looked at: three unknowns need few, and this takes less than a millisecond."""
FAINT = 0.05
"""Share of the greatest coverage below which a pixel of an overlap is left out: it is hardly determined."""
SCALE_PX = 256.0
"""Unit of length in the equations, px, so that all three unknowns are of similar size."""
HOLD = 1e-6
"""Weight, as a share of a part's coverage, that holds what the overlaps leave open."""
ROUNDS = 2
"""Solutions in a row: the second one corrects where the phases of the first had to be folded."""


def ramp_on(ramp: NDArray[np.float64], box: Box, stride: int = 1) -> Tensor:
    """Return exp(-i phase) ``(h, w)`` complex64 of a part's unknowns ``(3,)`` on a rectangle of the object's frame."""
    phase, along_y, along_x = ramp.tolist()
    y = phase + along_y * (box.y + torch.arange(0, box.h, stride, dtype=torch.float64))
    x = along_x * (box.x + torch.arange(0, box.w, stride, dtype=torch.float64))
    return torch.polar(torch.ones(()).double(), -(y[:, None] + x[None])).to(torch.complex64)


def aligned(parts: Sequence[Canvas], ramps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the unknowns ``(n, 3)`` of parts with planes ``object`` and ``coverage``, from those found before."""
    if len(parts) < 2:
        return ramps
    found = ramps
    for _ in range(ROUNDS):
        found = _solved(parts, found)
    return found


def _solved(parts: Sequence[Canvas], ramps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return better unknowns: one solution of the linear equations of all overlaps."""
    count = len(parts)
    matrix, right = np.zeros((count, 3, count, 3)), np.zeros((count, 3))
    boxes = [whole(part) for part in parts]
    middle = np.mean([(box.y + box.h / 2, box.x + box.w / 2) for box in boxes], axis=0)
    for one, other in combinations(range(count), 2):
        overlap = boxes[one].shared(boxes[other])
        if not overlap.h:
            continue
        own, against = _equations((parts[one], parts[other]), (ramps[one], ramps[other]), overlap, middle)
        for i, j in ((one, other), (other, one)):
            matrix[i, :, i] += own
            matrix[i, :, j] -= own
        right[one] += against
        right[other] -= against
    for i, part in enumerate(parts):
        matrix[i, :, i] += HOLD * float(part.planes["coverage"].sum()) * np.eye(3)
    steps = np.linalg.lstsq(matrix.reshape(3 * count, 3 * count), right.reshape(-1), rcond=None)[0].reshape(count, 3)
    slopes = steps.astype(np.float64)[:, 1:] / SCALE_PX
    better: NDArray[np.float64] = ramps + np.column_stack([steps[:, 0] - slopes @ middle, slopes])
    return better


def _equations(
    parts: tuple[Canvas, Canvas],
    ramps: tuple[NDArray[np.float64], NDArray[np.float64]],
    overlap: Box,
    middle: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return matrix ``(3, 3)`` and right side ``(3,)`` for the phase between two parts on their overlap."""
    stride = max(1, math.isqrt(overlap.h * overlap.w // MOST_PX))
    fields, coverage = [], torch.full((), torch.inf)
    for part, ramp in zip(parts, ramps, strict=True):
        top, left, h, w = part.place(overlap)
        some = slice(top, top + h, stride), slice(left, left + w, stride)
        fields.append(part.planes["object"][some] * ramp_on(ramp, overlap, stride))
        coverage = torch.minimum(coverage, part.planes["coverage"][some])
    product = fields[0] * fields[1].conj()
    lit = coverage > FAINT * max(float(part.planes["coverage"].max()) for part in parts)
    weight = (coverage * product.abs())[lit].double().numpy()
    angle = product.angle()[lit].double().numpy()
    rows, columns = (places.double().numpy() * stride for places in lit.nonzero(as_tuple=True))
    y, x = (rows + overlap.y - middle[0]) / SCALE_PX, (columns + overlap.x - middle[1]) / SCALE_PX
    base = np.stack([np.ones_like(y), y, x])
    return (base * weight) @ base.T, (base * weight) @ angle
