"""Routes about single frames: position, patterns, R by frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, Protocol, TypeVar

import numpy as np
from fastapi import APIRouter, HTTPException, Path, Query, Response
from fastapi.responses import JSONResponse
from numpy.typing import NDArray

from daemon.errors import NotHeldError
from daemon.messages import FrameFields, FrameMap, LayerName
from daemon.publish.http.answers import BUSY, NOT_KNOWN, Binary, Npy
from daemon.publish.wire import plain

Answer = TypeVar("Answer")
MOST_INDEX = 2**63 - 1
"""Indexes are 64-bit integers."""
MOST_PX = 1e9
"""Farthest place that is asked for, pixels."""

ModelLayer = Annotated[
    Literal["refined", "network"],
    Query(
        description="Layer of the modelled pattern. If it has no picture, the other layer is used; the answer names it."
    ),
]
IndexPath = Annotated[int, Path(ge=0, le=MOST_INDEX, description="Index of the frame.")]
RowQuery = Annotated[float, Query(ge=-MOST_PX, le=MOST_PX, description="Row in pixels of the object's own frame.")]
ColumnQuery = Annotated[
    float, Query(ge=-MOST_PX, le=MOST_PX, description="Column in pixels of the object's own frame.")
]


class FrameSource(Protocol):
    """Single frames of scans; raises :class:`NotHeldError`, with a sentence, for what is not held. Safe from any thread."""

    def frame(self, scan_id: str, index: int, layer: LayerName) -> FrameFields:
        """One frame."""

    def nearest(self, scan_id: str, y_px: float, x_px: float) -> int:
        """Index of the stitched frame nearest to a place."""

    def patterns(self, scan_id: str, index: int, layer: LayerName) -> NDArray[np.float32]:
        """Counts (2, N, N): measured and modelled, -1 = no data."""

    def frame_map(self, scan_id: str, layer: LayerName) -> FrameMap:
        """R-factor by frame."""


def frames_router(frames: FrameSource, scan_of: Callable[[str], str]) -> APIRouter:
    """Return the routes; ``scan_of`` gives the scan of an id such as "latest", or raises 404."""
    router = APIRouter(tags=["frames"], responses={**NOT_KNOWN, **BUSY})

    @router.get("/scans/{id}/frames", summary="R-factor by frame", response_model=FrameMap)
    def frame_map(id: str, layer: ModelLayer = "refined") -> Response:
        """A running scan: R of the frames in the refiner's memory. A closed scan: R of up to 600 frames, computed now."""
        scan_id = scan_of(id)
        return JSONResponse(plain(held(lambda: frames.frame_map(scan_id, layer))))

    @router.get("/scans/{id}/frames/nearest", summary="The frame nearest to a place", response_model=FrameFields)
    def nearest(id: str, y: RowQuery, x: ColumnQuery, layer: ModelLayer = "refined") -> Response:
        """The stitched frame whose measured position is nearest."""
        scan_id = scan_of(id)
        index = held(lambda: frames.nearest(scan_id, y, x))
        return JSONResponse(plain(held(lambda: frames.frame(scan_id, index, layer))))

    @router.get("/scans/{id}/frames/{index}", summary="One frame", response_model=FrameFields)
    def frame(id: str, index: IndexPath, layer: ModelLayer = "refined") -> Response:
        """Position, neighbours by index, R-factor; `absent` says why a pattern is missing."""
        scan_id = scan_of(id)
        return JSONResponse(plain(held(lambda: frames.frame(scan_id, index, layer))))

    @router.get(
        "/scans/{id}/frames/{index}/patterns.npy",
        summary="Measured and modelled pattern of a frame as float32 NPY",
        response_class=Binary,
    )
    def patterns(id: str, index: IndexPath, layer: ModelLayer = "refined") -> Response:
        """Counts (2, N, N), zero frequency in the middle, -1 = no data. 404 where the measured pattern is not held."""
        scan_id = scan_of(id)
        return Npy(held(lambda: frames.patterns(scan_id, index, layer)), {})

    return router


def held(answer: Callable[[], Answer]) -> Answer:
    """Return an answer; 404 with the sentence where it is not held."""
    try:
        return answer()
    except NotHeldError as fault:
        raise HTTPException(404, str(fault)) from fault


class NoFrames:
    """Without a daemon behind it no frame is held."""

    def frame(self, scan_id: str, index: int, layer: LayerName) -> FrameFields:
        """Raise :class:`NotHeldError`."""
        raise NotHeldError(f"frame {index} of scan {scan_id} is not held here")

    def nearest(self, scan_id: str, y_px: float, x_px: float) -> int:
        """Raise :class:`NotHeldError`."""
        raise NotHeldError(f"no frame of scan {scan_id} is held here")

    def patterns(self, scan_id: str, index: int, layer: LayerName) -> NDArray[np.float32]:
        """Raise :class:`NotHeldError`."""
        raise NotHeldError(f"frame {index} of scan {scan_id} is not held here")

    def frame_map(self, scan_id: str, layer: LayerName) -> FrameMap:
        """Raise :class:`NotHeldError`."""
        raise NotHeldError(f"no frame of scan {scan_id} is held here")
