"""Figures of a picture: cropped to the covered part, with scale bar, colour bar and caption; values and metadata for programs."""

from __future__ import annotations

import base64
import io
import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypedDict
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, TiffImagePlugin

from daemon.publish.colour_maps import MapName, colour_table
from daemon.publish.png import View, phase_span, without_global_phase
from daemon.publish.snapshot import LayerCanvas
from ptycholive_client.pictures import clear_weight

BAR_SHARE = 0.25
"""The scale bar is at most this share of the picture's width."""
LEAST_SIDE_PX = 480
"""Smaller pictures are enlarged by whole steps to this side, so that the text beside them is in proportion."""
SAMPLES = 200_000
"""Pixels that percentiles are taken from."""
UNITS = {"phase": "phase / rad", "amplitude": "amplitude", "coverage": "coverage / weighted visits"}


@dataclass(frozen=True, slots=True)
class FigureOptions:
    """``span`` is the half-range of the phase, radians; ``low`` and ``high`` replace the range; None fits it to the picture.

    ``side_px`` reduces a PNG without bars to this side, if it is larger.
    """

    view: View = "phase"
    span: float | None = None
    low: float | None = None
    high: float | None = None
    colours: MapName | None = None
    is_inverted: bool = False
    is_cropped: bool = True
    has_bars: bool = True
    side_px: int | None = None


class FigureMetadata(TypedDict):
    """The metadata in a TIFF or NPZ file, as JSON."""

    scan_id: str
    layer: str
    quantity: str
    frames_stitched: int
    rfactor: float | None
    pixel_size_m: float | None
    corner_px: list[int]
    date: str
    range: list[float]


@dataclass(frozen=True, slots=True, eq=False)
class Figure:
    """Values ``(h, w)`` float32 of a view, NaN where nothing is covered; faint pixels fade by ``opacity`` (h, w), 0 to 1."""

    values: NDArray[np.float32]
    opacity: NDArray[np.float32]
    low: float
    high: float
    table: NDArray[np.uint8]
    corner_px: tuple[int, int]
    canvas: LayerCanvas
    options: FigureOptions

    @property
    def title(self) -> str:
        """The quantity and its unit."""
        return UNITS[self.options.view]

    @property
    def caption(self) -> str:
        """Scan, layer, frames, R and date."""
        canvas = self.canvas
        parts = [f"scan {canvas.scan_id}", f"{canvas.layer} layer", f"{canvas.frames_stitched} frames"]
        if canvas.rfactor is not None and math.isfinite(canvas.rfactor):
            parts.append(f"R {canvas.rfactor:.3f}")
        return ", ".join([*parts, self.date])

    @property
    def date(self) -> str:
        """Time of the picture, UTC; of the figure where that is unknown."""
        seconds = self.canvas.time_ns / 1e9
        when = datetime.fromtimestamp(seconds, UTC) if seconds > 0 else datetime.now(UTC)
        return when.strftime("%Y-%m-%d %H:%M UTC")

    @property
    def metadata(self) -> FigureMetadata:
        """What a program needs to place and name the values."""
        canvas = self.canvas
        return {
            "scan_id": canvas.scan_id,
            "layer": canvas.layer,
            "quantity": self.title,
            "frames_stitched": canvas.frames_stitched,
            "rfactor": canvas.rfactor,
            "pixel_size_m": canvas.pixel_size_m,
            "corner_px": list(self.corner_px),
            "date": self.date,
            "range": [self.low, self.high],
        }

    def colours(self) -> NDArray[np.uint8]:
        """Return (h, w, 4) RGBA."""
        scale = 255.0 / (self.high - self.low) if self.high > self.low else 0.0
        steps = np.nan_to_num(np.clip((self.values - self.low) * scale, 0, 255)).astype(np.intp)
        alpha = np.round(255 * self.opacity).astype(np.uint8)
        colours: NDArray[np.uint8] = np.take(self.table, steps, axis=0)
        return np.concatenate([colours, alpha[..., None]], axis=-1)


def make_figure(canvas: LayerCanvas, options: FigureOptions) -> Figure:
    """Return the figure of a picture."""
    weight = canvas.weight
    seen = weight > 0
    least = clear_weight(weight)
    rows, columns = _crop(seen & (weight >= least)) if options.is_cropped else _whole(canvas)
    part = (rows, columns)
    values = _values(canvas, options.view)[part]
    inside, clear = weight[part], seen[part] & (weight[part] >= least)
    low, high = _range(values[clear], options)
    fades = least > 0 and options.view != "coverage"
    share = np.clip(np.square(inside / np.float32(least)), 0, 1) if fades else np.ones_like(inside)
    opacity: NDArray[np.float32] = np.where(seen[part], share, np.float32(0)).astype(np.float32)
    name: MapName = options.colours or _usual_map(options.view, high)
    return Figure(
        values=np.where(seen[part], values, np.nan).astype(np.float32),
        opacity=opacity,
        low=low,
        high=high,
        table=colour_table(name, is_inverted=options.is_inverted),
        corner_px=(canvas.origin_px[0] + rows.start, canvas.origin_px[1] + columns.start),
        canvas=canvas,
        options=options,
    )


def _whole(canvas: LayerCanvas) -> tuple[slice, slice]:
    return slice(0, canvas.shape[0]), slice(0, canvas.shape[1])


def _crop(clear: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the rectangle around the pixels that are not faint; all where there is none."""
    if not clear.any():
        return slice(0, clear.shape[0]), slice(0, clear.shape[1])
    ends = [np.flatnonzero(clear.any(axis)) for axis in (1, 0)]
    rows, columns = (slice(int(found[0]), int(found[-1]) + 1) for found in ends)
    return rows, columns


def _values(canvas: LayerCanvas, view: View) -> NDArray[np.float32]:
    if view == "coverage":
        return canvas.weight
    if view == "amplitude":
        return np.abs(canvas.object)
    return np.asarray(np.angle(without_global_phase(canvas.object, canvas.weight)), dtype=np.float32)


def _range(values: NDArray[np.float32], options: FigureOptions) -> tuple[float, float]:
    some = values[:: max(1, values.size // SAMPLES)]
    some = some[np.isfinite(some)]
    if options.view == "phase":
        half = phase_span(some) if options.span is None else min(math.pi, options.span)
        low, high = -half, half
    elif options.view == "amplitude" and some.size:
        low, high = (float(edge) for edge in np.percentile(some, [1, 99]))
    else:
        low, high = 0.0, float(some.max(initial=0))
    low, high = low if options.low is None else options.low, high if options.high is None else options.high
    return (low, high) if high > low else (low, low + 1.0)


def _usual_map(view: View, high: float) -> MapName:
    if view == "amplitude":
        return "grey"
    return "cyclic" if view == "phase" and high >= math.pi - 1e-6 else "sequential"


def bar_length(width_px: int, pixel_size_m: float) -> tuple[float, str]:
    """Return the length of a scale bar, m, a round number of at most a quarter of the picture, and its text."""
    most = BAR_SHARE * width_px * pixel_size_m
    power = 10.0 ** math.floor(math.log10(most))
    length = next(step for step in (5, 2, 1) if step * power <= most * 1.0001) * power
    factor, unit = next((f, u) for f, u in ((1e3, "mm"), (1e6, "µm"), (1e9, "nm")) if length * f >= 1 or u == "nm")
    return length, f"{length * factor:.3g} {unit}"


@dataclass(frozen=True, slots=True)
class _Layout:
    """Places in pixels of the figure: the picture at (pad, pad), ``zoom`` pixels a pixel, text of ``text`` px below."""

    zoom: int
    width: int
    height: int
    text: int
    pad: int

    @property
    def size(self) -> tuple[int, int]:
        return self.width + 2 * self.pad, self.height + 2 * self.pad + round(5.2 * self.text)

    @property
    def base(self) -> int:
        return self.pad + self.height + self.text // 2


def _layout(figure: Figure) -> _Layout:
    h, w = figure.values.shape
    zoom = max(1, -(-LEAST_SIDE_PX // max(h, w)))
    text = max(13, round(max(w, h) * zoom / 42))
    return _Layout(zoom, max(w * zoom, 24 * text), h * zoom, text, text)


def png_bytes(figure: Figure) -> bytes:
    """Return the figure as PNG: with bars on white, else the picture alone, transparent where nothing is covered."""
    image = Image.fromarray(figure.colours())
    if figure.options.has_bars:
        image = _with_bars(figure, image)
    elif figure.options.side_px is not None:
        image.thumbnail((figure.options.side_px, figure.options.side_px), Image.Resampling.BOX)
    return _saved(image, format="PNG", compress_level=3)


def _with_bars(figure: Figure, picture: Image.Image) -> Image.Image:
    place = _layout(figure)
    page = Image.new("RGBA", place.size, "white")
    large = picture.resize((picture.width * place.zoom, picture.height * place.zoom), Image.Resampling.NEAREST)
    page.alpha_composite(large, (place.pad, place.pad))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=place.text)
    y = place.base
    size_m = figure.canvas.pixel_size_m
    if size_m is not None and size_m > 0:
        length, words = bar_length(figure.values.shape[1], size_m)
        end = place.pad + length / size_m * place.zoom
        draw.rectangle([place.pad, y, end, y + place.text // 3], fill="black")
        draw.text((place.pad, y + place.text * 0.6), _plain(words), fill="black", font=font)
    left = place.pad + place.width // 2
    bar = Image.fromarray(figure.table[None]).resize((place.width // 2, place.text), Image.Resampling.NEAREST)
    page.paste(bar, (left, y))
    for share, anchor, words in _ticks(figure):
        draw.text(
            (left + share * bar.width, y + 1.3 * place.text), _plain(words), fill="black", font=font, anchor=anchor
        )
    draw.text((place.pad, y + 3.2 * place.text), _plain(figure.caption), fill="black", font=font)
    return page.convert("RGB")


def _plain(words: str) -> str:
    """Return text in the letters that Pillow's own font has; others would be boxes."""
    return words.replace("µ", "u").replace("−", "-").encode("ascii", "replace").decode()


def _ticks(figure: Figure) -> list[tuple[float, str, str]]:
    low, high = (f"{value:.3g}".replace("-", "−") for value in (figure.low, figure.high))
    return [(0.0, "la", low), (0.5, "ma", figure.title), (1.0, "ra", high)]


def svg_bytes(figure: Figure) -> bytes:
    """Return the figure as SVG: the picture embedded in its own pixels, bars and text as vectors."""
    place = _layout(figure)
    width, height = place.size
    h, w = figure.values.shape
    y, left = place.base, place.pad + place.width // 2
    bar = base64.b64encode(_saved(Image.fromarray(figure.table[None]), format="PNG")).decode()
    picture = base64.b64encode(_saved(Image.fromarray(figure.colours()), format="PNG")).decode()
    style = 'style="image-rendering:pixelated" preserveAspectRatio="none"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="{place.text}"><title>{escape(figure.caption)}</title>',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<image x="{place.pad}" y="{place.pad}" width="{w * place.zoom}" height="{h * place.zoom}" {style} '
        f'href="data:image/png;base64,{picture}"/>',
    ]
    size_m = figure.canvas.pixel_size_m
    if figure.options.has_bars and size_m is not None and size_m > 0:
        length, words = bar_length(w, size_m)
        parts += [
            f'<rect x="{place.pad}" y="{y}" width="{length / size_m * place.zoom:.2f}" height="{place.text // 3}"/>',
            f'<text x="{place.pad}" y="{y + 1.6 * place.text:.1f}">{words}</text>',
        ]
    if figure.options.has_bars:
        parts.append(
            f'<image x="{left}" y="{y}" width="{place.width // 2}" height="{place.text}" {style} '
            f'href="data:image/png;base64,{bar}"/>'
        )
        anchors = {"la": "start", "ma": "middle", "ra": "end"}
        for share, anchor, words in _ticks(figure):
            at = left + share * (place.width // 2)
            parts.append(
                f'<text x="{at:.1f}" y="{y + 2.2 * place.text:.1f}" text-anchor="{anchors[anchor]}">{words}</text>'
            )
        parts.append(f'<text x="{place.pad}" y="{y + 4 * place.text:.1f}">{escape(figure.caption)}</text>')
    return "\n".join([*parts, "</svg>\n"]).encode()


def tiff_bytes(figure: Figure) -> bytes:
    """Return the values as 32-bit float TIFF with the resolution, and the metadata as JSON in the description."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[270] = json.dumps(figure.metadata)  # ImageDescription
    options: dict[str, Any] = {"format": "TIFF", "tiffinfo": tags}
    if figure.canvas.pixel_size_m:
        options |= {"resolution_unit": "cm", "resolution": 0.01 / figure.canvas.pixel_size_m}
    return _saved(Image.fromarray(figure.values), **options)


def npz_bytes(figure: Figure) -> bytes:
    """Return the complex picture, its weight, the values drawn and the metadata (JSON text) as NPZ."""
    canvas, file = figure.canvas, io.BytesIO()
    rows = figure.corner_px[0] - canvas.origin_px[0]
    columns = figure.corner_px[1] - canvas.origin_px[1]
    part = slice(rows, rows + figure.values.shape[0]), slice(columns, columns + figure.values.shape[1])
    np.savez_compressed(
        file,
        object=canvas.object[part],
        weight=canvas.weight[part],
        values=figure.values,
        corner_px=np.array(figure.corner_px),
        pixel_size_m=np.array(np.nan if canvas.pixel_size_m is None else canvas.pixel_size_m),
        metadata=np.array(json.dumps(figure.metadata)),
    )
    return file.getvalue()


def _saved(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()
