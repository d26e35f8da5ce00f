"""Reads scan, probe and positions from a data file; one sentence says what is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import typer
from numpy.typing import NDArray

from daemon.files import ProbeFile, ScanFile, Severity, read_probe, read_scan
from daemon.files.completion import completed
from daemon.files.product import UNKNOWN_PIXEL_SIZE_M
from daemon.files.scan_file import read_content
from daemon.files.several_scans import FileContent, refuse_other_scans
from daemon.journal.reading import is_journal, read_journal
from ptychopinn.errors import FileFormatError, ProbeMismatchError


def read_data(path: Path, scan_number: int | None = None) -> ScanFile:
    """Return the scan in a file or in a journal; ``scan_number`` selects one of several. Raises :class:`FileFormatError`."""
    if not is_journal(path):
        return read_scan(path, scan_number=scan_number)
    refuse_other_scans(path, scan_number)
    return read_journal(path)


class ScanReader:
    """Reads scans one after another; the file of several scans is read once, and kept until its last one."""

    def __init__(self) -> None:
        self._content: FileContent | None = None

    def read(self, path: Path, number: int | None) -> ScanFile:
        """Return the scan in a file or in a journal, by its number if there are several."""
        if number is None or is_journal(path):
            return read_data(path, number)
        if self._content is None or self._content.path != path:
            self._content = None  # before the next file comes into memory
            self._content = read_content(path)
        content = self._content
        if number + 1 >= content.scans:
            self._content = None
        return completed(content.scan(number), path)


def print_doubts(scan: ScanFile, path: Path) -> None:
    """Print doubts about a data file on stderr, for verbs without a verdict of their own."""
    for one in scan.doubts:
        if one.severity is not Severity.NOTE:
            typer.echo(f"{path}: {one.text}", err=True)


def probe_of(scan: ScanFile, data: Path, path: Path | None) -> ProbeFile:
    """Return the probe in ``path`` or, without it, the one in the data file. Its size is that of the patterns."""
    if path is None and scan.probe is None:
        raise FileFormatError(f"{data} contains no probe; give one with --probe")
    if path is not None:
        found = read_probe(path)
    else:
        found = ProbeFile(np.asarray(scan.probe), scan.object_pixel_size_m, scan.name)
    side, pattern = found.probe.shape[-1], scan.counts.shape[-2:]
    if pattern != (side, side):
        raise ProbeMismatchError(
            f"the probe in {path or data} has {side} x {side} px but the patterns have {pattern[0]} x {pattern[1]} px; "
            "crop one to the size of the other"
        )
    return found


def positions_of(scan: ScanFile, data: Path, pixel_size_m: float | None) -> tuple[NDArray[np.float64], float]:
    """Return positions ``(n, 2)``, pixels, and the size of the object pixel, m.

    A file that gives positions in pixels needs no pixel size: it is then :data:`UNKNOWN_PIXEL_SIZE_M`.
    """
    size_m = pixel_size_m or scan.object_pixel_size_m
    if size_m is None and scan.positions_px is not None:
        return scan.positions_px, UNKNOWN_PIXEL_SIZE_M
    if size_m is None:
        raise FileFormatError(f"{data} does not state the size of the object pixel; give it with --pixel-size")
    if scan.positions_m is not None:
        return scan.positions_m / size_m, size_m
    if scan.positions_px is None:
        raise FileFormatError(f"{data} contains no positions; one for each frame is required")
    return scan.positions_px, size_m
