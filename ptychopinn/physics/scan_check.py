"""Whether a scan can be reconstructed at all: it has light, and its object fits into memory; one rule for every verb."""

from __future__ import annotations

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
"""Pixels of an object: a square of 16384, which at 50 nm a pixel is 0.8 mm; stages of scans travel less."""
BYTES_PER_PX = 64
"""Memory of an object's pixel at the most: exact sums of two looks in float64, and what is read of them."""
NO_PHOTON = "the patterns hold no photon; check the file and its mask"


def check_extent(positions_px: NDArray[np.float64], side_px: int, bytes_per_px: int = BYTES_PER_PX) -> None:
    """Refuse positions ``(n, 2)`` of patches whose object would not fit; those that are not finite do not count.

    Raises
    ------
    GeometryError
        If the object has more than :data:`MAX_AREA_PX` pixels, or needs more memory than there is.
    """
    known = positions_px[np.isfinite(positions_px).all(axis=1)]
    height, width = np.ptp(known, axis=0) + side_px if len(known) else (0.0, 0.0)
    area = float(height) * float(width)
    said = f"the positions span {height:.4g} x {width:.4g} px, "
    remedy = "check the positions' unit and the object pixel"
    if area > MAX_AREA_PX:
        raise GeometryError(f"{said}more than {MAX_AREA_PX >> 20} megapixels; {remedy}")
    needed, free = area * bytes_per_px, free_memory_bytes()
    if needed > free:
        raise GeometryError(
            f"{said}which takes {needed / 1e9:.1f} GB of memory and {free / 1e9:.1f} are free; {remedy}"
        )


def check_light(amplitude: Tensor | NDArray[np.float32]) -> None:
    """Refuse amplitudes ``(n, N, N)`` without any photon, all masked (-1) or zero.

    Raises
    ------
    GeometryError
        If there is none.
    """
    if bool((amplitude <= 0).all()):
        raise GeometryError(NO_PHOTON)


def check_positions(positions_px: NDArray[np.float64], frames: int) -> None:
    """Refuse positions that are not one finite pair for each of some frames.

    Raises
    ------
    GeometryError
        If they are not.
    """
    if not frames or positions_px.shape != (frames, 2) or not np.isfinite(positions_px).all():
        raise GeometryError(f"the positions are not {frames} finite pairs; give one [y, x] for each frame")


def free_memory_bytes() -> float:
    """Return how much memory this process may still take: the least of what machine, container and limits leave."""
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
    """Return what a control group (version 2) leaves; pages of files that it can drop count as free."""
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
