"""Settings of the engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ptychopinn.mosaic.memory_bound import MemoryBound


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Settings of the engine; sizes in pixels, times in seconds.

    ``pixel_size_m`` returns the object pixel of a scan, which the header of its stream may give. None means that it is
    not known; the scan's frames are then refused. ``light_of`` returns the beam monitor's value of a frame. ``is_halo`` tells
    whether a frame belongs to another engine and helps the refined layer alone; None: there is no other engine.
    """

    pixel_size_m: Callable[[str], float | None]
    batch_frames: int = 32
    batch_timeout_s: float = 0.05
    gridsize: int = 1
    max_side_px: int = 16384
    keep_patch_bytes: int = 256 << 20
    box_m: tuple[float, float, float, float] | None = None
    canvas_bytes: int = 4 << 30
    canvas_folder: Path | None = None
    refine: bool = True
    refine_probe: bool = True
    refine_buffer_bytes: int = 512 << 20
    refine_finish_s: float = 1.5
    refine_improve_s: float = 10.0
    refine_subpixel: bool = False
    refine_bound_px: float = 0.0
    refine_frame_light: bool = False
    light_of: Callable[[str, int], float | None] | None = None
    refine_exposure_share: float = 0.0
    refine_modes: int | None = None
    refine_finds_modes: bool = False
    refine_follows_drift: bool = False
    moves_frames: bool = False
    publish_period_s: float = 0.1
    checkpoint_s: float = 10.0
    queue_bytes: int = 256 << 20
    is_halo: Callable[[str, int], bool] | None = None

    @property
    def canvas_bound(self) -> MemoryBound:
        """Bound on the memory of a layer's canvas."""
        return MemoryBound(self.canvas_bytes, self.canvas_folder)
