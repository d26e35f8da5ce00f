"""Reads rows of a dataset that another program still writes, in a separate process."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from daemon.files.apart import Limits, read_apart
from daemon.files.structure import refuse_links
from ptychopinn.errors import FileFormatError

__all__ = ["read_rows", "rows_of"]

LIMITS = Limits(timeout_s=10.0)  # s; a few rows, and the next message tries again


def read_rows(path: Path, *, dataset: str, start: int, stop: int) -> NDArray[np.float64]:
    """Return rows ``start`` to ``stop`` of a dataset ``(n,)``, or ``(n, 1)``, of numbers.

    Raises
    ------
    FileFormatError
        If the rows do not exist (yet).
    """
    return read_apart(rows_of, path, LIMITS, dataset=dataset, start=start, stop=stop)


def rows_of(path: Path, *, dataset: str, start: int, stop: int) -> NDArray[np.float64]:
    """Return the same, read in this process."""
    try:
        with _open(path) as file:
            refuse_links(file, path)
            found = file.get(dataset)
            if not isinstance(found, h5py.Dataset) or found.dtype.kind not in "iuf":
                raise FileFormatError(f"{path} has no numeric dataset {dataset}")
            if not found.shape or np.prod(found.shape[1:], dtype=np.int64) != 1:
                raise FileFormatError(f"{path}: {dataset} has shape {found.shape}, not one number for each row")
            if len(found) < stop:
                raise FileFormatError(f"{path}: {dataset} has {len(found)} rows; {stop} are needed")
            return np.asarray(found[start:stop], np.float64).reshape(-1)
    except (OSError, RuntimeError, ValueError, KeyError) as fault:
        raise FileFormatError(f"{path}: {dataset} cannot be read ({str(fault)[:120]})") from fault


def _open(path: Path) -> h5py.File:
    """Open a file that is finished or still being written."""
    if not path.is_file():
        raise FileFormatError(f"{path}: there is no such file")
    try:
        return h5py.File(path, "r", swmr=True, locking=False)
    except (OSError, ValueError):
        return h5py.File(path, "r", locking=False)
