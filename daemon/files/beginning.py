"""The first frames of a training file (NPZ), enough to check it: a large file is not read whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any
from zipfile import ZipFile

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from daemon.files.access import open_arrays
from daemon.files.completion import completed
from daemon.files.npz import read_npz
from daemon.files.scan import ScanFile
from daemon.files.scan_file import read_scan

CHECKED_BYTES = 16 << 20
"""Size of the frames that are checked, 16 MiB: 1,024 frames of 64 px as float32, more than most scans have."""
PATTERNS = ("diff3d", "diffraction")


def read_beginning(path: Path, most_bytes: int = CHECKED_BYTES) -> ScanFile:
    """Return the first frames of a training file, or the whole scan of another file.

    Raises
    ------
    FileFormatError
        As in :func:`daemon.files.read_scan`.
    """
    with open_arrays(path) as opened:
        if isinstance(opened, NpzFile) and opened.zip is not None:
            return completed(read_npz(_Beginning(opened, opened.zip, most_bytes), path).scan(None), path)
    return read_scan(path)


class _Beginning(Mapping[str, NDArray[Any]]):
    """An archive whose arrays with one entry for each frame end after ``most_bytes`` of patterns."""

    def __init__(self, archive: NpzFile, members: ZipFile, most_bytes: int) -> None:
        self._archive, self._members = archive, members
        self._frames, self._kept = 0, 0
        for key in PATTERNS:
            if key in archive and "xcoords" in archive:
                self._frames, self._kept = self._frames_within(key, most_bytes)

    def __getitem__(self, key: str) -> NDArray[Any]:
        if self._kept < self._frames:
            with self._opened(key) as stream:
                shape, is_fortran, dtype = _header(stream)
                if shape[:1] == (self._frames,) and not is_fortran and not dtype.hasobject:
                    shape = (self._kept, *shape[1:])
                    return np.frombuffer(stream.read(int(np.prod(shape)) * dtype.itemsize), dtype).reshape(shape)
        return np.asarray(self._archive[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._archive)

    def __len__(self) -> int:
        return len(self._archive)

    def _opened(self, key: str) -> IO[bytes]:
        return self._members.open(f"{key}.npy" if f"{key}.npy" in self._members.namelist() else key)

    def _frames_within(self, key: str, most_bytes: int) -> tuple[int, int]:
        """Return the number of frames, and of those to read: none, unless the first axis is that of the positions."""
        with self._opened(key) as patterns, self._opened("xcoords") as positions:
            (shape, _, dtype), (points, *_) = _header(patterns), _header(positions)
        if len(shape) != 3 or points[:1] != shape[:1]:
            return 0, 0
        return shape[0], min(shape[0], max(1, most_bytes // max(1, int(np.prod(shape[1:])) * dtype.itemsize)))


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    found: tuple[tuple[int, ...], bool, np.dtype[Any]] = read(stream)
    return found
