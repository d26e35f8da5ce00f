"""Reading the journal of a scan without the daemon: frame by frame, or as one scan. Used by verbs and training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from daemon.files import ScanFile
from daemon.files.completion import completed
from daemon.journal.folder import CLOSED_NAME
from daemon.journal.keeper import NOTED_OPTICS
from daemon.journal.patterns import unpack
from daemon.journal.record import Kind, Record, positions_of, read_records
from daemon.journal.scan_log import bytes_of, segments
from daemon.journal.start import stored_start
from ptychopinn.detector.geometry import to_amplitude
from ptychopinn.errors import FileFormatError
from streams.errors import CodecError
from streams.frame import PositionM

if TYPE_CHECKING:
    from ptychopinn.mosaic.groups import GroupFrame


@dataclass(frozen=True, slots=True, eq=False)
class StoredFrame:
    """A frame of a journal: ``counts`` ``(N, N)``, cropped; the position if it is known."""

    index: int
    counts: NDArray[Any]
    position_m: PositionM | None


@dataclass(frozen=True, slots=True)
class JournalSummary:
    """Contents of a scan's journal; object pixel and optics as the daemon used them."""

    scan_id: str
    started: str
    expected: int | None
    frames: int
    refused: int
    bytes: int
    is_closed: bool
    object_pixel_size_m: float | None = None
    photon_energy_eV: float | None = None  # noqa: N815
    detector_distance_m: float | None = None


def is_journal(path: Path) -> bool:
    """Whether a path is the journal of one scan."""
    return path.is_dir() and bool(segments(path))


def journals(folder: Path) -> list[Path]:
    """Return the scans' folders in a folder of journals, the oldest first."""
    found = [path for path in folder.glob("[!.]*") if is_journal(path)]
    return sorted(found, key=lambda path: segments(path)[0].stat().st_mtime)


def summary(folder: Path) -> JournalSummary:
    """Return the contents of a scan's journal; the frames are counted, not read."""
    started, expected, optics, seen, refused = "", None, dict[str, float | None](), set[int](), 0
    for record in _records(folder, pixels=False):
        if record.kind == Kind.START:
            stored = stored_start(folder.name, record)
            started, expected = stored.started, stored.start.expected_frames
        elif record.kind == Kind.FRAME:
            seen.add(record.index)
        elif record.kind == Kind.REFUSED:
            refused += 1
        elif record.kind == Kind.NOTE:
            optics |= record.plain().get("optics", {})
    return JournalSummary(
        scan_id=folder.name,
        started=started,
        expected=expected,
        frames=len(seen),
        refused=refused,
        bytes=bytes_of(folder),
        is_closed=(folder / CLOSED_NAME).exists(),
        **{name: optics.get(name) for name in NOTED_OPTICS},
    )


def frames(folder: Path) -> Iterator[StoredFrame]:
    """Yield the frames of a scan's journal in order of arrival, each index once; damaged ones are left out.

    Positions of a separate stream are read first, so each frame has its position if it is known.
    """
    positions: dict[int, PositionM] = {}
    for record in _records(folder, pixels=False):
        if record.kind == Kind.POSITIONS:
            positions.update(positions_of(record.payload))
    seen: set[int] = set()
    for record in _records(folder, pixels=True):
        if record.packed is None or record.index in seen:
            continue
        try:
            counts = unpack(record.packed)
        except CodecError:
            continue
        seen.add(record.index)
        yield StoredFrame(record.index, counts, record.position_m or positions.get(record.index))


def group_frames(folder: Path, pixel_size_m: float) -> Iterator[GroupFrame]:
    """Yield the frames of a journal that have a position, as :class:`ptychopinn.data.StreamDataset` trains on them.

    Parameters
    ----------
    pixel_size_m
        Object pixel, m; :func:`summary` returns the one that the daemon used.
    """
    from ptychopinn.mosaic.groups import GroupFrame  # here, since it needs torch and the other readers do not

    for frame in frames(folder):
        if frame.position_m is not None:
            y_m, x_m = frame.position_m
            amplitude = to_amplitude(frame.counts[None], None, None)[0]
            yield GroupFrame(frame.index, amplitude, (y_m / pixel_size_m, x_m / pixel_size_m))


def read_journal(folder: Path) -> ScanFile:
    """Return a scan from its journal, frames ordered by index; those without a position are left out.

    Raises
    ------
    FileFormatError
        If no frame of it can be used.
    """
    try:
        found = sorted(frames(folder), key=lambda frame: frame.index)
        about = summary(folder)
    except (OSError, ValueError) as fault:
        raise FileFormatError(f"{folder}: the journal cannot be read: {fault}") from fault
    if len({(frame.counts.shape, frame.counts.dtype) for frame in found}) != 1:
        raise FileFormatError(f"{folder}: the journal has no frames, or frames of several shapes")
    nowhere = (np.nan, np.nan)
    scan = ScanFile(
        name=folder.name,
        counts=np.stack([frame.counts for frame in found]),
        indexes=np.array([frame.index for frame in found], dtype=np.int64),
        positions_m=np.array([frame.position_m or nowhere for frame in found], dtype=np.float64),
        photon_energy_eV=about.photon_energy_eV,
        detector_distance_m=about.detector_distance_m,
        object_pixel_size_m=about.object_pixel_size_m,
    )
    return completed(scan, folder)


def _records(folder: Path, *, pixels: bool) -> Iterator[Record]:
    for path in segments(folder):
        for _, record in read_records(path, pixels=pixels):
            yield record
