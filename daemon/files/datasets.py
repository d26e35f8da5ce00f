"""Datasets of an HDF5 file that somebody else wrote, by name, for the daemon."""

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
    """Return the datasets ``names`` of an HDF5 file, read in a process apart; those that it lacks are left out.

    Raises
    ------
    FileFormatError
        If it is no HDF5 file, is damaged, points to other files (unless ``limits`` lets it), or takes too long.
    """
    return read_apart(datasets_of, path, limits, names=list(names))


def datasets_of(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return the same, read in this process."""
    with open_arrays(path) as file:
        if not isinstance(file, h5py.File):
            raise FileFormatError(f"{path}: is no HDF5 file; give one")
        return {name: np.asarray(file[name][()]) for name in names if isinstance(file.get(name), h5py.Dataset)}
