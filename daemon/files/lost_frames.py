"""Frames that cannot be used are left out of a scan, each kind said in one sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from daemon.files.doubts import doubt, wrong
from daemon.files.shapes import ranges
from ptychopinn.errors import FileFormatError

if TYPE_CHECKING:
    from daemon.files.scan import ScanFile

ENOUGH_PHOTONS = 20.0
"""Photons of the other frames from which a frame without any is no chance: e^-20."""


def without_lost_frames(scan: ScanFile, path: Path) -> ScanFile:
    """Return ``scan`` without frames that the file lacks, that hold no photon, or that have no finite position.

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
    scan = _lit(scan)
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


def _lit(scan: ScanFile) -> ScanFile:
    good: NDArray[np.bool_] = np.ones(scan.counts.shape[1:], bool) if scan.mask is None else ~scan.mask
    lit = np.array([bool((frame[good] > 0).any()) for frame in scan.counts], dtype=bool)
    if lit.all():
        return scan
    dark = int((~lit).sum())
    if not lit.any():
        return replace(scan, doubts=(*scan.doubts, wrong("patterns", "no frame holds a photon; check file and mask")))
    held = scan.counts[lit][:, good].sum(axis=1, dtype=np.float64)
    said = f"{dark} of {len(lit)} frames hold no photon ({ranges(~lit)})"
    if not float(np.median(held)) >= ENOUGH_PHOTONS:
        return replace(scan, doubts=(*scan.doubts, doubt("patterns", said)))
    return _only(replace(scan, doubts=(*scan.doubts, doubt("missing", f"{said} and were left out"))), lit)


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
