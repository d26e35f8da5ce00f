"""Routes that compare two pictures after registration and ramp removal: figures, and the other picture laid on the first."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from fastapi import APIRouter, HTTPException, Query, Response
from fastapi.responses import JSONResponse

from daemon.messages import ComparisonFields
from daemon.publish.http.answers import BUSY, NOT_KNOWN, Binary, problems
from daemon.publish.http.past import AnyLayer
from daemon.publish.snapshot import LayerCanvas
from daemon.publish.wire import encode_ws, plain, snapshot_message
from ptychopinn.diagnosis.comparison import (
    Comparison,
    PlacedPicture,
    Registered,
    common_pixel_m,
    compare_registered,
    known_pixels,
    registered,
    well_covered,
)
from ptychopinn.errors import GeometryError

MOST_SIDE_PX = 1024
"""Of larger pictures only the middle is compared: about a second and 0.2 GB."""
NICE = 10
"""Niceness of the thread that compares: frames come first."""
NOT_ALIKE = problems({409: "Both pictures are the same, or have too little in common."})

CanvasOf = Callable[[str, AnyLayer], LayerCanvas]
OtherQuery = Annotated[str | None, Query(max_length=256, description="Id of the other scan. Default: the same scan.")]
LayerQuery = Annotated[AnyLayer, Query(description="Layer of the picture that stays as it is.")]
OtherLayerQuery = Annotated[AnyLayer, Query(description="Layer of the other picture.")]


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """Two pictures, the other one registered with the first, and the figures."""

    one: LayerCanvas
    other: LayerCanvas
    layers: tuple[AnyLayer, AnyLayer]
    origin_px: tuple[float, float]
    """Place of the part of the first picture that was compared, in the object's own frame."""
    both: Registered
    figures: Comparison

    def fields(self) -> ComparisonFields:
        """Return the figures as they are sent."""
        found = self.figures
        return {
            "scan_id": self.one.scan_id,
            "layer": self.layers[0],
            "other_scan_id": self.other.scan_id,
            "other_layer": self.layers[1],
            "phase_correlation": found.phase_correlation,
            "amplitude_correlation": found.amplitude_correlation,
            "ssim": found.ssim,
            "difference": found.difference,
            "frc_px": found.frc_px,
            "frc_nm": found.frc_nm,
            "shift_px": list(found.shift_px),
            "ramp_rad_px": list(found.ramp_rad_px),
            "pixels": found.pixels,
        }

    def laid(self) -> LayerCanvas:
        """Return the other picture, registered, where both are known."""
        y, x = (round(a + b) for a, b in zip(self.origin_px, self.both.corner_px, strict=True))
        pixels = np.where(self.both.known, self.both.picture, 0).astype(np.complex64)
        return replace(self.other, origin_px=(y, x), object=pixels, weight=self.both.known.astype(np.float32))


class Comparer:
    """Compares in a thread of its own, one after the other, and keeps the last result for its second question."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "compare", initializer=_give_way)
        self._kept: tuple[tuple[object, ...], Compared] | None = None

    def compare(self, one: LayerCanvas, other: LayerCanvas, layers: tuple[AnyLayer, AnyLayer]) -> Compared:
        """Return the comparison; raises :class:`GeometryError` if they have too little in common."""
        return self._thread.submit(self._compare, one, other, layers).result()

    def _compare(self, one: LayerCanvas, other: LayerCanvas, layers: tuple[AnyLayer, AnyLayer]) -> Compared:
        key = layers, _state(one), _state(other)
        if self._kept is None or self._kept[0] != key:
            pixel_m = common_pixel_m(one.pixel_size_m, other.pixel_size_m)
            reference = _middle(_placed(one))
            both = registered(_placed(other), reference)
            figures = compare_registered(both, pixel_m)
            self._kept = key, Compared(one, other, layers, reference.origin_px, both=both, figures=figures)
        return self._kept[1]


def comparison_router(canvas_of: CanvasOf, comparer: Comparer) -> APIRouter:
    """Return the routes; ``canvas_of`` gives the picture of a scan's layer, or raises 404."""
    router = APIRouter(tags=["pictures"], responses={**NOT_KNOWN, **NOT_ALIKE, **BUSY})

    def compared(id: str, layer: AnyLayer, other: str | None, other_layer: AnyLayer) -> Compared:
        first, second = canvas_of(id, layer), canvas_of(other or id, other_layer)
        layers = _layer_of(first, layer), _layer_of(second, other_layer)
        if first.scan_id == second.scan_id and layers[0] == layers[1]:
            raise HTTPException(409, "both pictures are the same; choose another scan or another layer")
        try:
            return comparer.compare(first, second, layers)
        except GeometryError as fault:
            raise HTTPException(409, str(fault)) from fault

    @router.get("/scans/{id}/comparison", summary="How far two pictures agree", response_model=ComparisonFields)
    def comparison(
        id: str, layer: LayerQuery = "refined", other: OtherQuery = None, other_layer: OtherLayerQuery = "refined"
    ) -> Response:
        """After registration and ramp removal, where frames cover both well; at most the middle 1,024 x 1,024 pixels."""
        return JSONResponse(plain(compared(id, layer, other, other_layer).fields()))

    @router.get("/scans/{id}/comparison/picture", summary="The other picture, laid on this one", response_class=Binary)
    def picture(
        id: str, layer: LayerQuery = "refined", other: OtherQuery = None, other_layer: OtherLayerQuery = "refined"
    ) -> Response:
        """A ``snapshot`` without its shift, ramp, phase and scale against this picture."""
        return Binary(encode_ws(snapshot_message(compared(id, layer, other, other_layer).laid()), 0))

    return router


def _give_way() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


def _layer_of(canvas: LayerCanvas, asked: AnyLayer) -> AnyLayer:
    """Return the layer of a picture: another one where the scan has only that."""
    return asked if asked == "iterative" else canvas.layer


def _state(canvas: LayerCanvas) -> tuple[object, ...]:
    """Return what tells one state of a picture from another."""
    return canvas.scan_id, canvas.layer, canvas.time_ns, canvas.frames_stitched, canvas.rfactor, canvas.object.shape


def _placed(canvas: LayerCanvas) -> PlacedPicture:
    known = well_covered(canvas.weight) & known_pixels(canvas.object, canvas.weight)
    return PlacedPicture(canvas.object, known, canvas.origin_px)


def _middle(picture: PlacedPicture) -> PlacedPicture:
    """Return the middle of a picture that is too large to be compared whole."""
    rim = [max(0, side - MOST_SIDE_PX) // 2 for side in picture.object.shape]
    cut = tuple(slice(edge, edge + MOST_SIDE_PX) for edge in rim)
    origin = picture.origin_px[0] + rim[0], picture.origin_px[1] + rim[1]
    return PlacedPicture(picture.object[cut], picture.known[cut], origin)
