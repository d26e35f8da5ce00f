"""Pictures as colours, and colours as PNG.

The colour maps are our own: lines through the OKLCH space (Ottosson 2020, "A perceptual color space for image
processing"), in which equal steps look equal. The sequential map climbs in lightness from dark blue over green to
yellow; the cyclic one walks the hue circle once. ``daemon/publish/page/colours.js`` draws with the same formulae.
"""

from __future__ import annotations

import math
import struct
import zlib
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ptycholive_client.pictures import Picture, without_global_phase

View = Literal["phase", "amplitude", "coverage"]
PHASE_SPANS = (math.pi / 8, math.pi / 4, math.pi / 2, math.pi)
_SAMPLES = 200_000
"""Pixels that percentiles are taken from."""
_PNG_LEVEL = 3
"""Effort of the compression: higher levels take several times as long for a few per cent."""


def oklch_to_srgb(
    lightness: NDArray[np.float64], chroma: NDArray[np.float64], hue_rad: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """(n, 3) uint8 sRGB of (n,) OKLCH coordinates, cut off at the gamut."""
    a, b = chroma * np.cos(hue_rad), chroma * np.sin(hue_rad)
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = np.stack(
        [
            4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
            -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
            -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
        ],
        axis=-1,
    ).clip(0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(255 * srgb).astype(np.uint8)


def sequential_map() -> NDArray[np.uint8]:
    """(256, 3) colours from dark to light."""
    t = np.linspace(0.0, 1.0, 256)
    hue_deg = 285.0 - 180.0 * t
    return oklch_to_srgb(0.17 + 0.75 * t, 0.085 - 0.1 * t * (1 - t) + 0.06 * t, np.deg2rad(hue_deg))


def cyclic_map() -> NDArray[np.uint8]:
    """Return (256, 3) colours of equal lightness, cyclic."""
    t = np.arange(256) / 256
    return oklch_to_srgb(np.full(256, 0.72), np.full(256, 0.125), 2 * np.pi * t + np.deg2rad(75))


def grey_map() -> NDArray[np.uint8]:
    """(256, 3) greys."""
    return np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)


def phase_span(phase: NDArray[np.float32]) -> float:
    """Smallest of the fixed half-ranges that holds 98 % of `phase`."""
    reach = float(np.percentile(np.abs(phase), 98)) if phase.size else 0.0
    return next((span for span in PHASE_SPANS[:-1] if reach <= span), PHASE_SPANS[-1])


def layer_colours(canvas: Picture, view: View, span: float | None = None) -> tuple[NDArray[np.uint8], float | None]:
    """Return (H, W, 4) RGBA of a layer, transparent where nothing is covered, and the half-range of the phase or None."""
    covered = canvas.weight > 0
    if view == "coverage":
        values = coloured(canvas.weight, 0.0, float(canvas.weight.max(initial=0)), sequential_map())
        return _with_alpha(values, covered), None
    if view == "amplitude":
        amplitude = np.abs(canvas.object)
        low, high = np.percentile(_sampled(amplitude[covered]), [1, 99]) if covered.any() else (0.0, 1.0)
        return _with_alpha(coloured(amplitude, float(low), float(high), grey_map()), covered), None
    phase = np.angle(without_global_phase(canvas.object, canvas.weight)).astype(np.float32, copy=False)
    half = phase_span(_sampled(phase[covered])) if span is None else min(math.pi, span)
    table = cyclic_map() if half >= math.pi else sequential_map()
    return _with_alpha(coloured(phase, -half, half, table), covered), half


def _sampled(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values[:: max(1, values.size // _SAMPLES)]


def coloured(values: NDArray[np.floating], low: float, high: float, table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the colours (..., 3) of values, the ends of the table at `low` and `high`."""
    scale = 255.0 / (high - low) if high > low else 0.0
    steps = np.nan_to_num(np.clip((values - low) * scale, 0, 255)).astype(np.intp)  # NaN takes the first colour
    colours: NDArray[np.uint8] = np.take(table, steps, axis=0)
    return colours


def _with_alpha(colours: NDArray[np.uint8], opaque: NDArray[np.bool_]) -> NDArray[np.uint8]:
    alpha = np.where(opaque, np.uint8(255), np.uint8(0))
    return np.concatenate([colours, alpha[..., None]], axis=-1)


def png(colours: NDArray[np.uint8]) -> bytes:
    """Return (H, W, 4) RGBA as a PNG."""
    height, width = colours.shape[:2]
    rows = np.ascontiguousarray(colours).reshape(height, 4 * width)
    filtered = np.empty((height, 1 + 4 * width), dtype=np.uint8)
    filtered[:, 0] = 2  # filter "up": each row as the difference to the one above
    filtered[:1, 1:] = rows[:1]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)  # 8 bits, RGBA, not interlaced
    body = zlib.compress(filtered.tobytes(), _PNG_LEVEL)
    chunks = ((b"IHDR", head), (b"IDAT", body), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
