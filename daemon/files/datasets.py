"""Reads datasets by name from an HDF5 file of another program."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from daemon.files.access import open_arrays
from daemon.files.apart import DEFAULTS, Limits, read_apart
from ptychopinn.errors import FileFormatError


def read_datasets(path: Path, names: Sequence[str], limits: Limits = DEFAULTS) -> dict[str, NDArray[Any]]:
    """Return the datasets ``names`` of an HDF5 file, read in a separate process; missing ones are left out.

    Raises
    ------
    FileFormatError
        If it is not HDF5, is damaged, links to other files (unless ``limits`` allows that), or takes too long.
    """
    return read_apart(datasets_of, path, limits, names=list(names))


def datasets_of(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return the same, read in this process."""
    with open_arrays(path) as file:
        if not isinstance(file, h5py.File):
            raise FileFormatError(f"{path}: is not an HDF5 file; give one")
        return {name: np.asarray(file[name][()]) for name in names if isinstance(file.get(name), h5py.Dataset)}
