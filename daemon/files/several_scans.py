"""Several scans in one training file: ``scan_index`` tells the scan of each frame. Files of other formats hold one scan."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from daemon.files.access import open_arrays
from daemon.files.scan import ScanFile
from ptychopinn.contract.training_rules import scans_in
from ptychopinn.errors import FileFormatError


class SeveralScansError(FileFormatError):
    """The file holds several scans, and none was selected."""


def scans_of(path: Path | str) -> int:
    """Return the number of scans in a file from its ``scan_index`` alone; 1 without one, or where it cannot be read."""
    with suppress(FileFormatError), open_arrays(Path(path)) as opened:
        if isinstance(opened, NpzFile) and "scan_index" in opened.files:
            index = np.asarray(opened["scan_index"])
            found = scans_in(index, index.size)
            return 1 if found is None else len(np.unique(found))
    return 1


@dataclass(frozen=True, slots=True, eq=False)
class FileContent:
    """All scans of a file, read once; ``index`` is the scan of each frame, None for a single scan."""

    whole: ScanFile
    index: NDArray[np.int64] | None
    path: Path

    @property
    def scans(self) -> int:
        """Number of scans."""
        return 1 if self.index is None else len(np.unique(self.index))

    def scan(self, number: int | None) -> ScanFile:
        """Return the frames of the scan ``number``, from 0; if several scans are in the file, it must be given."""
        if self.index is None:
            refuse_other_scans(self.path, number)
            return self.whole
        names = np.unique(self.index)
        if number is None:
            raise SeveralScansError(
                f"{self.path}: holds {len(names)} scans (scan_index) and one is needed; give --scan to predict, refine or "
                "convert (convert writes it into a file of its own)"
            )
        refuse_other_scans(self.path, number, len(names))
        return _part(self.whole, np.flatnonzero(self.index == names[number]), f"{self.whole.name}-scan{number}")


def _part(scan: ScanFile, chosen: NDArray[np.intp], name: str) -> ScanFile:
    metres, pixels = (_chosen(points, chosen, len(scan.counts)) for points in (scan.positions_m, scan.positions_px))
    return replace(
        scan,
        name=name,
        counts=scan.counts[chosen],
        indexes=scan.indexes[chosen],
        positions_m=metres,
        positions_px=pixels,
    )


def refuse_other_scans(path: Path, number: int | None, scans: int = 1) -> None:
    """Refuse the number of a scan that the file does not hold."""
    if number is not None and number >= scans:
        raise FileFormatError(f"{path}: there is no scan {number} of {scans} (from 0); give a smaller --scan")


def _chosen(points: NDArray[np.float64] | None, chosen: NDArray[np.intp], frames: int) -> NDArray[np.float64] | None:
    """Return the positions of the chosen frames, not a number where there is none."""
    if points is None:
        return None
    fitted = np.full((frames, 2), np.nan)
    fitted[: len(points)] = points[:frames]
    return fitted[chosen]
