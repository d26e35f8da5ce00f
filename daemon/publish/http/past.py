"""Pictures that are not live: of past scans, of earlier moments, of an iterative result; and the path of a scan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Protocol

import numpy as np
from fastapi import APIRouter, HTTPException, Query, Response
from fastapi.responses import JSONResponse

from daemon.files.apart import Limits, read_apart
from daemon.files.product import Product, read_product
from daemon.messages import PictureFields, ScanFields, ScanPath
from daemon.publish.history import History
from daemon.publish.http.answers import BUSY, NOT_KNOWN, Binary
from daemon.publish.hub import UpdateHub
from daemon.publish.snapshot import LayerCanvas, LayerName
from daemon.publish.wire import encode_ws, plain, snapshot_message
from ptychopinn.errors import FileFormatError

AnyLayer = Literal["refined", "network", "iterative"]
LayerOf = Annotated[AnyLayer, Query(description="iterative: the product `iterative.h5` in the scan's folder.")]
AtQuery = Annotated[int | None, Query(ge=0, description="Number in the list of /history. Default: the newest.")]
ToldQuery = Annotated[bool, Query(description="Return the measured positions even if corrected ones are used.")]
AfterQuery = Annotated[int, Query(ge=0, description="Number of positions already known.")]
ITERATIVE_NAME = "iterative.h5"
MOST_POSITIONS = 20_000
PICTURE_LIMITS = Limits(answer_bytes=2 << 30)
"""A product is read in a separate process, without following links to other files, up to this size of its arrays."""


class PastView(Protocol):
    """The part of the daemon that is needed here."""

    def scans(self) -> list[ScanFields]:
        """All scans known, newest first."""

    def product_path(self, scan_id: str) -> Path | None:
        """The product file, or None until it is written."""

    def path_px(self, scan_id: str, after: int, most: int, *, told: bool = False) -> list[tuple[float, float]] | None:
        """Positions [y, x] of a running scan's stitched frames, in pixels, used or measured (``told``); None for another scan."""


def past_router(source: PastView, hub: UpdateHub, history: History) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["pictures"], responses={**NOT_KNOWN, **BUSY})

    @router.get("/scans/{id}/history", summary="Earlier moments of a picture", response_model=list[PictureFields])
    def moments(id: str, layer: LayerOf = "refined") -> Response:
        """Oldest first; each is the header of a snapshot."""
        return JSONResponse(plain(history.listing(resolved(source, hub, id), layer)))

    @router.get("/scans/{id}/picture", summary="A whole picture as one update message", response_class=Binary)
    def picture(id: str, layer: LayerOf = "refined", at: AtQuery = None) -> Response:
        """A ``snapshot``; with ``stride`` n only every n-th pixel is kept (earlier moments of large pictures)."""
        scan_id = resolved(source, hub, id)
        message = None if at is None else history.message(scan_id, layer, at)
        if message is None:
            if at is not None:
                raise HTTPException(404, f"scan {scan_id} has no moment {at} of the layer {layer} in memory")
            message = snapshot_message(canvas_of(source, hub, scan_id, layer))
        return Binary(encode_ws(message, 0))

    @router.get(
        "/scans/{id}/path", summary="Path of the beam, in pixels of the object's own frame", response_model=ScanPath
    )
    def path(id: str, after: AfterQuery = 0, told: ToldQuery = False) -> Response:
        """Positions [y, x] in order of stitching (past scans: of frame index), at most 20,000 per answer."""
        scan_id = resolved(source, hub, id)
        places = source.path_px(scan_id, after, MOST_POSITIONS, told=told)
        if places is None:
            product = product_of(source.product_path(scan_id))
            places = [] if product is None else _path_of(product, told=told)[after : after + MOST_POSITIONS]
        answer: ScanPath = {"scan_id": scan_id, "after": after, "positions_px": places}
        return JSONResponse(answer)

    return router


def resolved(source: PastView, hub: UpdateHub, scan_id: str) -> str:
    """Return the scan of an id; "latest" is the one that started last."""
    if scan_id != "latest":
        return scan_id
    if hub.latest_scan_id is not None:
        return hub.latest_scan_id
    scans = source.scans()
    if not scans:
        raise HTTPException(404, "there is no scan yet")
    return str(scans[0]["id"])


def canvas_of(source: PastView, hub: UpdateHub, scan_id: str, layer: AnyLayer) -> LayerCanvas:
    """Return a picture from memory or from the scan's product; the other layer if only that exists."""
    if layer == "iterative":
        found = _iterative(source, scan_id)
    else:
        other: LayerName = "network" if layer == "refined" else "refined"
        found = hub.canvas(scan_id, layer) or hub.canvas(scan_id, other)
        found = found or _from_product(source.product_path(scan_id), scan_id, layer)
    if found is None:
        if layer == "iterative":
            words = f"save one with `ptycholive refine … --output …/{scan_id}/{ITERATIVE_NAME}`"
            raise HTTPException(404, f"there is no iterative result beside scan {scan_id}'s product; {words}")
        raise HTTPException(404, f"scan {scan_id} has no picture in memory and no product yet")
    return found


def _iterative(source: PastView, scan_id: str) -> LayerCanvas | None:
    path = source.product_path(scan_id)
    beside = None if path is None else path.with_name(ITERATIVE_NAME)
    if beside is not None and beside.is_symlink():
        raise HTTPException(404, f"{beside} is a link, and links are not followed; copy the file there")
    return _from_product(beside, scan_id, "refined")


def _from_product(path: Path | None, scan_id: str, layer: LayerName) -> LayerCanvas | None:
    product = product_of(path)
    if product is None:
        return None
    live = product.live
    pixels, origin = product.object, product.object_origin_px
    weight = None if live is None else live.refined_weight
    if live is not None and live.network is not None and (layer == "network" or weight is None):
        pixels, weight, origin, layer = live.network, live.network_weight, live.network_origin_px, "network"
    if weight is None:
        weight = _visits(product)
    return LayerCanvas(
        scan_id=scan_id,
        layer=layer,
        origin_px=(round(origin[0]), round(origin[1])),
        pixel_size_m=product.known_pixel_size_m,
        frames_stitched=len(product.indexes),
        frames_received=len(product.indexes),
        model_generation=0 if live is None else live.model_generation,
        rfactor=None if live is None else live.rfactors.get(layer),
        complete=True,
        time_ns=0,
        object=pixels,
        weight=np.asarray(weight, dtype=np.float32),
    )


def _visits(product: Product) -> np.ndarray:
    """Return how often the middle of the probe covered each pixel, for a file without weights."""
    weight = np.zeros(product.object.shape, dtype=np.float32)
    n = product.probe.shape[-1]
    corners = np.round(product.positions_m / product.pixel_size_m - np.array(product.object_origin_px) - n / 2)
    for y, x in corners.astype(int):
        weight[max(0, y + n // 4) : max(0, y + n - n // 4), max(0, x + n // 4) : max(0, x + n - n // 4)] += 1
    return weight


def _path_of(product: Product, *, told: bool) -> list[tuple[float, float]]:
    measured_m = product.live.measured_position_m if told and product.live is not None else None
    places = (product.positions_m if measured_m is None else measured_m) / product.pixel_size_m
    return [(float(y), float(x)) for y, x in places]


def product_of(path: Path | None) -> Product | None:
    """Return the product in a file; None where there is none, 404 where it cannot be read."""
    if path is None or not path.is_file():
        return None
    try:
        return read_apart(read_product, path, PICTURE_LIMITS)
    except FileFormatError as fault:
        raise HTTPException(404, str(fault)) from fault
