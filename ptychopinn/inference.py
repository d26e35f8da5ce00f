"""Batch inference: patches of given patterns, and whole scans with all positions known."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict
from torch import Tensor

from ptychopinn.canvas import Box
from ptychopinn.model import Model
from ptychopinn.model.network import LiftNet
from ptychopinn.mosaic import Mosaic
from ptychopinn.physics import rfactor_parts

BATCHES = (4, 8, 16, 32, 64)
RFACTOR_BATCH = 32


def single_group(images: Tensor) -> TensorDict:
    """Return the DiffractionGroup, as far as models need it, of single frames ``(B, 1, N, N)`` (-1 = no data)."""
    energy = images.clamp_min(0).square().sum((-2, -1)).mean().clamp_min(1e-12)
    rms = (images.shape[-1] / energy.sqrt()).expand(len(images), 1, 1, 1)
    return TensorDict({"images": images, "rms_scaling_constant": rms}, batch_size=[len(images)])


def choose_batch(model: Model, size_px: int, device: torch.device) -> int:
    """Return the batch size with which a model is quickest a frame here, by a short measurement."""
    best, chosen = float("inf"), BATCHES[0]
    for count in BATCHES:
        group = single_group(torch.ones(count, 1, size_px, size_px, device=device))
        model.predict(group)
        begun = time.perf_counter()
        model.predict(group).cpu()
        seconds = (time.perf_counter() - begun) / count
        if seconds < 0.97 * best:
            best, chosen = seconds, count
    return chosen


@dataclass(frozen=True, slots=True, eq=False)
class Reconstruction:
    """A stitched scan and its R-factor after each look."""

    mosaic: Mosaic
    rfactors: list[float]


def reconstruct(
    model: Model,
    probe: Tensor,
    amplitude: Tensor,
    positions_px: NDArray[np.float64],
    *,
    looks: int = 1,
    batch: int = 16,
    on_progress: Callable[[int], object] = lambda frames: None,
) -> Reconstruction:
    """Predict and stitch a whole scan.

    Parameters
    ----------
    probe : (modes, N, N) complex64
    amplitude : (n, N, N) float32, -1 = no data, zero frequency in the middle
    positions_px : (n, 2) float64
    looks
        Further looks start from the stitched neighbours; only a model with a network has them.
    on_progress
        Called with the number of frames of each batch done.
    """
    intensity = probe.abs().square().sum(0)
    weight = intensity / intensity.max()
    rfactors: list[float] = []
    before: Mosaic | None = None
    for _ in range(looks if isinstance(model, LiftNet) else 1):
        mosaic = Mosaic(weight)
        for begin in range(0, len(amplitude), batch):
            part = slice(begin, begin + batch)
            patches = _predict(model, amplitude[part], positions_px[part], before, weight)
            mosaic.add(range(begin, begin + len(patches)), patches, positions_px[part])
            on_progress(len(patches))
        rfactors.append(rfactor(probe, mosaic, amplitude, positions_px))
        before = mosaic
    return Reconstruction(mosaic, rfactors)


def _predict(
    model: Model, amplitude: Tensor, positions_px: NDArray[np.float64], before: Mosaic | None, weight: Tensor
) -> Tensor:
    group = single_group(amplitude[:, None])
    if before is None or not isinstance(model, LiftNet):
        return model.predict(group)[:, 0]
    n = before.size_px
    corners = np.rint(positions_px).astype(int) - n // 2 - np.array(before.origin_px)
    cuts = [before.read(Box(int(y), int(x), n, n)) for y, x in corners]
    starts = torch.stack([torch.where(total > 0, value, 1.0) for value, total in cuts])
    supports = torch.stack([(total - weight).clamp_min_(0.0) for _, total in cuts])
    return model.predict(group, starts[:, None], supports[:, None])[:, 0]


def rfactor(probe: Tensor, mosaic: Mosaic, amplitude: Tensor, positions_px: NDArray[np.float64]) -> float:
    """Return the R-factor of a mosaic over all frames."""
    misfit = total = 0.0
    for begin in range(0, len(amplitude), RFACTOR_BATCH):
        part = slice(begin, begin + RFACTOR_BATCH)
        patches = torch.stack([mosaic.cut(position) for position in positions_px[part]])
        above, below = rfactor_parts(probe, patches, amplitude[part])
        misfit, total = misfit + above, total + below
    return misfit / total if total > 0 else float("nan")
