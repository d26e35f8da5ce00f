"""The growing picture in napari: *Plugins > Ptycholive > Follow a daemon*.

Phase and amplitude are two layers in micrometres; they grow and move with the mosaic. A thread waits for the daemon, so the
window stays quick (:mod:`ptycholive_client.napari_widget`). Nothing here imports napari or Qt.
"""

from __future__ import annotations

from typing import Any, Protocol, TypedDict

import numpy as np
from numpy.typing import NDArray

from ptycholive_client.pictures import Picture


class LayerOptions(TypedDict):
    """Options of a napari image layer."""

    data: NDArray[np.float32]
    colormap: str
    scale: tuple[float, float]
    translate: tuple[float, float]


class NapariViewer(Protocol):
    """The part of ``napari.Viewer`` that is used."""

    layers: Any
    text_overlay: Any

    def add_image(self, **options: Any) -> Any:
        """Add a layer."""


def layer_options(picture: Picture) -> dict[str, LayerOptions]:
    """Return the options of the layers ``phase`` and ``amplitude``; lengths are micrometres, or pixels without a pixel size."""
    size = 1.0 if picture.pixel_size_m is None else 1e6 * picture.pixel_size_m
    scale, corner = (size, size), (size * picture.origin_px[0], size * picture.origin_px[1])
    return {
        "phase": {"data": picture.phase(), "colormap": "twilight", "scale": scale, "translate": corner},
        "amplitude": {"data": picture.amplitude(), "colormap": "gray", "scale": scale, "translate": corner},
    }


def show(viewer: NapariViewer, picture: Picture) -> None:
    """Put a picture into a napari viewer, in place of the one before."""
    for name, options in layer_options(picture).items():
        if name in viewer.layers:
            layer = viewer.layers[name]
            layer.data, layer.scale, layer.translate = options["data"], options["scale"], options["translate"]
        else:
            viewer.add_image(name=name, **options)
    viewer.text_overlay.visible = True
    viewer.text_overlay.text = f"{picture.scan_id} · {picture.layer} · {picture.frames_stitched} frames"
