"""What travels through the streams: frames, positions, scan starts and ends, and their union, the scan point.

Everything is keyed by ``(scan_id, index)`` from the first byte on. Positions are ``(y, x)`` in metres. Patterns are
photon counts with the zero frequency in the middle, as the detector reports them (orientation and crop come later).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from numpy.typing import NDArray


class PositionM(NamedTuple):
    """A scan position, metres, ``(y, x)``."""

    y: float
    x: float

    @property
    def is_finite(self) -> bool:
        """Whether both coordinates are finite numbers."""
        return math.isfinite(self.y) and math.isfinite(self.x)


@dataclass(frozen=True, slots=True)
class ScanStart:
    """A scan begins. ``expected_frames`` is ``None`` when the sender does not know; ``metadata`` is plain data."""

    scan_id: str
    expected_frames: int | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScanEnd:
    """The sender says that it has sent the last frame of a scan."""

    scan_id: str


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded diffraction frame: ``counts`` ``(rows, columns)`` of an unsigned or float dtype, photons.

    ``position_m`` is set when the message carried it. ``received_ns`` is ``time.monotonic_ns`` at receipt.
    """

    scan_id: str
    index: int
    counts: NDArray[Any]
    received_ns: int
    position_m: PositionM | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """The position of one frame; ``scan_id`` ``None`` means the scan that is open when it arrives."""

    scan_id: str | None
    index: int
    position_m: PositionM


@dataclass(frozen=True, slots=True)
class ScanPoint:
    """A frame and its position, joined: ``counts`` as in :class:`Frame`."""

    scan_id: str
    index: int
    counts: NDArray[Any]
    position_m: PositionM
    received_ns: int
