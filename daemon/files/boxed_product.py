"""A product cut to a fixed part of the object's frame: products of different scans then compare pixel by pixel."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from daemon.files.product import Product
from ptycholive_client.pictures import box_in_pixels, regrow

Value = TypeVar("Value", bound=np.generic)
OriginPx = tuple[float, float]


def boxed_product(product: Product, box_um: tuple[float, float, float, float]) -> Product:
    """Return a product whose pictures have just the box; positions, probe and results of the scan stay.

    Parameters
    ----------
    box_um
        (top, left, bottom, right), micrometres, rounded to whole pixels.

    Raises
    ------
    ValueError
        If the box has no area or is too large, or the pixel size is not known.
    """
    corner, shape = box_in_pixels(box_um, product.known_pixel_size_m)
    picture, origin = _cut(product.object, product.object_origin_px, corner, shape)
    live = product.live
    if live is not None:
        refined = live.refined_weight
        network, weight = live.network, live.network_weight
        at = live.network_origin_px
        live = replace(
            live,
            refined_weight=None if refined is None else _cut(refined, product.object_origin_px, corner, shape)[0],
            network=None if network is None else _cut(network, at, corner, shape)[0],
            network_weight=None if weight is None else _cut(weight, at, corner, shape)[0],
            network_origin_px=at if network is None else _corner(at, corner),
        )
    return replace(product, object=picture, object_origin_px=origin, live=live)


def _corner(origin: OriginPx, corner: tuple[int, int]) -> OriginPx:
    """Return the corner on the pixels of a picture, whose origin need not be whole."""
    y, x = (old + round(new - old) for old, new in zip(origin, corner, strict=True))
    return y, x


def _cut(
    pixels: NDArray[Value], origin: OriginPx, corner: tuple[int, int], shape: tuple[int, int]
) -> tuple[NDArray[Value], OriginPx]:
    new = _corner(origin, corner)
    down, right = round(new[0] - origin[0]), round(new[1] - origin[1])
    return regrow(pixels, (0, 0), shape, (down, right)).astype(pixels.dtype, copy=False), new
