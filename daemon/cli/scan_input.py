"""What ``refine``, ``predict`` and ``replay`` need of a scan's file, or one sentence on what it lacks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import typer
from numpy.typing import NDArray

from daemon.files import ProbeFile, ScanFile, Severity, read_probe, read_scan
from daemon.journal.reading import is_journal, read_journal
from ptychopinn.errors import FileFormatError, ProbeMismatchError


def read_data(path: Path) -> ScanFile:
    """Return the scan in a file, or in the journal of a daemon. Raises :class:`FileFormatError`."""
    return read_journal(path) if is_journal(path) else read_scan(path)


def say_doubts(scan: ScanFile, path: Path) -> None:
    """Say on stderr what is doubtful about a scan's file, for verbs that end with no verdict of their own."""
    for one in scan.doubts:
        if one.severity is not Severity.NOTE:
            typer.echo(f"{path}: {one.text}", err=True)


def probe_of(scan: ScanFile, data: Path, path: Path | None) -> ProbeFile:
    """Return the probe in ``path``, or else the scan's own; it has the patterns' size."""
    if path is None and scan.probe is None:
        raise FileFormatError(f"{data} holds no probe; give one with --probe")
    if path is not None:
        found = read_probe(path)
    else:
        found = ProbeFile(np.asarray(scan.probe), scan.object_pixel_size_m, scan.name)
    side, pattern = found.probe.shape[-1], scan.counts.shape[-2:]
    if pattern != (side, side):
        raise ProbeMismatchError(
            f"the probe of {path or data} is {side} px but the patterns are {pattern[0]} x {pattern[1]} px; "
            "crop one to the other"
        )
    return found


def positions_of(scan: ScanFile, data: Path, pixel_size_m: float | None) -> tuple[NDArray[np.float64], float]:
    """Return positions ``(n, 2)`` in pixels, and the object pixel in metres."""
    size_m = pixel_size_m or scan.object_pixel_size_m
    if size_m is None:
        raise FileFormatError(f"{data} does not give the object pixel; give it with --pixel-size")
    if scan.positions_m is not None:
        return scan.positions_m / size_m, size_m
    if scan.positions_px is None:
        raise FileFormatError(f"{data} holds no positions; one for each frame is needed")
    return scan.positions_px, size_m
