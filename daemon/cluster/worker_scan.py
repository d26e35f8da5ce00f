"""One scan in a worker: the engine's part, and the part that the reader waits for. A worker has one table of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from daemon.engine.engine_scan import EngineScan
from daemon.engine.result import ScanResult
from daemon.engine.scan import ScanWork
from ptychopinn.mosaic.canvas import Canvas
from ptychopinn.mosaic.merged import HOST, UNBOUNDED_PX
from ptychopinn.refine.merged import REFINED_PLANES
from streams.refusal_reasons import RefusalReason


@dataclass(slots=True, eq=False)
class PublishedLayer:
    """The refined layer of a scan as it was published last; tiles that the reader lacks are marked on the canvas."""

    canvas: Canvas = field(default_factory=lambda: Canvas(REFINED_PLANES, UNBOUNDED_PX, HOST))
    rfactor: float | None = None


@dataclass(slots=True, eq=False)
class WorkerScan(EngineScan[ScanWork]):
    """A scan from its first frame until its result is handed on; the worker's lock guards its fields."""

    pixel_size_m: float | None = None
    closed: dict[int, RefusalReason | None] = field(default_factory=dict)
    """Frames whose account is closed and that the reader was not told of: None for a stitched one, or why it was refused."""
    halo: set[int] = field(default_factory=set)
    """Frames of others, which help the refined layer alone."""
    refined: PublishedLayer = field(default_factory=PublishedLayer)
    result: ScanResult | None = None
