"""Batch inference: patches of given patterns, and whole scans with all positions known."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from tensordict import TensorDict
from torch import Tensor

from ptychopinn.device import frames_at_once
from ptychopinn.errors import GeometryError
from ptychopinn.model import Model
from ptychopinn.mosaic.mosaic import Mosaic
from ptychopinn.physics.diffraction import rfactor_parts
from ptychopinn.physics.scan_check import check_extent, check_light
from ptychopinn.refine.refined_layer import Refiner

BATCHES = (4, 8, 16, 32, 64)
MEASURE_S = 0.5


def single_group(images: Tensor) -> TensorDict:
    """Return the DiffractionGroup, as far as models need it, of frames ``(B, C, N, N)`` (-1 = no data)."""
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
    weight: Tensor | None = None,
    on_progress: Callable[[int], object] = lambda frames: None,
) -> Reconstruction:
    """Predict and stitch a whole scan; a network for groups sees each frame with its nearest neighbours.

    Parameters
    ----------
    probe : (modes, N, N) complex64
    amplitude : (n, N, N) float32, -1 = no data, zero frequency in the middle
    positions_px : (n, 2) float64
    looks
        Further looks start from the stitched neighbours; the lift has them, with a network or alone.
    weight : (N, N) float32, optional
        Of a patch's pixels; None: the probe's intensity.
    on_progress
        Called with the number of frames of each batch done.

    Raises
    ------
    GeometryError
        If the patterns hold no photon, or the positions span an area that no scan has.
    """
    check_extent(positions_px, probe.shape[-1])
    check_light(amplitude)
    weight = probe.abs().square().sum(0) if weight is None else weight
    weight = weight / weight.max()
    groups = companions(positions_px, positions_px, model.members)
    rfactors: list[float] = []
    before: Mosaic | None = None
    refused: dict[int, str] = {}
    kept = np.arange(len(amplitude))
    for _ in range(looks if model.can_look_again else 1):
        mosaic = Mosaic(weight)
        for begin in range(0, len(kept), batch):
            part = kept[begin : begin + batch]
            patches = _predict(model, amplitude[groups[part]], positions_px[part], before, weight)
            refused |= mosaic.add(part.tolist(), patches, positions_px[part])
            on_progress(len(part))
        kept = np.setdiff1d(kept, list(refused))
        if not len(kept):
            reasons = ", ".join(sorted(set(refused.values()))) or "there is none"
            raise GeometryError(f"no frame of {len(amplitude)} can be stitched ({reasons}); check probe and patterns")
        rfactors.append(rfactor(probe, mosaic, amplitude[kept], positions_px[kept]))
        before = mosaic
    return Reconstruction(mosaic, rfactors, refused)


def companions(positions_px: NDArray[np.float64], around_px: NDArray[np.float64], members: int) -> NDArray[np.int64]:
    """Return, for each of the last ``len(around_px)`` of some positions, itself and its nearest others ``(n, members)``.

    Where there are fewer, or a position is not finite, a frame stands for the missing ones.
    """
    count = len(positions_px)
    own = np.arange(count - len(around_px), count)[:, None]
    found = np.repeat(own, members, axis=1)
    finite = np.isfinite(positions_px).all(axis=1)
    asked = np.isfinite(around_px).all(axis=1)
    if members == 1 or finite.sum() < members or not asked.any():
        return found
    names = np.flatnonzero(finite)
    _, nearest = cKDTree(positions_px[names]).query(around_px[asked], k=members)
    others = names[nearest]
    is_own = others == own[asked]
    is_own[~is_own.any(axis=1), -1] = True  # its twin stood nearer: the farthest makes room
    order = np.argsort(~is_own, axis=1, kind="stable")
    found[asked] = np.take_along_axis(others, order, axis=1)
    found[:, :1] = own
    return found


def _predict(
    model: Model, amplitude: Tensor, positions_px: NDArray[np.float64], before: Mosaic | None, weight: Tensor
) -> Tensor:
    group = single_group(amplitude)
    if before is None:
        return model.predict(group)[:, 0]
    cuts = [before.surroundings(position, weight) for position in positions_px]
    starts, supports = (torch.stack(part) for part in zip(*cuts, strict=True))
    return model.predict(group, starts[:, None], supports[:, None])[:, 0]


def rfactor(
    probe: Tensor,
    picture: Mosaic | Refiner,
    amplitude: Tensor | Sequence[Tensor],
    positions_px: NDArray[np.float64] | Sequence[tuple[float, float]],
) -> float:
    """Return the R-factor of a stitched or refined object over all frames; a refined one has its own probe."""
    misfit, total = rfactor_sums(probe, picture, amplitude, positions_px)
    return misfit / total if total > 0 else float("nan")


def rfactor_sums(
    probe: Tensor,
    picture: Mosaic | Refiner,
    amplitude: Tensor | Sequence[Tensor],
    positions_px: NDArray[np.float64] | Sequence[tuple[float, float]],
) -> tuple[float, float]:
    """Return numerator and denominator of :func:`rfactor`, which add up over parts of the frames."""
    misfit = total = 0.0
    at_once = frames_at_once(probe[0])
    for begin in range(0, len(amplitude), at_once):
        part = slice(begin, begin + at_once)
        places = positions_px[part]
        patches = torch.stack([picture.cut(position) for position in places])
        probes = picture.probes_at(places) if isinstance(picture, Refiner) else probe
        above, below = rfactor_parts(probes, patches, torch.stack(tuple(amplitude[part])))
        misfit, total = misfit + above, total + below
    return misfit, total
