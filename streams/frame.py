"""The items of the streams: frames, positions, scan starts and ends, and the scan point, a frame with its position.

Each item is identified by ``(scan_id, index)``. Positions are ``(y, x)`` in metres. Patterns are photon counts in the
orientation of the detector, with the zero frequency in the middle; orientation and crop are applied later.

Nobody changes an item. Frames and scan points are not frozen because that doubles the time in which one is made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FARTHEST_M = 10.0
"""Largest coordinate of a position, metres; no stage travels farther."""


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
        """Whether this can be a place on a stage: finite, and at most 10 m from the origin on each axis."""
        return abs(self.y) <= FARTHEST_M and abs(self.x) <= FARTHEST_M


MOVING = PositionM(math.inf, -math.inf)
"""In place of the position of a frame during which the stage moved too far; a table keeps it apart from other bad ones."""


@dataclass(frozen=True, slots=True, eq=False)
class StreamGeometry:
    """The detector and beam parameters in a stream's header, in the detector's own frame; ``None`` if not given.

    Each number is finite and positive. Arrays are ``(rows, columns)`` of the whole frame, read-only.

    Attributes
    ----------
    detector_pixel_size_m
        ``(y, x)``, metres.
    beam_center_px
        ``(row, column)``, in pixels, fractions allowed.
    saturation
        Largest valid count.
    mask
        bool, True where a pixel is bad.
    flatfield
        float32, factors for the counts; ``None`` also if the detector has applied them already.
    frame_shape, frame_dtype
        ``(rows, columns)`` and dtype of the frames to come.
    frame_time_s
        Time from one frame to the next.
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

    ``metadata`` is plain data under the sender's names; ``geometry`` is the part of it that this program uses; ``notes`` has
    one sentence for each field of the header that is not used, with the cause.
    """

    scan_id: str
    expected_frames: int | None = None
    metadata: dict[str, object] = field(default_factory=dict)
    geometry: StreamGeometry = field(default=NO_GEOMETRY, compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class ScanEnd:
    """The sender has sent the last frame of a scan."""

    scan_id: str


@dataclass(slots=True)
class Frame:
    """One decoded diffraction frame: ``counts`` ``(rows, columns)`` of an unsigned or float dtype, photons.

    ``position_m`` is set when the message carried it. ``received_ns`` is ``time.monotonic_ns`` at receipt.
    ``exposed_s`` is the start of the exposure, seconds on the detector's clock, if the message gives it; a dark frame
    has no count in any pixel.
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

    ``time_s`` is its time, seconds since the source began, and ``light`` the beam monitor's mean over the frame, if the source
    gives them.
    """

    scan_id: str | None
    index: int
    position_m: PositionM
    time_s: float | None = None
    light: float | None = None


@dataclass(frozen=True, slots=True)
class FileDataset:
    """A dataset that a run writes: its data key, the path of its HDF5 file, its ``name`` there."""

    key: str
    path: str
    name: str


@dataclass(frozen=True, slots=True)
class FileSamples:
    """Samples to read: rows ``start`` to ``stop`` of a dataset are the samples of one axis from number ``first`` on.

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
    """The content of one message of a source that numbers its samples and does not know the detector's scan names.

    Attributes
    ----------
    positions
        Positions of frames that are complete with this message; their ``scan_id`` is ``None``.
    begins, ends
        Whether a run of the source began before these positions, and whether they are its last.
    samples
        Samples that the source has taken since the run began, as far as is known here.
    samples_lost
        Samples of these that never arrived.
    samples_per_frame
        The configured number.
    fault
        The fault of the source, as a sentence.
    run
        The description of the run by the source, plain data; ``None`` if there is none.
    run_id
        The run's name, if the source names its runs; such runs may lie within one another.
    to_keep
        The facts that the reader needs to continue the run after a restart, plain data; ``None`` if nothing is new.
    wanted
        Samples to read from files; the positions are known after that.
    is_silent
        Whether the message contains nothing about positions or runs.
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
        """Return these and later news of the same run as one item."""
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


@dataclass(slots=True)
class ScanPoint:
    """A frame and its position, joined: ``counts`` as in :class:`Frame`."""

    scan_id: str
    index: int
    counts: NDArray[Any]
    position_m: PositionM
    received_ns: int
