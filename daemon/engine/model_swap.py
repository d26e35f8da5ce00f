"""Another model between two batches: requests of other threads, and the effect on open scans."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from daemon.engine.models import ActiveModel
from daemon.engine.options import EngineOptions
from daemon.engine.scan import FrameToRestitch, ScanWork
from ptychopinn.device import to_device, to_host
from ptychopinn.diagnosis.correction import Correction

AGAIN_FINISH_S = 15.0
"""Time after a scan's end for stitching its frames again with another probe."""


@dataclass(slots=True, eq=False)
class Swap:
    """A request to the engine: use another model and, if its probe is another, correct frames further."""

    model: ActiveModel
    change: Correction
    active: ActiveModel | None = None
    """The model as it is in use; None while it is not, or where the engine could not use it."""
    fault: str = ""
    done: threading.Event = field(default_factory=threading.Event)


def new_work(scan_id: str, model: ActiveModel, correction: Correction, options: EngineOptions) -> ScanWork:
    """Return the engine's side of a new scan."""
    work = ScanWork(scan_id, model, options, looks_again=model.models.is_learned)
    work.pixel_ratio = 1 / correction.position_scale
    return work


def restarted(
    old: ScanWork, model: ActiveModel, change: Correction, *, correction: Correction, options: EngineOptions
) -> ScanWork:
    """Return the work of a scan for another probe; its frames are stitched again."""
    work = new_work(old.scan_id, model, correction, options)
    old.stop_moving()
    work.restart(old, _corrector(change))
    if work.finish_by is not None:
        work.finish_by = time.monotonic() + max(AGAIN_FINISH_S, options.refine_finish_s)
    return work


def _corrector(change: Correction) -> Callable[[FrameToRestitch], FrameToRestitch]:
    def correct(frame: FrameToRestitch) -> FrameToRestitch:
        y, x = change.positions(np.array([frame.position_px]))[0].tolist()
        pattern = frame.amplitude
        if pattern is not None and change.changes_patterns:
            pattern = to_device(change.patterns(np.asarray(to_host(pattern))), pattern.device)
        return FrameToRestitch(frame.index, (y, x), pattern)

    return correct
