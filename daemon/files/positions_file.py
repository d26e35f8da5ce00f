"""Reads scan positions from a separate file: a product, NPZ with ``position_m``, or CSV."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from daemon.files.access import open_arrays
from daemon.files.product import read_product
from ptychopinn.errors import FileFormatError
from streams.errors import PositionError
from streams.position_sources.positions import read_position_table


def read_positions(path: Path) -> NDArray[np.float64]:
    """Return positions ``(n, 2)`` [y, x], metres; row k is frame k, NaN if the file has no position for it.

    Raises
    ------
    FileFormatError
        If the file is of another format or damaged.
    """
    try:
        with path.open("rb") as stream:
            is_text = b"\0" not in stream.read(4096)
        if is_text:
            return read_position_table(path)
    except OSError as fault:
        raise FileFormatError(f"{path}: cannot be read ({fault.strerror}); give a positions file") from fault
    except PositionError as fault:
        raise FileFormatError(str(fault)) from fault
    with open_arrays(path) as file:
        if isinstance(file, h5py.File):
            product = read_product(path)
            positions_m = np.full((int(product.indexes.max(initial=-1)) + 1, 2), np.nan)
            positions_m[product.indexes] = product.positions_m
            return positions_m
        if "position_m" not in file:
            raise FileFormatError(f"{path}: has no array position_m (n, 2) [y, x] in metres; write it with numpy.savez")
        positions_m = np.asarray(file["position_m"], dtype=np.float64)
    if positions_m.ndim != 2 or positions_m.shape[1] != 2:
        raise FileFormatError(f"{path}: position_m has shape {positions_m.shape}; write it as (n, 2)")
    return positions_m
