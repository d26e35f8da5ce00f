"""The REST interface and the viewer page (section 5 of the contract)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, Protocol

import numpy as np
from fastapi import APIRouter, FastAPI, HTTPException, Query, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException as AnyHTTPException

from daemon.messages import Alive, ModelEntry, ModelStatus, Paused, Readiness, ScanFields, Status, Stopping
from daemon.publish.history import History
from daemon.publish.http.answers import BUSY, NOT_KNOWN, NOT_NOW, PROBLEMS, Binary, Npy, Png
from daemon.publish.http.attach import Attacher, NoAttacher, attach_router
from daemon.publish.http.box import BoxQuery
from daemon.publish.http.comparisons import Comparer, comparison_router
from daemon.publish.http.demo import demo_folder, demo_router
from daemon.publish.http.docs import docs_page
from daemon.publish.http.figures import about, boxed, figures_router
from daemon.publish.http.frames import FrameSource, NoFrames, frames_router
from daemon.publish.http.past import AnyLayer, canvas_of, past_router, resolved
from daemon.publish.http.probes import NoProbes, ProbeSource, probes_router
from daemon.publish.http.products import products_router
from daemon.publish.http.server import HttpServer, open_server, tls_context
from daemon.publish.http.updates import WebSocketViewers
from daemon.publish.hub import UpdateHub
from daemon.publish.png import draw_pattern
from daemon.publish.snapshot import LayerCanvas
from daemon.publish.wire import plain
from daemon.version import VERSION
from ptychopinn.errors import ReconstructionError

__all__ = ["DaemonView", "HttpServer", "create_app", "create_wizard_app", "open_server", "tls_context"]

Layer = Literal["refined", "network"]
LayerQuery = Annotated[
    Layer, Query(description="If it has no picture, the other layer is sent; the header X-Layer names it.")
]
_PAGE = Path(__file__).parents[1] / "page"
_KINDS = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".json": "application/json",
}


class ModelChoice(BaseModel):
    """A model by its name."""

    name: str = Field(max_length=64)


class DaemonView(Protocol):
    """The part of the daemon that HTTP serves; every call is quick and safe from any thread."""

    def status(self) -> Status:
        """State, streams, current scan, rates, latency, R-factors and a sentence."""

    def readiness(self) -> Readiness:
        """Whether frames would be reconstructed now, and the state of each part."""

    def metrics_text(self) -> tuple[bytes, str]:
        """Prometheus exposition and its content type."""

    def scans(self) -> list[ScanFields]:
        """All scans known, newest first."""

    def scan(self, scan_id: str) -> ScanFields | None:
        """One scan, or None."""

    def stop_scan(self, scan_id: str) -> bool:
        """Finish a running scan with the frames received so far; False if it does not run."""

    def product_path(self, scan_id: str) -> Path | None:
        """The product file, or None until it is written."""

    def path_px(self, scan_id: str, after: int, most: int, *, told: bool = False) -> list[tuple[float, float]] | None:
        """Positions [y, x] of a running scan's stitched frames, in pixels; None when it does not run."""

    def last_pattern(self) -> tuple[str, int, NDArray[np.floating]] | None:
        """(scan id, frame index, (h, w) sqrt(counts)) of the newest frame."""

    def models(self) -> list[ModelEntry]:
        """The model bundles."""

    def use_model(self, name: str) -> ModelStatus:
        """Activate a model; raises ReconstructionError, with a sentence, if that is not possible."""

    def roll_back_model(self) -> ModelStatus:
        """Activate the previous generation of the model; raises ReconstructionError if there is none."""

    def set_finetune_paused(self, is_paused: bool) -> Paused:
        """Pause or resume fine-tuning; raises ReconstructionError if it is off."""


def create_app(
    source: DaemonView,
    hub: UpdateHub,
    max_viewers: int = 64,
    viewer_bytes_per_s: float = 20e6,
    *,
    history: History | None = None,
    frames: FrameSource | None = None,
    probes: ProbeSource | None = None,
    attacher: Attacher | None = None,
) -> FastAPI:
    """Return the application; ``app.state.viewers.count`` is the number of WebSocket viewers, at most ``max_viewers``."""
    app = FastAPI(
        title="PtychoLive",
        version=VERSION,
        description="Live ptychography: state, pictures and scans of the daemon.",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses=PROBLEMS,
    )
    viewers = WebSocketViewers(hub, max_viewers, viewer_bytes_per_s)
    app.state.viewers = viewers
    _answer_faults(app)
    app.include_router(_pages(app))
    app.include_router(_health(source))
    app.include_router(_scans(source, hub), prefix="/api/v1")
    app.include_router(_pictures(source, hub), prefix="/api/v1")
    app.include_router(past_router(source, hub, history or History(hub)), prefix="/api/v1")

    def picture_of(id: str, layer: Layer) -> LayerCanvas:
        return canvas_of(source, hub, resolved(source, hub, id), layer)

    def scan_of(id: str) -> str:
        return _known_scan(source, hub, id)[0]

    def any_picture_of(id: str, layer: AnyLayer) -> LayerCanvas:
        return canvas_of(source, hub, resolved(source, hub, id), layer)

    app.include_router(figures_router(picture_of), prefix="/api/v1")
    app.include_router(products_router(lambda scan_id: source.product_path(scan_id), scan_of), prefix="/api/v1")
    app.include_router(comparison_router(any_picture_of, Comparer()), prefix="/api/v1")
    app.include_router(frames_router(frames or NoFrames(), scan_of), prefix="/api/v1")
    app.include_router(demo_router(demo_folder()), prefix="/api/v1")
    app.include_router(attach_router(attacher or NoAttacher()), prefix="/api/v1")
    app.include_router(probes_router(probes or NoProbes(), scan_of), prefix="/api/v1")

    @app.websocket("/api/v1/updates")
    async def updates(websocket: WebSocket) -> None:
        await viewers.serve(websocket)

    return app


def create_wizard_app(attacher: Attacher) -> FastAPI:
    """Return the application of ``init --page``: the wizard alone."""
    app = FastAPI(title="PtychoLive", version=VERSION, openapi_url=None, docs_url=None, redoc_url=None)
    _answer_faults(app)
    app.add_route("/", lambda _: RedirectResponse("/page/setup.html"))
    app.include_router(_pages(app))
    app.include_router(attach_router(attacher), prefix="/api/v1")
    return app


def _answer_faults(app: FastAPI) -> None:
    app.add_exception_handler(RequestValidationError, _say_what_is_invalid)
    app.add_exception_handler(AnyHTTPException, _say_what_is_wrong)
    app.add_exception_handler(Exception, _say_what_is_wrong)


def _pages(app: FastAPI) -> APIRouter:
    router = APIRouter(include_in_schema=False)
    files = {path.name: path for path in _PAGE.iterdir() if path.suffix in _KINDS} if _PAGE.is_dir() else {}

    @router.get("/")
    def index() -> Response:
        return _page_file(files, "index.html")

    @router.get("/page/{name}")
    def page(name: str) -> Response:
        return _page_file(files, name)

    @router.get("/favicon.ico")
    def icon() -> Response:
        return _page_file(files, "icon.svg")

    @router.get("/docs")
    def docs() -> HTMLResponse:
        return HTMLResponse(docs_page(app.openapi()))

    return router


def _health(source: DaemonView) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/healthz", summary="Liveness of the process", response_model=Alive)
    def healthz() -> Response:
        return JSONResponse({"status": "ok"})

    @router.get(
        "/readyz",
        summary="Readiness to reconstruct frames",
        response_model=Readiness,
        responses={503: {"description": "Not ready.", "model": Readiness}},
    )
    def readyz() -> Response:
        """503 when not ready, with the state of each part."""
        readiness = source.readiness()
        return JSONResponse(plain(readiness), status_code=200 if readiness["ready"] else 503)

    @router.get("/metrics", summary="Prometheus metrics", response_class=PlainTextResponse)
    def metrics() -> Response:
        body, kind = source.metrics_text()
        return Response(body, headers={"Content-Type": kind})

    return router


def _done(order: Callable[[], ModelStatus | Paused]) -> Response:
    try:
        return JSONResponse(plain(order()), status_code=202)
    except ReconstructionError as fault:
        raise HTTPException(409, str(fault)) from fault


def _scans(source: DaemonView, hub: UpdateHub) -> APIRouter:
    router = APIRouter(tags=["scans"])

    @router.get("/status", summary="State of the daemon", response_model=Status)
    def status() -> Response:
        return JSONResponse(plain(source.status()))

    @router.get("/models", summary="Model bundles", response_model=list[ModelEntry])
    def models() -> Response:
        return JSONResponse(plain(source.models()))

    @router.post(
        "/models/active",
        summary="Swap the active model",
        status_code=202,
        response_model=ModelStatus,
        responses=NOT_KNOWN,
    )
    def use_model(choice: ModelChoice) -> Response:
        """Takes a name from GET models. Answers once the engine uses the model; 404 if it is unknown or cannot be run."""
        try:
            return JSONResponse(plain(source.use_model(choice.name)), status_code=202)
        except ReconstructionError as fault:
            raise HTTPException(404, str(fault)) from fault

    @router.post(
        "/models/rollback",
        summary="Undo the last fine-tuning promotion",
        status_code=202,
        response_model=ModelStatus,
        responses=NOT_NOW,
    )
    def roll_back_model() -> Response:
        """409 if the active model is not a fine-tuned one."""
        return _done(source.roll_back_model)

    @router.post(
        "/finetune/pause", summary="Pause fine-tuning", status_code=202, response_model=Paused, responses=NOT_NOW
    )
    def pause() -> Response:
        """Frames are still collected. 409 if fine-tuning is off."""
        return _done(lambda: source.set_finetune_paused(True))

    @router.post(
        "/finetune/resume", summary="Resume fine-tuning", status_code=202, response_model=Paused, responses=NOT_NOW
    )
    def resume() -> Response:
        """409 if fine-tuning is off."""
        return _done(lambda: source.set_finetune_paused(False))

    @router.get("/scans", summary="All scans, newest first", response_model=list[ScanFields])
    def scans() -> Response:
        return JSONResponse(plain(source.scans()))

    @router.get("/scans/{id}", summary="One scan", response_model=ScanFields, responses=NOT_KNOWN)
    def scan(id: str) -> Response:
        """The id "latest" is the scan that started last, here and below."""
        return JSONResponse(plain(_known_scan(source, hub, id)[1]))

    @router.post(
        "/scans/{id}/stop",
        summary="Finish a running scan with the frames received so far",
        status_code=202,
        response_model=Stopping,
        responses={**NOT_KNOWN, **NOT_NOW},
    )
    def stop(id: str) -> Response:
        """409 if the scan does not run."""
        scan_id, _ = _known_scan(source, hub, id)
        if not source.stop_scan(scan_id):
            raise HTTPException(409, f"scan {scan_id} is not running, so there is nothing to stop")
        answer: Stopping = {"id": scan_id, "stopping": True}
        return JSONResponse(answer, status_code=202)

    return router


def _pictures(source: DaemonView, hub: UpdateHub) -> APIRouter:
    router = APIRouter(tags=["pictures"], responses={**NOT_KNOWN, **BUSY})

    @router.get("/scans/{id}/snapshot.npy", summary="The picture as complex64 NPY", response_class=Binary)
    def snapshot_npy(id: str, layer: LayerQuery = "refined", box: BoxQuery = None) -> Response:
        canvas = boxed(canvas_of(source, hub, resolved(source, hub, id), layer), box)
        return Npy(canvas.object, about(canvas))

    @router.get("/scans/{id}/pattern.png", summary="The newest diffraction pattern", response_class=Png)
    def pattern_png(id: str) -> Response:
        """Logarithmic scale; X-Frame-Index is the index of the frame."""
        scan_id = resolved(source, hub, id)
        last = source.last_pattern()
        if last is None or last[0] != scan_id:
            raise HTTPException(404, f"no diffraction pattern of scan {scan_id} is in memory")
        return Png(draw_pattern(last[2]), headers={"X-Frame-Index": str(last[1])})

    return router


def _known_scan(source: DaemonView, hub: UpdateHub, id: str) -> tuple[str, ScanFields]:
    scan_id = resolved(source, hub, id)
    found = source.scan(scan_id)
    if found is None:
        raise HTTPException(404, f"there is no scan {scan_id}")
    return scan_id, found


def _page_file(files: dict[str, Path], name: str) -> Response:
    path = files.get(name)
    if path is None:
        raise HTTPException(404, f"there is no page file {name}")
    return Response(path.read_bytes(), headers={"Content-Type": f"{_KINDS[path.suffix]}; charset=utf-8"})


async def _say_what_is_invalid(request: Request, fault: Exception) -> Response:
    errors = fault.errors() if isinstance(fault, RequestValidationError) else []
    parts = [f"{'.'.join(str(part) for part in error['loc'][1:])}: {error['msg']}" for error in errors]
    return JSONResponse({"detail": "; ".join(parts) or "the request is not valid"}, status_code=422)


async def _say_what_is_wrong(request: Request, fault: Exception) -> Response:
    status = fault.status_code if isinstance(fault, AnyHTTPException) else 500
    detail = (
        str(fault.detail)
        if isinstance(fault, AnyHTTPException)
        else "internal error; the log of the daemon has the details"
    )
    if detail == "Not Found":
        detail = f"there is no route {request.url.path}; /docs lists all routes"
    headers = fault.headers if isinstance(fault, AnyHTTPException) else None
    return JSONResponse({"detail": detail}, status_code=status, headers=headers)
