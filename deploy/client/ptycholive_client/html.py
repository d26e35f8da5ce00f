"""A picture as HTML, for notebooks: phase and amplitude with a caption."""

from __future__ import annotations

import base64
import math
from html import escape

import numpy as np
from numpy.typing import NDArray

from ptycholive_client.drawing import View, layer_colours, png
from ptycholive_client.pictures import Picture

MOST_SIDE_PX = 480
"""Longer pictures are shown with every n-th pixel: a notebook keeps each in its file."""


def caption(picture: Picture) -> str:
    """Return scan, layer, frames, R and size in words."""
    parts = [picture.scan_id, f"{picture.layer} layer", f"{picture.frames_stitched} frames"]
    if picture.rfactor is not None and math.isfinite(picture.rfactor):
        parts.append(f"R {picture.rfactor:.3f}")
    extent = picture.cropped().extent_um
    if extent is not None:
        left, right, bottom, top = extent
        parts.append(f"{bottom - top:.3g} x {right - left:.3g} µm (height x width)")
    return " · ".join(parts)


def view_png(picture: Picture, view: View = "phase") -> bytes:
    """Return the covered part as PNG, at most :data:`MOST_SIDE_PX` wide and high."""
    colours, _ = layer_colours(picture.cropped(), view)
    return png(_reduced(colours))


def picture_html(picture: Picture) -> str:
    """Return phase and amplitude beside each other, with the caption."""
    views: tuple[View, ...] = ("phase", "amplitude")
    words = escape(caption(picture))
    if not (picture.weight > 0).any():
        return f"<p>{words}: nothing is covered yet</p>"
    shown = "".join(_figure(view, view_png(picture, view)) for view in views)
    return f'<div style="display:flex;gap:1em;flex-wrap:wrap">{shown}</div><p>{words}</p>'


def _figure(view: View, content: bytes) -> str:
    source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    style = "width:20em;max-width:100%;image-rendering:pixelated"
    return f'<figure style="margin:0"><img alt="{view}" src="{source}" style="{style}"><figcaption>{view}</figcaption></figure>'


def _reduced(colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    step = max(1, math.ceil(max(colours.shape[:2]) / MOST_SIDE_PX))
    return colours[::step, ::step]
