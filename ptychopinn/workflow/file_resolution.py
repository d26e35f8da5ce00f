"""Resolution of the picture of a whole scan: Fourier ring correlation of two halves of its frames.

As while a scan runs (:mod:`ptychopinn.workflow.half_pictures`): every other one of the frames nearest to the middle, at most 200,
belongs to each half, and each half is reconstructed alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.diagnosis.resolution import RingCorrelation
from ptychopinn.errors import GeometryError
from ptychopinn.mosaic.mosaic import Mosaic
from ptychopinn.refine.refined_layer import Refiner
from ptychopinn.workflow.half_pictures import (
    FEWEST_FRAMES,
    HalfPicture,
    correlation_of,
    most_half_frames,
    nearest_to_middle,
)

PASSES = 10
"""Passes over a half at most: later ones change little (measured star: 2.01 px after 5, 1.92 after 10, 1.92 after 30)."""

Stitch = Callable[[Tensor, NDArray[np.float64]], Mosaic]


def half_correlation(
    amplitude: Tensor, positions_px: NDArray[np.float64], probe: Tensor, stitch: Stitch, passes: int
) -> RingCorrelation | None:
    """Return the ring correlation of two halves; None where it has no meaning.

    Parameters
    ----------
    amplitude : (n, N, N) float32
        sqrt(counts), zero frequency in the middle, -1 = no data.
    positions_px : (n, 2) float64
    probe : (modes, N, N) complex64
        The halves begin with it; with ``passes`` it follows the frames of each.
    stitch
        Gives the first picture of some frames, from their amplitudes and positions.
    passes
        Passes of refinement over each half; 0: the first picture is taken.
    """
    known = np.flatnonzero(np.isfinite(positions_px).all(axis=1))
    if len(known) < FEWEST_FRAMES:
        return None
    nearest = np.sort(known[nearest_to_middle(positions_px[known], 2 * most_half_frames(probe.shape[-1]))])
    pictures: list[HalfPicture] = []
    for rows in (nearest[::2], nearest[1::2]):
        frames, places = amplitude[rows.tolist()], positions_px[rows]
        try:
            mosaic = stitch(frames, places)
        except GeometryError:  # no photon, or none can be stitched
            return None
        refiner = _refined(frames, places, probe, mosaic, passes) if passes else None
        if refiner is not None and refiner.has_given_up:
            return None
        pictures.append(refiner or mosaic)
    return correlation_of(*pictures)


def _refined(
    amplitude: Tensor, positions_px: NDArray[np.float64], probe: Tensor, mosaic: Mosaic, passes: int
) -> Refiner:
    refiner = Refiner(probe, mosaic.picture, buffer_bytes=amplitude.nbytes, update_probe=True)
    for index, (y, x) in enumerate(positions_px.tolist()):
        refiner.add(index, amplitude[index], (y, x))
    while refiner.updates < min(passes, PASSES) * len(amplitude) and refiner.step():
        pass
    return refiner
