"""What travels through the streams: frames, positions, scan starts and ends, and their union, the scan point.

Everything is keyed by ``(scan_id, index)`` from the first byte on. Positions are ``(y, x)`` in metres. Patterns are
photon counts with the zero frequency in the middle, as the detector reports them (orientation and crop come later).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FARTHEST_M = 10.0


class PositionM(NamedTuple):
    """A scan position, metres, ``(y, x)``."""

    y: float
    x: float

    @property
    def is_finite(self) -> bool:
        """Whether both coordinates are finite numbers."""
        return math.isfinite(self.y) and math.isfinite(self.x)

    @property
    def is_place(self) -> bool:
        """Whether this can be a place on a stage: finite, and within 10 m of the origin."""
        return abs(self.y) <= FARTHEST_M and abs(self.x) <= FARTHEST_M


@dataclass(frozen=True, slots=True, eq=False)
class StreamGeometry:
    """What a stream's header says of detector and beam, in the detector's own frame; ``None`` where it says nothing.

    Each number is finite and positive. Arrays are ``(rows, columns)`` of the whole frame, read-only.

    Attributes
    ----------
    detector_pixel_size_m
        ``(y, x)``, metres.
    beam_center_px
        ``(row, column)``, in pixels, fractions allowed.
    saturation
        Greatest valid count.
    mask
        bool, True where a pixel is bad.
    flatfield
        float32, factor by which counts still have to be multiplied; ``None`` also where the detector has done it.
    frame_shape, frame_dtype
        ``(rows, columns)`` and dtype of the frames to come.
    frame_time_s
        From one frame to the next.
    """

    photon_energy_eV: float | None = None  # noqa: N815
    detector_distance_m: float | None = None
    detector_pixel_size_m: tuple[float, float] | None = None
    beam_center_px: tuple[float, float] | None = None
    saturation: float | None = None
    mask: NDArray[np.bool_] | None = None
    flatfield: NDArray[np.float32] | None = None
    frame_shape: tuple[int, int] | None = None
    frame_dtype: np.dtype[Any] | None = None
    frame_time_s: float | None = None


NO_GEOMETRY = StreamGeometry()


@dataclass(frozen=True, slots=True)
class ScanStart:
    """A scan begins. ``expected_frames`` is ``None`` when the sender does not know.

    ``metadata`` is plain data, under the sender's own names; ``geometry`` is what of it this program uses; ``notes`` say what
    of the header is not taken, and why, one sentence each.
    """

    scan_id: str
    expected_frames: int | None = None
    metadata: dict[str, object] = field(default_factory=dict)
    geometry: StreamGeometry = field(default=NO_GEOMETRY, compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class ScanEnd:
    """The sender says that it has sent the last frame of a scan."""

    scan_id: str


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded diffraction frame: ``counts`` ``(rows, columns)`` of an unsigned or float dtype, photons.

    ``position_m`` is set when the message carried it. ``received_ns`` is ``time.monotonic_ns`` at receipt.
    ``exposed_s`` is when the exposure began, seconds on the detector's own clock, where the message says it; a dark
    frame has no count in any pixel.
    """

    scan_id: str
    index: int
    counts: NDArray[Any]
    received_ns: int
    position_m: PositionM | None = None
    exposed_s: float | None = None
    is_dark: bool = False


@dataclass(frozen=True, slots=True)
class Position:
    """The position of one frame; ``scan_id`` ``None`` means the scan that is open when it arrives.

    ``time_s`` is when it was taken, seconds since the source began, where the source says it.
    """

    scan_id: str | None
    index: int
    position_m: PositionM
    time_s: float | None = None


@dataclass(frozen=True, slots=True)
class FileDataset:
    """A dataset that a run writes: the data key that it holds, the path of its HDF5 file, the dataset's ``name``."""

    key: str
    path: str
    name: str


@dataclass(frozen=True, slots=True)
class FileSamples:
    """Samples to be read: rows ``start`` to ``stop`` of a dataset are the samples from ``first`` on of one axis.

    ``run`` is the run's uid, ``axis`` 0 for y and 1 for x.
    """

    run: str
    axis: int
    first: int
    dataset: FileDataset
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class PositionNews:
    """What one message says of a source that numbers its samples and knows no scan by the detector's name.

    Attributes
    ----------
    positions
        Frames' positions that are complete with this message; their ``scan_id`` is ``None``.
    begins, ends
        Whether the source began anew before these positions, and whether they are its last.
    samples
        Samples that the source has taken since it began, as far as this end knows.
    samples_lost
        Of which this many never came.
    samples_per_frame
        As configured.
    fault
        What is wrong with the source, in words.
    run
        What the source's run says of itself, plain data; ``None`` where it says nothing.
    run_id
        The run's own name, where the source names its runs and they may lie within one another.
    to_keep
        What the reader has to be given to go on with the run after a restart, plain data; ``None`` where nothing is new.
    wanted
        Samples to be read from files before the positions are known.
    is_silent
        Whether the message says nothing of positions or runs.
    """

    positions: list[Position] = field(default_factory=list)
    begins: bool = False
    ends: bool = False
    samples: int = 0
    samples_lost: int = 0
    samples_per_frame: int = 1
    fault: str | None = None
    run: dict[str, object] | None = None
    run_id: str | None = None
    to_keep: dict[str, object] | None = None
    wanted: list[FileSamples] = field(default_factory=list)
    is_silent: bool = False

    def joined(self, later: Sequence[PositionNews]) -> PositionNews:
        """Return these and later news of the same run as one."""
        if not later:
            return self
        news = (self, *later)
        return replace(
            later[-1],
            positions=[position for each in news for position in each.positions],
            wanted=[each for some in news for each in some.wanted],
            begins=any(each.begins for each in news),
            ends=any(each.ends for each in news),
            fault=next((each.fault for each in news if each.fault is not None), None),
            run=next((each.run for each in news if each.run is not None), None),
            to_keep=next((each.to_keep for each in reversed(news) if each.to_keep is not None), None),
        )


@dataclass(frozen=True, slots=True)
class ScanPoint:
    """A frame and its position, joined: ``counts`` as in :class:`Frame`."""

    scan_id: str
    index: int
    counts: NDArray[Any]
    position_m: PositionM
    received_ns: int
