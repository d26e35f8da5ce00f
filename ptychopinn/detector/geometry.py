"""Geometry: the conventions of this program.

* Arrays and pairs are ``(y, x)``; row 0 is at the top. Positions are metres outside, pixels inside:
  ``position_px = position_m / pixel_size_m``.
* **Patch pixel N/2 is at its position**: the top-left pixel of a patch is ``position_px - N/2``.
* The eight detector orientations are the symmetries of the square, applied to the WHOLE frame before the crop, so that
  the result shows the pattern along the axes of the sample. ``rot90_cw`` rotates the picture clockwise;
  ``transpose`` swaps rows and columns; ``antitranspose`` mirrors at the other diagonal.
* ``center_px`` is the pixel (row, column) of the undiffracted beam in the oriented frame; the crop puts it at N/2.
* **No data** in a pattern is the greatest value of its unsigned dtype, or NaN in a float one; in amplitudes it is -1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.detector.invalid_pixels import holds_mark
from ptychopinn.errors import GeometryError

HC_EV_M = 1.2398419843320026e-6
"""Planck's constant times the speed of light, eV m."""

ORIENTATIONS: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "identity": lambda a: a,
    "fliplr": lambda a: a[..., :, ::-1],
    "flipud": lambda a: a[..., ::-1, :],
    "rot180": lambda a: a[..., ::-1, ::-1],
    "transpose": lambda a: a.swapaxes(-1, -2),
    "antitranspose": lambda a: a[..., ::-1, ::-1].swapaxes(-1, -2),
    "rot90_cw": lambda a: a.swapaxes(-1, -2)[..., :, ::-1],
    "rot90_ccw": lambda a: a.swapaxes(-1, -2)[..., ::-1, :],
}
"""Views, not copies, of ``(..., rows, columns)`` arrays."""


def orient(frame: NDArray[Any], orientation: str) -> NDArray[Any]:
    """Return a view of ``frame`` ``(..., rows, columns)`` in one of :data:`ORIENTATIONS`."""
    try:
        return ORIENTATIONS[orientation](frame)
    except KeyError:
        raise GeometryError(f'orientation "{orientation}" is unknown; use one of {", ".join(ORIENTATIONS)}') from None


def box_corner(center_px: Sequence[int], size_px: int, binning: int = 1) -> tuple[int, int]:
    """Return the first (row, column) of a square of ``size_px * binning`` pixels with ``center_px`` in its binned pixel N/2."""
    half = size_px // 2 * binning + (binning - 1) // 2
    return int(center_px[0]) - half, int(center_px[1]) - half


def crop(frame: NDArray[Any], center_px: Sequence[int], size_px: int, binning: int = 1) -> NDArray[Any]:
    """Return a square view of ``frame``, ``size_px * binning`` wide, around ``center_px`` (see :func:`box_corner`).

    Raises
    ------
    GeometryError
        If the crop is not inside the frame.
    """
    top, left = box_corner(center_px, size_px, binning)
    rows, columns = frame.shape[-2:]
    side = size_px * binning
    if top < 0 or left < 0 or top + side > rows or left + side > columns:
        raise GeometryError(
            f"a crop of {side} px around ({center_px[0]}, {center_px[1]}) exceeds the frame of {rows} x {columns} px; "
            "set [detector] center_px and size_px to fit"
        )
    return frame[..., top : top + side, left : left + side]


def object_pixel_size_m(
    photon_energy_eV: float, distance_m: float, detector_pixel_size_m: float, size_px: int
) -> float:
    """Return the far-field object pixel, metres: wavelength x distance / (N x detector pixel)."""
    return HC_EV_M / photon_energy_eV * distance_m / (size_px * detector_pixel_size_m)


def metres_to_pixels(positions_m: NDArray[np.float64], pixel_size_m: float) -> NDArray[np.float64]:
    """Return positions ``(n, 2)`` in object pixels."""
    return np.asarray(positions_m, dtype=np.float64) / pixel_size_m


def pixels_to_metres(positions_px: NDArray[np.float64], pixel_size_m: float) -> NDArray[np.float64]:
    """Return positions ``(n, 2)`` in metres."""
    return np.asarray(positions_px, dtype=np.float64) * pixel_size_m


def to_amplitude(
    counts: NDArray[Any], mask: NDArray[np.bool_] | None = None, saturation: float | None = None
) -> NDArray[np.float32]:
    """Return sqrt(counts) ``(..., N, N)`` float32; **-1 = no data**.

    No data have pixels of ``mask`` (True = bad), counts above ``saturation``, and the pixels of
    :func:`ptychopinn.detector.invalid_pixels.holds_mark`.
    """
    values = np.array(counts, dtype=np.float32, order="C")
    bad = holds_mark(counts)
    if saturation is not None:
        bad |= values > saturation
    if mask is not None:
        bad |= mask
    has_bad = bool(bad.any())
    if has_bad:
        values[bad] = 1.0
    np.sqrt(values, out=values)
    if has_bad:
        values[bad] = -1.0
    return values
