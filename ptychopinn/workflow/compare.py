"""Comparison of a picture with a truth or with another picture."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptychopinn.diagnosis.comparison import Comparison, PlacedPicture, compare_pictures, known_pixels, well_covered
from ptychopinn.errors import GeometryError
from ptychopinn.workflow.reassembly import Picture

Compared = Picture | ArrayLike | NDArray[Any]


def compare(picture: Compared, truth: Compared, *, pixel_size_m: float | None = None) -> Comparison:
    """Return how far a picture agrees with a truth, or with another picture.

    Scale, phase, a phase ramp and a common shift are removed first, since no pattern shows them.

    Parameters
    ----------
    picture, truth
        A :class:`Picture`, of which the well covered part is used, or an array ``(H, W)`` complex whose pixel (0, 0) lies at
        (0, 0) of the object's frame and which is known where it is not 0.
    pixel_size_m
        Side of an object pixel, m, for the resolution in nm.

    Raises
    ------
    GeometryError
        If an array is not ``(H, W)`` complex, or the two have no square of 16 x 16 pixels in common.
    """
    return compare_pictures(_placed(picture, "the picture"), _placed(truth, "the truth"), pixel_size_m)


def _placed(given: Compared, what: str) -> PlacedPicture:
    if isinstance(given, Picture):
        placed = PlacedPicture(given.object, well_covered(given.weight), given.origin_px)
        return replace(placed, known=placed.known & known_pixels(given.object, given.weight))
    field = np.asarray(given)
    if field.ndim != 2 or not np.iscomplexobj(field):
        raise GeometryError(f"{what} is {field.dtype} of shape {field.shape}; give a complex array (H, W) or a Picture")
    return PlacedPicture(field, known_pixels(field))
