"""The model in use, and how patterns and positions are corrected; requests of other threads for another model."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from daemon.engine.faults import EngineFaults
from daemon.engine.model_swap import Swap, restarted
from daemon.engine.model_timing import sharp_frame_s
from daemon.engine.models import ActiveModel
from daemon.engine.options import EngineOptions
from daemon.engine.scan import ScanWork
from daemon.engine.stitching import Stitcher
from daemon.metrics import Metrics
from ptychopinn.diagnosis.correction import Correction

Restart = Callable[[Callable[[ScanWork], ScanWork]], None]
"""Replaces the work of each open scan by what is made of it."""

log = logging.getLogger(__name__)


class ModelInUse:
    """The engine's thread alone replaces the model, between two batches; other threads read it and ask for another.

    Attributes
    ----------
    active
        The model in use.
    correction
        Of patterns and positions, in this scan and in later ones.
    """

    def __init__(
        self, model: ActiveModel, options: EngineOptions, metrics: Metrics, *, faults: EngineFaults, stitcher: Stitcher
    ) -> None:
        self._options = options
        self._metrics = metrics
        self._faults = faults
        self._stitcher = stitcher
        self._swaps: deque[Swap] = deque()
        self.active = model
        self.correction = Correction()

    def begin_with(self, model: ActiveModel) -> None:
        """Take another model before the engine starts."""
        self.active = replace(model, generation=self.active.generation + 1)
        self._metrics.model_generation.set(self.active.generation)

    def ask(self, model: ActiveModel, change: Correction) -> Swap:
        """Ask for another model, from any thread."""
        swap = Swap(model, change)
        self._swaps.append(swap)
        return swap

    @property
    def is_asked(self) -> bool:
        """Whether another model is asked for."""
        return bool(self._swaps)

    def pixel_size_m(self, scan_id: str) -> float | None:
        """Return the object pixel of a scan as it is corrected."""
        pixel_size_m = self._options.pixel_size_m(scan_id)
        return None if pixel_size_m is None else pixel_size_m / self.correction.position_scale

    def take(self, works: list[ScanWork], improving: ScanWork | None, restart: Restart) -> None:
        """Take the model that is asked for, if any; if that fails, nothing changes, and the caller gets the reason."""
        if not self._swaps:
            return
        swap = self._swaps[0]
        try:
            self._swap(swap, works, improving, restart)
            swap.active = self.active
        except Exception as fault:
            swap.fault = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
            log.exception("the model %s cannot be used", swap.model.name)
            self._faults.count(f"the model {swap.model.name} cannot be used: {swap.fault}")
        finally:
            self._swaps.popleft()
            swap.done.set()

    def _swap(self, swap: Swap, works: list[ScanWork], improving: ScanWork | None, restart: Restart) -> None:
        generation = max(swap.model.generation, self.active.generation + 1)
        model, correction = replace(swap.model, generation=generation), self.correction
        frame_s = sharp_frame_s(model, self._options)
        has_other_probe = model.probe is not self.active.probe
        if has_other_probe:
            correction = swap.change.after(correction)
            restart(lambda work: restarted(work, model, swap.change, correction=correction, options=self._options))
        self.active, self.correction = model, correction
        self._stitcher.sharp_frame_s = frame_s
        self._metrics.model_generation.set(model.generation)
        if has_other_probe:
            return  # a closed scan that gets better goes on with the probe and the model that it began with
        for work in [*works, *([improving] if improving else [])]:
            if work.model.probe is model.probe:
                work.use(model)
