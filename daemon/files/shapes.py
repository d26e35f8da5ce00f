"""Shapes of patterns and positions: the axes of a raster are joined, axes of length 1 removed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from daemon.files.doubts import Doubt, doubt, note, wrong
from daemon.files.missing import gaps
from daemon.files.whole import whole
from ptychopinn.errors import FileFormatError

VECTORS = (2, 3)


@dataclass(slots=True, eq=False)
class Frames:
    """Patterns ``(n, H, W)`` as read; ``raster`` their leading axes; ``absent`` frames and ``bad`` pixels are missing."""

    counts: NDArray[Any]
    raster: tuple[int, ...]
    absent: NDArray[np.bool_] | None = None
    bad: NDArray[np.bool_] | None = None
    doubts: list[Doubt] = field(default_factory=list)


def frames_in_line(path: Path, array: NDArray[Any]) -> Frames:
    """Return patterns with any leading axes as ``(n, H, W)``, a raster row by row."""
    if array.ndim < 2 or array.size == 0:
        raise FileFormatError(f"{path}: patterns have shape {array.shape}; write them as (frames, rows, columns)")
    raster = tuple(length for length in array.shape[:-2] if length > 1)
    found = Frames(array.reshape(-1, *array.shape[-2:]), raster)
    if len(raster) > 1:
        found.doubts.append(note("shapes", f"the raster of {' x '.join(map(str, raster))} frames was read row by row"))
    return found


def read_frames(dataset: h5py.Dataset, path: Path) -> Frames:
    """Return the patterns of a data set, and the missing frames and pixels."""
    found = frames_in_line(path, whole(dataset))
    lost = gaps(dataset) if dataset.ndim >= 2 else None
    if lost is None or not (lost.frames.any() or lost.pixels.any()):
        return found
    why = ", ".join(lost.reasons) or "the file names no source for them"
    weigh = doubt if list(lost.reasons) == ["never written"] else wrong
    if lost.frames.any():
        said = f"{int(lost.frames.sum())} of {len(lost.frames)} frames are missing ({ranges(lost.frames)}): {why}"
        found.doubts.append(weigh("missing", said))
        found.absent = lost.frames
    if lost.pixels.any():
        found.bad = lost.pixels
        found.doubts.append(wrong("missing", f"{int(lost.pixels.sum())} pixels of each frame are missing: {why}"))
    return found


def vectors(path: Path, array: NDArray[Any], what: str) -> NDArray[np.float64]:
    """Return positions with any leading axes as ``(n, 2)`` or ``(n, 3)``."""
    values = np.asarray(array, dtype=np.float64)
    while values.ndim > 2 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim < 2 or values.shape[-1] not in VECTORS:
        raise FileFormatError(f"{path}: {what} has shape {array.shape}; write (frames, 3) as [x, y, z]")
    return values.reshape(-1, values.shape[-1])


def along_raster(
    values: NDArray[Any], frames: int, raster: tuple[int, ...], is_fast: bool
) -> NDArray[np.float64] | None:
    """Return one value for each frame: as given, or one axis of the raster repeated along the other; ``None`` if neither fits."""
    line = np.asarray(values, dtype=np.float64).ravel()
    if line.size == frames:
        return line
    if len(raster) == 2 and line.size == raster[int(is_fast)] and line.size > 1:
        return np.tile(line, raster[0]) if is_fast else np.repeat(line, raster[1])
    return None


def ranges(flags: NDArray[np.bool_], shown: int = 4) -> str:
    """Return the places of true flags as numbers and ranges: ``3, 7 to 9``."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    runs = [f"{low}" if low == high - 1 else f"{low} to {high - 1}" for low, high in edges.reshape(-1, 2)]
    return ", ".join(runs[:shown]) + (f" and {len(runs) - shown} more ranges" if len(runs) > shown else "")
