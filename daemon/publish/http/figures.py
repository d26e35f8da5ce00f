"""Routes that draw a picture: PNG as before, figures with bars, and values for programs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from daemon.publish.colour_maps import MapName
from daemon.publish.figure import Figure, FigureOptions, make_figure, npz_bytes, png_bytes, svg_bytes, tiff_bytes
from daemon.publish.http.answers import BUSY, NOT_KNOWN, Binary, Png
from daemon.publish.http.box import BOX_MAX_LENGTH, BOX_PATTERN, BOX_WORDS, box_um
from daemon.publish.png import View, draw_layer
from daemon.publish.snapshot import LayerCanvas

MOST_VALUE = 1e30
"""Largest end of a range."""
CanvasOf = Callable[[str, Literal["refined", "network"]], LayerCanvas]


class Svg(Response):
    """A figure with text as vectors."""

    media_type = "image/svg+xml"


class Tiff(Response):
    """Values of a picture as an image."""

    media_type = "image/tiff"


class ViewChoice(BaseModel):
    """How a picture is drawn."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    view: View = Field("phase", description="Quantity to draw.")
    layer: Literal["refined", "network"] = Field(
        "refined", description="If it has no picture, the other layer is sent; the header X-Layer names it."
    )
    span: float | None = Field(
        None, ge=1e-6, le=math.pi, description="Half-range of the phase in radians. Default: fits the picture."
    )
    low: float | None = Field(
        None, ge=-MOST_VALUE, le=MOST_VALUE, description="Lower end of the colours. Default: fits the picture."
    )
    high: float | None = Field(
        None, ge=-MOST_VALUE, le=MOST_VALUE, description="Upper end of the colours. Default: fits the picture."
    )
    colours: MapName | None = Field(None, description="Colour table. Default: that of the view.")
    invert: bool = Field(False, description="Reverse the colour table.")
    box: str | None = Field(
        None,
        max_length=BOX_MAX_LENGTH,
        json_schema_extra={"pattern": BOX_PATTERN},
        description=f"{BOX_WORDS} Replaces crop.",
    )


class PngChoice(ViewChoice):
    """The same for PNG, which is a plain picture unless a figure is asked for."""

    crop: bool = Field(False, description="Crop to the covered part; the noisy rim fades.")
    bar: bool = Field(False, description="Add scale bar, colour bar, scan, layer, R and date.")
    side: int | None = Field(None, ge=16, le=4096, description="Reduce a picture without bars to this side, pixels.")


class FileChoice(ViewChoice):
    """The same for figures and files."""

    crop: bool = Field(True, description="Crop to the covered part; the noisy rim fades.")
    bar: bool = Field(True, description="Add scale bar, colour bar, scan, layer, R and date (SVG).")


PngQuery = Annotated[PngChoice, Query()]
FileQuery = Annotated[FileChoice, Query()]


def figures_router(canvas_of: CanvasOf) -> APIRouter:
    """Return the routes; ``canvas_of`` gives the picture of an id and a layer, or raises 404."""
    router = APIRouter(tags=["pictures"], responses={**NOT_KNOWN, **BUSY})

    @router.get("/scans/{id}/snapshot.png", summary="The picture as PNG", response_class=Png)
    def snapshot_png(id: str, choice: PngQuery) -> Response:
        """Transparent where nothing is covered; X-Phase-Span is the half-range of the colours in radians.

        A figure has X-Corner-Px and X-Size-Px, the part of the picture in pixels of the object's own frame, and X-Pixel-Size-M.
        """
        canvas = canvas_of(id, choice.layer)
        is_figure = choice.crop or choice.bar or choice.invert or choice.box is not None
        if is_figure or {choice.low, choice.high, choice.colours, choice.side} != {None}:
            figure = _figure(canvas, choice)
            return Png(png_bytes(figure), headers={**about(canvas), **_place(figure)})
        body, half = draw_layer(canvas, choice.view, choice.span)
        extra = {} if half is None else {"X-Phase-Span": f"{half:.6f}"}
        return Png(body, headers={**about(canvas), **extra})

    @router.get("/scans/{id}/snapshot.svg", summary="A figure as SVG", response_class=Svg)
    def snapshot_svg(id: str, choice: FileQuery) -> Response:
        """The picture in its own pixels; scale bar, colour bar, scan, R and date as vectors."""
        canvas = canvas_of(id, choice.layer)
        return Svg(svg_bytes(_figure(canvas, choice)), headers=about(canvas))

    @router.get("/scans/{id}/snapshot.tif", summary="The values of a view as 32-bit float TIFF", response_class=Tiff)
    def snapshot_tif(id: str, choice: FileQuery) -> Response:
        """NaN where nothing is covered; resolution from the pixel size; the description holds metadata as JSON."""
        canvas = canvas_of(id, choice.layer)
        return Tiff(tiff_bytes(_figure(canvas, choice)), headers=about(canvas))

    @router.get(
        "/scans/{id}/snapshot.npz", summary="Complex picture, weight, values and metadata as NPZ", response_class=Binary
    )
    def snapshot_npz(id: str, choice: FileQuery) -> Response:
        """Arrays object, weight, values, corner_px [y, x], pixel_size_m; metadata is JSON text."""
        canvas = canvas_of(id, choice.layer)
        return Binary(npz_bytes(_figure(canvas, choice)), headers=about(canvas))

    return router


def _figure(canvas: LayerCanvas, choice: PngChoice | FileChoice) -> Figure:
    if choice.low is not None and choice.high is not None and choice.high <= choice.low:
        raise HTTPException(422, f"high {choice.high:g} is not above low {choice.low:g}")
    options = FigureOptions(
        view=choice.view,
        span=choice.span,
        low=choice.low,
        high=choice.high,
        colours=choice.colours,
        is_inverted=choice.invert,
        is_cropped=choice.crop and choice.box is None,
        has_bars=choice.bar,
        side_px=choice.side if isinstance(choice, PngChoice) else None,
    )
    return make_figure(boxed(canvas, choice.box), options)


def boxed(canvas: LayerCanvas, text: str | None) -> LayerCanvas:
    """Return the part of a picture in the box of a query, or all of it; 422 where the box is not valid."""
    if text is None:
        return canvas
    try:
        return canvas.boxed(box_um(text))
    except ValueError as fault:
        raise HTTPException(422, str(fault)) from fault


def _place(figure: Figure) -> dict[str, str]:
    (y, x), (h, w), size_m = figure.corner_px, figure.values.shape, figure.canvas.pixel_size_m
    size = {} if size_m is None else {"X-Pixel-Size-M": repr(size_m)}
    return {"X-Corner-Px": f"{y},{x}", "X-Size-Px": f"{h},{w}", **size}


def about(canvas: LayerCanvas) -> dict[str, str]:
    """Return the headers that place a picture."""
    return {
        "X-Layer": canvas.layer,
        "X-Origin-Px": f"{canvas.origin_px[0]},{canvas.origin_px[1]}",
        "X-Frames-Stitched": str(canvas.frames_stitched),
    }
