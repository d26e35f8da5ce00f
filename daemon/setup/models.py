"""Models for a probe, on the device that the configuration names."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from daemon.config import Config
from daemon.engine.models import ActiveModel, Models
from daemon.errors import ConfigError
from daemon.optics.probe_source import probe_from_file, probe_from_optics
from daemon.optics.scan_optics import scan_optics
from ptychopinn.device import choose_device
from ptychopinn.errors import ProbeMismatchError
from ptychopinn.model import Lift, Model
from ptychopinn.model.bundle import Bundle, build_network, find_bundle, model_for, read_bundle
from ptychopinn.workflow.half_precision import with_dtype

log = logging.getLogger(__name__)


def device_of(config: Config) -> torch.device:
    """Return the device; raises ConfigError where it is not there."""
    try:
        return choose_device(config.model.device)
    except (ValueError, RuntimeError) as fault:
        raise ConfigError(f"[model] device: {str(fault).splitlines()[0]}") from fault


def first_probe(config: Config) -> tuple[NDArray[np.complex64], float | None]:
    """Return the probe ``(modes, N, N)`` to start with, and its pixel, metres, where its file tells.

    Raises
    ------
    ConfigError, FileFormatError, ProbeMismatchError
        If the file or the optics give none, or they do not fit each other.
    """
    options, size_px = config.optics, config.detector.size_px
    side_px = size_px * config.detector.binning
    if options.probe_file is None:
        return probe_from_optics(options, scan_optics(options, side_px, None), size_px), None
    probe, pixel_size_m = probe_from_file(options.probe_file, size_px)
    known = scan_optics(options, side_px, pixel_size_m)
    if known.notes and known.object_pixel_size_m is not None:
        raise ProbeMismatchError(f"{options.probe_file}: {known.notes[-1]}")
    return probe, pixel_size_m


class ModelLoader:
    """Makes models; ``wrap`` is called with each pair before it is used."""

    def __init__(self, config: Config, device: torch.device, wrap: Callable[[Models], Models]) -> None:
        self._config = config
        self._device = device
        self._wrap = wrap

    def load(self, name: str, probe: torch.Tensor) -> ActiveModel:
        """Return the model of a bundle, given by name or path, for a probe; ``none`` is the lift alone."""
        path = find_bundle(name)
        bundle = None if path is None else read_bundle(path)
        return self._model_of(bundle, Path(name) if path is None else path, probe)

    def with_probe(self, model: ActiveModel, probe: NDArray[np.complex64]) -> ActiveModel:
        """Return a model for another probe ``(modes, N, N)``."""
        return self.of_bundle(model.bundle, probe)

    def of_bundle(self, bundle: Bundle | None, probe: NDArray[np.complex64]) -> ActiveModel:
        """Return the model of a bundle that has been read, None for the lift alone, for a probe ``(modes, N, N)``."""
        return self._model_of(bundle, Path(self._config.model.bundle), self.on_device(probe))

    def on_device(self, probe: NDArray[np.complex64]) -> torch.Tensor:
        """Return a probe on the device."""
        return torch.from_numpy(np.ascontiguousarray(probe, dtype=np.complex64)).to(self._device)

    def _model_of(self, bundle: Bundle | None, path: Path, probe: torch.Tensor) -> ActiveModel:
        sharp: Model | None = None
        if bundle is not None:
            sharp, refused = with_dtype(
                model_for(build_network(bundle, path), bundle, path, probe, self._config.model.gridsize),
                self._config.model.dtype,
            )
            if refused:
                log.warning("the model %s stays in float32: %s", bundle.name, refused)
        quick = Lift(probe, projections=self._config.model.projections)
        return ActiveModel(bundle, self._wrap(Models(quick, sharp)), probe)
