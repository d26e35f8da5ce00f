"""A scan's result: both layers on the host, for the product."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daemon.engine.models import ModelIdentity
from daemon.engine.resolution import Resolution
from ptychopinn.device import to_host
from ptychopinn.diagnosis.plausibility import Finding
from ptychopinn.mosaic.canvas import Box
from ptychopinn.mosaic.memory_bound import mapped_zeros
from ptychopinn.mosaic.mosaic import Mosaic
from ptychopinn.refine.certainty import Certainty
from ptychopinn.refine.refined_layer import Refiner

LARGE_PX = 1 << 27
"""Pixels of a layer above which a result lies in a file: 1.5 GiB, of 11,600 x 11,600 pixels."""
BAND_PX = 1 << 23
"""Pixels of a band that is read at once: 0.3 GiB of sums and pictures."""


@dataclass(frozen=True, slots=True, eq=False)
class ScanResult:
    """Both layers for the product: host arrays, origins in object pixels, positions of the stitched frames."""

    scan_id: str
    network: NDArray[np.complex64]
    network_weight: NDArray[np.float32]
    network_origin_px: tuple[int, int]
    refined: NDArray[np.complex64] | None
    refined_weight: NDArray[np.float32] | None
    refined_origin_px: tuple[int, int] | None
    probe: NDArray[np.complex64]
    """The probe of the layer that the product holds: as it was refined, else the model's."""
    model: ModelIdentity
    """The newest model that has predicted a frame of it."""
    indexes: NDArray[np.int64]
    positions_px: NDArray[np.float64]
    rfactors: dict[str, float]
    pixel_ratio: float = 1.0
    """The object's pixel over the one that the optics give."""
    offsets_px: NDArray[np.float64] | None = None
    """Used minus measured positions ``(n, 2)``: found by the search, and corrected by the refined layer if that is on."""
    position_error_px: float | None = None
    """Mean distance between measured and found positions; None if none were found."""
    certainty: Certainty | None = None
    """How far the refined layer can be believed."""
    resolution: Resolution | None = None
    """How sharp the refined layer is."""
    doubts: tuple[Finding, ...] = ()
    """What is doubtful about a scan that is done."""
    left_out: tuple[int, ...] = ()
    """Frames that the refined layer does not use, since their amplitudes cannot be true."""


def product_rfactor(rfactors: Mapping[str, float]) -> float | None:
    """Return the R-factor of the layer that a product's object is; None before there is one."""
    return rfactors.get("refined", rfactors.get("network"))


def host_layer(source: Mosaic | Refiner) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
    """Return pixels and weights of a layer on the host; pixels that are not finite become 0.

    Those of a large picture lie in a file, mapped, and are made band by band.
    """
    height, width = source.shape
    if height * width <= LARGE_PX:
        return _host_part(source, None)
    pixels = mapped_zeros((height, width), np.complex64, source.folder)
    weights = mapped_zeros((height, width), np.float32, source.folder)
    rows = max(1, BAND_PX // width)
    for begin in range(0, height, rows):
        part = slice(begin, begin + rows)
        pixels[part], weights[part] = _host_part(source, Box(begin, 0, min(rows, height - begin), width))
    return pixels, weights


def _host_part(source: Mosaic | Refiner, box: Box | None) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
    value, weight = source.read(box)
    pixels, weights = np.asarray(to_host(value), dtype=np.complex64), np.asarray(to_host(weight), dtype=np.float32)
    return finite(pixels), weights


def finite(pixels: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Return pixels, 0 where they are not finite."""
    is_finite = np.isfinite(pixels.sum())  # a sum tells quickly that none is NaN
    return pixels if is_finite else np.where(np.isfinite(pixels), pixels, np.complex64(0))
