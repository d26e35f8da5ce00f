"""Files and folders that the configuration names: mask, flat field, positions, token, output."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daemon.config import Detector, Positions
from daemon.errors import ConfigError
from daemon.files.positions_file import read_positions
from ptychopinn.detector.geometry import crop
from ptychopinn.errors import FileFormatError
from streams.position_sources.positions import raster_positions, spiral_positions


def read_mask(detector: Detector) -> NDArray[np.bool_] | None:
    """Return the configured mask ``(rows, columns)`` of the oriented frame or of the pattern, if there is one."""
    if detector.mask_file is None:
        return None
    mask = np.asarray(_read_array(detector.mask_file, "mask") != 0)
    if mask.shape != (detector.size_px, detector.size_px) and detector.center_px != "auto":
        crop(mask, detector.center_px, detector.size_px, detector.binning)
    return mask


def read_flatfield(detector: Detector) -> NDArray[np.float32] | None:
    """Return the configured flat field ``(rows, columns)`` of the oriented frame, if there is one."""
    if detector.flatfield_file is None:
        return None
    flatfield = _read_array(detector.flatfield_file, "flat field").astype(np.float32)
    if detector.center_px != "auto":
        crop(flatfield, detector.center_px, detector.size_px, detector.binning)
    return flatfield


def known_positions(options: Positions) -> NDArray[np.float64] | None:
    """Return the positions ``(n, 2)``, metres, of a raster, a spiral or a file; None where they come in a stream."""
    if options.source == "raster" and options.shape is not None and options.step_m is not None:
        positions_m = raster_positions(options.shape, options.step_m, options.snake)
    elif options.source == "spiral" and options.count is not None and options.step_m is not None:
        positions_m = spiral_positions(options.count, options.step_m)
    elif options.source == "file" and options.file is not None:
        positions_m = read_positions(options.file)
    else:
        return None
    return np.asarray(positions_m * np.array(options.factors_m))


def make_folder(folder: Path, key: str, remedy: str) -> None:
    """Make a folder of ``[output]`` ``key``; raises ConfigError where it cannot be made or written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise ConfigError(f"[output] {key} {folder} cannot be made ({fault.strerror}); {remedy}") from fault
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"[output] {key} {folder} cannot be written to; {remedy}")


def read_token(path: Path | None) -> str | None:
    """Return the first line of the file with the HTTP token, if there is one."""
    if path is None:
        return None
    try:
        token = path.read_text(encoding="utf-8").split("\n", 1)[0].strip()
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigError(f"[http] token_file {path} cannot be read: {fault}") from fault
    if not token:
        raise ConfigError(f"[http] token_file {path} is empty; write a token into its first line")
    return token


def _read_array(path: Path, what: str) -> NDArray[Any]:
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as fault:
        raise FileFormatError(f"{path} is not an NPY {what} ({fault}); write one with numpy.save") from fault
    if not isinstance(found, np.ndarray) or found.ndim != 2 or found.dtype.kind not in "buif":
        raise FileFormatError(f"{path} holds no {what} of (rows, columns); write one with numpy.save")
    return found
