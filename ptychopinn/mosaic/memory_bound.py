"""The bound on the memory of a canvas, and arrays that lie in a file because they are larger."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", bound=np.generic)


class MemoryBound(NamedTuple):
    """Bound on the memory of a canvas on its device, bytes, and where a file for the rest lies; None: among temporary files.

    ``sector_px`` is the side of a mosaic's sector (:mod:`ptychopinn.mosaic.sectors`). Of 1024 pixels, long rows of a scan cross
    few, and one is moved in 0.02 s.
    """

    most_bytes: int
    folder: Path | None = None
    sector_px: int = 1024


def mapped_zeros(shape: tuple[int, ...], dtype: type[Number], folder: Path | None) -> NDArray[Number]:
    """Return zeros in a file without a name, mapped: the system takes their memory back when it needs it."""
    with tempfile.TemporaryFile(dir=folder) as file:
        found: NDArray[Number] = np.memmap(file, dtype, "w+", shape=shape)
    return found
