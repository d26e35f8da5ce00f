"""Leaves unusable frames out of a scan, with one sentence for each reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daemon.files.doubts import doubt, wrong
from daemon.files.scan import ScanFile
from daemon.files.shapes import ranges
from ptychopinn.detector.invalid_pixels import holds_mark
from ptychopinn.errors import FileFormatError

ENOUGH_PHOTONS = 20.0
"""Median photons of the other frames from which a frame without photons is not chance (probability e^-20)."""


def without_lost_frames(scan: ScanFile, path: Path) -> ScanFile:
    """Return ``scan`` without frames that are missing in the file, hold no photons, or have no finite position.

    Raises
    ------
    FileFormatError
        If no frame is left.
    """
    if scan.absent is not None:
        there = np.flatnonzero(scan.absent == 0)
        if there.size == 0:
            raise FileFormatError(f"{path}: holds none of its frames: {'; '.join(one.text for one in scan.doubts)}")
        scan = _only(scan, there)
    scan = lit_frames(scan)
    positions = scan.positions_px if scan.positions_m is None else scan.positions_m
    if positions is None:
        return scan
    known = np.asarray(np.isfinite(positions).all(axis=1), dtype=bool)
    if known.all():
        return scan
    if not known.any():
        raise FileFormatError(f"{path}: no frame has a position with its index; check the indexes of the positions")
    said = f"{int((~known).sum())} frames without a position were left out"
    return replace(_only(scan, known), doubts=(*scan.doubts, doubt("positions", said)))


def lit_frames(scan: ScanFile) -> ScanFile:
    """Return ``scan`` without frames that hold no photons, unless the other frames are so weak that this may be chance."""
    held = np.array([_photons(frame, scan.mask) for frame in scan.counts])
    lit: NDArray[np.bool_] = held > 0
    if lit.all():
        return scan
    if not lit.any():
        none = wrong("patterns", "no frame holds any photons; check file and mask")
        return scan if none in scan.doubts else replace(scan, doubts=(*scan.doubts, none))
    said = f"{int((~lit).sum())} of {len(lit)} frames hold no photons ({ranges(~lit)})"
    if not float(np.median(held[lit])) >= ENOUGH_PHOTONS:
        return replace(scan, doubts=(*scan.doubts, doubt("patterns", said)))
    return _only(replace(scan, doubts=(*scan.doubts, doubt("missing", f"{said} and were left out"))), lit)


def _photons(frame: NDArray[Any], mask: NDArray[np.bool_] | None) -> float:
    lost = holds_mark(frame)
    if mask is not None:
        lost |= mask
    return float(np.sum(frame, where=~lost, dtype=np.float64))


def _only(scan: ScanFile, kept: NDArray[Any]) -> ScanFile:
    """Return ``scan`` with some of its frames."""
    return replace(
        scan,
        counts=scan.counts[kept],
        indexes=scan.indexes[kept],
        positions_m=None if scan.positions_m is None else scan.positions_m[kept],
        positions_px=None if scan.positions_px is None else scan.positions_px[kept],
        absent=None,
    )
