"""Batch inference: patches of given patterns, and whole scans with all positions known."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict
from torch import Tensor

from ptychopinn.errors import GeometryError
from ptychopinn.model import Model
from ptychopinn.model.lift import Lift
from ptychopinn.model.network import LiftNet, look
from ptychopinn.model.optics import Optics
from ptychopinn.mosaic import Mosaic
from ptychopinn.physics import rfactor_parts
from ptychopinn.refine import Refiner

BATCHES = (4, 8, 16, 32, 64)
MEASURE_S = 0.5
RFACTOR_BATCH = 32
MAX_AREA_PX = 1 << 28


def single_group(images: Tensor) -> TensorDict:
    """Return the DiffractionGroup, as far as models need it, of single frames ``(B, 1, N, N)`` (-1 = no data)."""
    energy = images.clamp_min(0).square().sum((-2, -1)).mean().clamp_min(1e-12)
    rms = (images.shape[-1] / energy.sqrt()).expand(len(images), 1, 1, 1)
    return TensorDict({"images": images, "rms_scaling_constant": rms}, batch_size=[len(images)])


def choose_batch(model: Model, size_px: int, device: torch.device) -> int:
    """Return the batch size with which a model is quickest a frame here, by a measurement of about half a second."""
    best, chosen = float("inf"), BATCHES[0]
    end = time.perf_counter() + MEASURE_S
    for count in BATCHES:
        group = single_group(torch.ones(count, 1, size_px, size_px, device=device))
        seconds = [_seconds(model, group) for _ in range(2)][-1] / count
        if seconds < 0.97 * best:
            best, chosen = seconds, count
        if time.perf_counter() > end:
            break
    return chosen


def _seconds(model: Model, group: TensorDict) -> float:
    begun = time.perf_counter()
    model.predict(group).cpu()
    return time.perf_counter() - begun


@dataclass(frozen=True, slots=True, eq=False)
class Reconstruction:
    """A stitched scan, its R-factor after each look, and why frames were left out of it (by their place in the scan)."""

    mosaic: Mosaic
    rfactors: list[float]
    refused: dict[int, str]


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
        Further looks start from the stitched neighbours; the lift has them, with a network or alone.
    on_progress
        Called with the number of frames of each batch done.

    Raises
    ------
    GeometryError
        If the positions span an area that no scan has.
    """
    _check_area(positions_px, probe.shape[-1])
    intensity = probe.abs().square().sum(0)
    weight = intensity / intensity.max()
    rfactors: list[float] = []
    before: Mosaic | None = None
    refused: dict[int, str] = {}
    kept = np.arange(len(amplitude))
    for _ in range(looks if can_look_again(model) else 1):
        mosaic = Mosaic(weight)
        for begin in range(0, len(kept), batch):
            part = kept[begin : begin + batch]
            patches = _predict(model, amplitude[part], positions_px[part], before, weight)
            refused |= mosaic.add(part.tolist(), patches, positions_px[part])
            on_progress(len(part))
        kept = np.setdiff1d(kept, list(refused))
        if not len(kept):
            reasons = ", ".join(sorted(set(refused.values()))) or "there is none"
            raise GeometryError(f"no frame of {len(amplitude)} can be stitched ({reasons}); check probe and patterns")
        rfactors.append(rfactor(probe, mosaic, amplitude[kept], positions_px[kept]))
        before = mosaic
    return Reconstruction(mosaic, rfactors, refused)


def can_look_again(model: Model) -> bool:
    """Whether a model can start from the stitched neighbours."""
    return isinstance(model, LiftNet | Lift)


def _check_area(positions_px: NDArray[np.float64], size_px: int) -> None:
    known = positions_px[np.isfinite(positions_px).all(axis=1)]
    height, width = np.ptp(known, axis=0) + size_px if len(known) else (0, 0)
    if height * width > MAX_AREA_PX:
        raise GeometryError(
            f"the positions span {height:.4g} x {width:.4g} px, more than {MAX_AREA_PX >> 20} megapixels; "
            "check the positions' unit and the object pixel"
        )


def _predict(
    model: Model, amplitude: Tensor, positions_px: NDArray[np.float64], before: Mosaic | None, weight: Tensor
) -> Tensor:
    group = single_group(amplitude[:, None])
    if before is None:
        return model.predict(group)[:, 0]
    cuts = [before.surroundings(position, weight) for position in positions_px]
    starts, supports = (torch.stack(part) for part in zip(*cuts, strict=True))
    if isinstance(model, LiftNet):
        return model.predict(group, starts[:, None], supports[:, None])[:, 0]
    if not isinstance(model, Lift):
        raise TypeError(f"model {model.name} has no second look")
    frames = torch.fft.ifftshift(amplitude, dim=(-2, -1))[None]
    return look(None, Optics(model.probe[None]), frames, starts[None], projections=model.projections)[0]


def rfactor(
    probe: Tensor,
    picture: Mosaic | Refiner,
    amplitude: Tensor | Sequence[Tensor],
    positions_px: NDArray[np.float64] | Sequence[tuple[float, float]],
) -> float:
    """Return the R-factor of a stitched or refined object over all frames."""
    misfit = total = 0.0
    for begin in range(0, len(amplitude), RFACTOR_BATCH):
        part = slice(begin, begin + RFACTOR_BATCH)
        patches = torch.stack([picture.cut(position) for position in positions_px[part]])
        above, below = rfactor_parts(probe, patches, torch.stack(tuple(amplitude[part])))
        misfit, total = misfit + above, total + below
    return misfit / total if total > 0 else float("nan")
