"""Reads a whole data set if it fits into memory."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ptychopinn.errors import FileFormatError
from ptychopinn.physics.scan_check import free_memory_bytes


def whole(dataset: h5py.Dataset) -> NDArray[Any]:
    """Return the array. One larger than the free memory is refused, since the system could kill the process.

    Raises
    ------
    FileFormatError
        If it does not fit.
    """
    needed = (dataset.size or 0) * dataset.dtype.itemsize
    if needed > free_memory_bytes():
        raise FileFormatError(
            f"{dataset.file.filename}: an array of {' x '.join(map(str, dataset.shape))} {dataset.dtype} needs "
            f"{needed / 1e9:.1f} GB, more than the free memory; split the scan"
        )
    return np.asarray(dataset[()])
