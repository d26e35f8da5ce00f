"""Arrays in files without a name, mapped into memory: a scan is read in parts, however large it is.

The space on disk is reserved first and freed with the array.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import DTypeLike, NDArray

from ptychopinn.errors import ReconstructionError

PIECE_BYTES = 1 << 18
"""Bytes that are unpacked together, 256 KiB: large reads are no faster."""


def empty(shape: tuple[int, ...], dtype: DTypeLike, folder: Path | None) -> NDArray[Any]:
    """Return an array to fill: in memory, or in a file without a name in ``folder``.

    Raises
    ------
    ReconstructionError
        If the disk has no space for it.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if folder is None or not size:
        return np.empty(shape, dtype)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, size)  # a full disk is an error here, and a crash once it is mapped
            return np.memmap(file, dtype, "r+", shape=shape)
    except OSError as fault:
        raise ReconstructionError(
            f"{folder}: there is no space for {size / 1e9:.2g} GB of frames ({fault.strerror}); free some"
        ) from fault


def unpacked(archive: Mapping[str, Any], key: str, folder: Path | None) -> NDArray[Any]:
    """Return an array of an archive: in memory, or unpacked in parts into a file in ``folder``."""
    if folder is None or not isinstance(archive, NpzFile) or archive.zip is None:
        return np.asarray(archive[key])
    members = archive.zip.namelist()
    with archive.zip.open(f"{key}.npy" if f"{key}.npy" in members else key) as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, is_fortran, dtype = read(stream)
        if dtype.hasobject or 0 in shape or not shape:
            return np.asarray(archive[key])
        flat = empty((int(np.prod(shape)) * dtype.itemsize,), np.uint8, folder)
        done = 0
        while done < len(flat):
            piece = stream.read(min(PIECE_BYTES, len(flat) - done))
            if not piece:
                raise EOFError(f"{key} ends after {done:,} of {len(flat):,} bytes")
            flat[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
            done += len(piece)
    return flat.view(dtype).reshape(shape, order="F" if is_fortran else "C")
