"""Checks whether a scan can be reconstructed: it has photons, and its object fits into memory."""

from __future__ import annotations

import math
import resource
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import GeometryError

if TYPE_CHECKING:
    from torch import Tensor

MAX_AREA_PX = 1 << 28
"""Greatest number of pixels of an object: a square of 16384, 0.8 mm at 50 nm per pixel; scans are smaller."""
MOST_BRIGHT = 100.0
"""Sum of a frame's amplitudes over the median of others': 10^4 times their counts. Beams flicker by 10, absorbers by 100."""
BYTES_PER_PX = 64
"""Greatest memory per pixel of an object, bytes: exact sums of two looks in float64, and copies of them."""
SMALLEST_SPAN_PX, FEWEST_FRAMES = 0.5, 4
"""Span below which frames lie on one pixel, px; number of frames from which that is a mistake and not a test shot."""
NO_PHOTON = "the patterns have no photons; check the file and its mask"


def check_extent(positions_px: NDArray[np.float64], side_px: int, bytes_per_px: int = BYTES_PER_PX) -> None:
    """Raise an error if the object of patches at positions ``(n, 2)`` is too large; positions that are not finite are ignored.

    Raises
    ------
    GeometryError
        If the object has more than :data:`MAX_AREA_PX` pixels, or needs more memory than there is.
    """
    known = positions_px[np.isfinite(positions_px).all(axis=1)]
    height, width = np.ptp(known, axis=0) + side_px if len(known) else (0.0, 0.0)
    area = float(height) * float(width)
    span = f"the positions span {height:.4g} x {width:.4g} px, "
    remedy = "check the positions' unit and the object pixel"
    if area > MAX_AREA_PX:
        raise GeometryError(f"{span}more than {MAX_AREA_PX >> 20} megapixels; {remedy}")
    needed, free = area * bytes_per_px, free_memory_bytes()
    if needed > free:
        raise GeometryError(
            f"{span}which needs {needed / 1e9:.1f} GB of memory, but {free / 1e9:.1f} GB are free; {remedy}"
        )


def check_spread(positions_px: NDArray[np.float64]) -> None:
    """Raise an error if several frames lie on one pixel: positions in metres, or a scanner that did not move.

    Raises
    ------
    GeometryError
        If the positions ``(n, 2)`` span less than :data:`SMALLEST_SPAN_PX`.
    """
    known = positions_px[np.isfinite(positions_px).all(axis=1)]
    span = float(np.ptp(known, axis=0).max()) if len(known) else 0.0
    if len(known) >= FEWEST_FRAMES and span < SMALLEST_SPAN_PX:
        raise GeometryError(
            f"all {len(known)} frames lie on one pixel: the positions span {span:.2g} px; "
            "write them in object pixels, not in metres"
        )


def check_light(amplitude: Tensor | NDArray[np.float32]) -> None:
    """Raise an error if amplitudes ``(n, N, N)`` have no photons: all are masked (-1) or zero.

    Values that are not numbers are another fault, which is reported for each frame.

    Raises
    ------
    GeometryError
        If there are none.
    """
    if not any(
        bool(((frame > 0) | (frame != frame)).any()) for frame in amplitude
    ):  # frame by frame: no copy of the scan
        raise GeometryError(NO_PHOTON)


def check_probe(probe: Tensor) -> None:
    """Raise an error if a probe ``(modes, N, N)`` has no light, or values that are not finite.

    Raises
    ------
    GeometryError
        If so.
    """
    energy = float(probe.abs().square().sum())
    if not math.isfinite(energy):
        raise GeometryError("the probe holds values that are not finite; give the probe of this beam")
    if energy <= 0:
        raise GeometryError("the probe is zero everywhere; give the probe of this beam")


def believable_frames(amplitude: Tensor) -> NDArray[np.int64]:
    """Return the rows of amplitudes ``(n, N, N)`` whose sums are finite, not 0, and not impossibly far above the median."""
    sums = amplitude.clamp_min(0.0).double().sum((1, 2)).cpu().numpy()
    is_lit = np.isfinite(sums) & (sums > 0)
    limit = MOST_BRIGHT * float(np.median(sums[is_lit])) if is_lit.any() else 0.0
    return np.flatnonzero(is_lit & (sums <= limit))


def check_positions(positions_px: NDArray[np.float64], frames: int) -> None:
    """Raise an error unless the positions are one finite pair for each frame.

    Raises
    ------
    GeometryError
        If they are not.
    """
    if not frames or positions_px.shape != (frames, 2) or not np.isfinite(positions_px).all():
        raise GeometryError(f"the positions are not {frames} finite pairs; give one [y, x] for each frame")


def free_memory_bytes() -> float:
    """Return the memory that this process can still use, bytes: the least that machine, container and limits leave."""
    left = [_available(), _of_container()]
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        left.append(limit - _own_address_space())
    return max(0.0, min(left))


def _available() -> float:
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return float(line.split()[1]) * 1024
    return float("inf")


def _of_container() -> float:
    """Return what a control group (version 2) leaves, bytes; cached file pages count as free."""
    folder = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError, KeyError):
        most, taken = (float((folder / name).read_text()) for name in ("memory.max", "memory.current"))
        words = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return most - taken + float(words["inactive_file"])
    return float("inf")


def _own_address_space() -> float:
    with suppress(OSError, ValueError, IndexError):
        return float(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    return 0.0
