"""Pictures as PNG: phase, amplitude, coverage, and a diffraction pattern. :mod:`ptycholive_client.drawing` has the colours."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from daemon.publish.snapshot import LayerCanvas
from ptycholive_client.drawing import (
    View,
    coloured,
    cyclic_map,
    grey_map,
    layer_colours,
    oklch_to_srgb,
    phase_span,
    sequential_map,
)
from ptycholive_client.pictures import without_global_phase

__all__ = [
    "View",
    "cyclic_map",
    "draw_layer",
    "draw_pattern",
    "grey_map",
    "layer_colours",
    "oklch_to_srgb",
    "phase_span",
    "sequential_map",
    "without_global_phase",
]


def draw_layer(canvas: LayerCanvas, view: View, span: float | None = None) -> tuple[bytes, float | None]:
    """Return a PNG of a layer, transparent where nothing is covered, and the half-range of the phase, None for other views."""
    colours, half = layer_colours(canvas, view, span)
    return _png(colours), half


def draw_pattern(amplitude: NDArray[np.floating]) -> bytes:
    """PNG of a diffraction pattern given as (h, w) sqrt(counts), on a logarithmic scale."""
    counts = np.square(np.nan_to_num(np.asarray(amplitude, dtype=np.float32)))
    log_counts = np.log1p(counts)
    return _png(coloured(log_counts, 0.0, float(log_counts.max(initial=0)), sequential_map()))


def _png(colours: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(colours).save(file, format="PNG", compress_level=3)
    return file.getvalue()
