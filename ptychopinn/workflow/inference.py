"""Batch inference: patches of given patterns, and whole scans with all positions known."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from ptychopinn.device import frames_at_once
from ptychopinn.errors import GeometryError
from ptychopinn.model import Model
from ptychopinn.mosaic.mosaic import Mosaic
from ptychopinn.physics.diffraction import rfactor_parts
from ptychopinn.physics.scan_check import check_extent, check_light
from ptychopinn.refine.neighbour_passes import NeighbourPasses, PlacedFrame
from ptychopinn.refine.refined_layer import Refiner
from ptychopinn.tensor_dict import TensorDict

BATCHES = (4, 8, 16, 32, 64)
"""Batch sizes that are measured."""
MEASURE_S = 0.5
"""Time after which the measurement ends, s."""
GAIN = 0.97
"""A larger batch must be faster by 3 %, more than the scatter of the measurement, since it takes more memory."""
TINY_ENERGY = 1e-12
"""Lowest mean counts of a frame that are divided by; avoids 0 / 0 in dark frames."""


def single_group(images: Tensor) -> TensorDict:
    """Return the DiffractionGroup of frames ``(B, C, N, N)`` (-1 = no data), with the keys that models use."""
    energy = images.clamp_min(0).square().sum((-2, -1)).mean().clamp_min(TINY_ENERGY)
    rms = (images.shape[-1] / energy.sqrt()).expand(len(images), 1, 1, 1)
    return TensorDict({"images": images, "rms_scaling_constant": rms}, batch_size=[len(images)])


def choose_batch(model: Model, size_px: int, device: torch.device) -> int:
    """Return the batch size with the shortest time per frame on this device; the measurement takes about half a second."""
    best, chosen = float("inf"), BATCHES[0]
    end = time.perf_counter() + MEASURE_S
    for count in BATCHES:
        group = single_group(torch.ones(count, 1, size_px, size_px, device=device))
        seconds = [_seconds(model, group) for _ in range(2)][-1] / count
        if seconds < GAIN * best:
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
    """A stitched scan, its R-factor after each look, and the reasons of refused frames by their number in the scan."""

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
    """Predict and stitch a whole scan; a network for groups gets each frame with its nearest neighbours.

    Parameters
    ----------
    probe : (modes, N, N) complex64, photon units
    amplitude : (n, N, N) float32, sqrt(counts), -1 = no data, zero frequency in the middle
    positions_px : (n, 2) float64, [y, x]
    looks
        Number of looks; further ones start from the stitched neighbours after passes over all frames
        (:mod:`ptychopinn.refine.neighbour_passes`). Models that cannot look again take one.
    weight : (N, N) float32, weight of the pixels of a patch; None: the intensity of the probe
    on_progress : called after each batch with its number of frames

    Raises
    ------
    GeometryError
        If the patterns hold no photon, the positions span too large an area, or no frame can be stitched.
    """
    check_extent(positions_px, probe.shape[-1])
    check_light(amplitude)
    weight = probe.abs().square().sum(0) if weight is None else weight
    scan = _KnownScan(model, amplitude, positions_px, weight / weight.max())
    start: NeighbourPasses | Mosaic | None = None
    found = Reconstruction(Mosaic(weight), [], {})
    kept = np.arange(len(amplitude))
    for look in range(looks if model.can_look_again else 1):
        parts = [kept[begin : begin + batch] for begin in range(0, len(kept), batch)]
        if look:
            start = _agreed(probe, found.mosaic, scan.frames(kept))
        found = scan.stitch(parts, found, start, on_progress=on_progress)
        kept = _still_kept(kept, found.refused, len(amplitude))
        found.rfactors.append(rfactor(probe, found.mosaic, amplitude[kept], positions_px[kept]))
    return found


def _agreed(probe: Tensor, mosaic: Mosaic, frames: Sequence[PlacedFrame]) -> NeighbourPasses | Mosaic:
    """Return the start of the next look: the mosaic after passes over all frames, or as it is where there can be none."""
    passes = NeighbourPasses.over(probe, mosaic, frames, holds_others=False)
    if passes is None:
        return mosaic
    passes.run()
    return passes


class _KnownScan:
    """A scan with all its positions known, a model, and the weight ``(N, N)`` of the pixels of a patch."""

    def __init__(self, model: Model, amplitude: Tensor, positions_px: NDArray[np.float64], weight: Tensor) -> None:
        self._model, self._amplitude, self._positions_px, self._weight = model, amplitude, positions_px, weight
        self._groups = companions(positions_px, positions_px, model.members)

    def frames(self, some: NDArray[np.int64]) -> list[PlacedFrame]:
        """Return frames with their positions."""
        places = self._positions_px[some].tolist()
        return [(self._amplitude[i], (y, x)) for i, (y, x) in zip(some.tolist(), places, strict=True)]

    def stitch(
        self,
        parts: Sequence[NDArray[np.int64]],
        before: Reconstruction,
        start: NeighbourPasses | Mosaic | None,
        *,
        on_progress: Callable[[int], object],
    ) -> Reconstruction:
        """Return the reconstruction after one more look at frames, given in batches; ``start`` is None for the first."""
        mosaic, refused = Mosaic(self._weight), dict(before.refused)
        for part in parts:
            places = self._positions_px[part]
            patches = _predict(self._model, self._amplitude[self._groups[part]], places, start, self._weight)
            refused |= mosaic.add(part.tolist(), patches, places)
            on_progress(len(part))
        return Reconstruction(mosaic, before.rfactors, refused)


def _still_kept(kept: NDArray[np.int64], refused: Mapping[int, str], frames: int) -> NDArray[np.int64]:
    """Return the frames that were not refused; at least one must be left."""
    left = np.setdiff1d(kept, list(refused))
    if not len(left):
        reasons = ", ".join(sorted(set(refused.values()))) or "there is none"
        raise GeometryError(f"none of the {frames} frames can be stitched ({reasons}); check probe and patterns")
    return left


def companions(positions_px: NDArray[np.float64], around_px: NDArray[np.float64], members: int) -> NDArray[np.int64]:
    """Return the indices ``(n, members)`` of each of the last ``len(around_px)`` positions and its nearest neighbours.

    If there are too few, or a position is not finite, the frame itself takes the free places.
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
    is_own[~is_own.any(axis=1), -1] = (
        True  # another frame at the same place was found instead: it replaces the farthest
    )
    order = np.argsort(~is_own, axis=1, kind="stable")
    found[asked] = np.take_along_axis(others, order, axis=1)
    found[:, :1] = own
    return found


def _predict(
    model: Model,
    amplitude: Tensor,
    positions_px: NDArray[np.float64],
    before: NeighbourPasses | Mosaic | None,
    weight: Tensor,
) -> Tensor:
    group = single_group(amplitude)
    if before is None:
        return model.predict(group)[:, 0]
    starts, supports = before.surroundings(positions_px, weight)
    return model.predict(group, starts[:, None], supports[:, None])[:, 0]


def rfactor(
    probe: Tensor,
    picture: Mosaic | Refiner,
    amplitude: Tensor | Sequence[Tensor],
    positions_px: NDArray[np.float64] | Sequence[tuple[float, float]],
) -> float:
    """Return the R-factor of a stitched or refined object over all frames; a refined object has its own probe."""
    misfit, total = rfactor_sums(probe, picture, amplitude, positions_px)
    return misfit / total if total > 0 else float("nan")


def rfactor_sums(
    probe: Tensor,
    picture: Mosaic | Refiner,
    amplitude: Tensor | Sequence[Tensor],
    positions_px: NDArray[np.float64] | Sequence[tuple[float, float]],
    indexes: Sequence[int] = (),
) -> tuple[float, float]:
    """Return numerator and denominator of :func:`rfactor`; those of parts of the frames can be added.

    ``indexes`` are the frames' numbers, for a refined layer whose probe differs from frame to frame.
    """
    misfit = total = 0.0
    at_once = frames_at_once(probe[0])
    for begin in range(0, len(amplitude), at_once):
        part = slice(begin, begin + at_once)
        places = positions_px[part]
        patches = torch.stack([picture.cut(position) for position in places])
        probes = picture.probes_at(places, indexes[part]) if isinstance(picture, Refiner) else probe
        above, below = rfactor_parts(probes, patches, torch.stack(tuple(amplitude[part])))
        misfit, total = misfit + above, total + below
    return misfit, total
