"""Opens files by their content, not their name; refuses a damaged file with one sentence."""

from __future__ import annotations

import bz2
import io
import lzma
import struct
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from daemon.files.apart import FOLLOWING, read_apart, stamp_of
from daemon.files.hdf5_faults import cause, missing_parts
from daemon.files.links import item_at
from daemon.files.structure import examine, is_hdf5, open_hdf5, refuse_links
from ptychopinn.errors import FileFormatError
from ptychopinn.hdf5_file import atomic_hdf5 as atomic_hdf5

ZIP_MAGIC = b"PK\x03\x04"
BZ2_MAGIC = b"BZh"
MAX_UNPACKED_BYTES = 16 << 30
"""A bzip2 file may unpack to at most 16 GiB in memory; a crafted one could unpack to any size."""
UNREADABLE = (
    ArithmeticError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    lzma.LZMAError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""Exceptions of h5py, numpy and the decompressors for a damaged file."""
KEPT_EXAMINED = 64
"""Files that are remembered as examined; a verb opens a few, several times each."""

MAY_FOLLOW = ContextVar("MAY_FOLLOW", default=True)
"""Whether links to other files are followed; not for files that others put into the daemon's folders."""
IS_APART = ContextVar("IS_APART", default=False)
"""Whether this is the separate process, which may hang or crash on a damaged file."""

_examined: OrderedDict[tuple[int, ...], None] = OrderedDict()


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Turn the libraries' exceptions for an unreadable file into :class:`FileFormatError`."""
    try:
        yield
    except FileNotFoundError:
        raise FileFormatError(f"{path}: there is no such file; check the path") from None
    except (IsADirectoryError, PermissionError) as fault:
        raise FileFormatError(f"{path}: cannot be opened ({fault.strerror}); give a readable file") from None
    except UNREADABLE as fault:
        raise FileFormatError(f"{path}: {cause(fault)}") from fault


@contextmanager
def open_arrays(path: Path) -> Iterator[h5py.File | NpzFile]:
    """Open an HDF5 file or an NPZ archive (plain or in bzip2) for reading.

    An HDF5 file is first examined in a separate process, since a damaged one can hang or crash the process that reads it.

    Raises
    ------
    FileFormatError
        If it is neither, if it hangs or crashes the process that examines it, or if reading it inside the block fails.
    """
    with refusing(path):
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise FileFormatError(f"{path}: is a pipe or device; give a file")
        with path.open("rb") as stream:
            magic = stream.read(len(ZIP_MAGIC))
        if is_hdf5(path):
            _examine_once(path)
            with open_hdf5(path) as file:
                if not MAY_FOLLOW.get():
                    refuse_links(file, path)
                try:
                    yield file
                except UNREADABLE as fault:
                    said = missing_parts(file)
                    if said:
                        raise FileFormatError(f"{path}: {said}") from fault
                    raise
        elif magic.startswith(ZIP_MAGIC):
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
                yield archive
        elif magic.startswith(BZ2_MAGIC):
            with np.load(_unpacked(path), allow_pickle=False) as archive:
                yield archive
        else:
            raise FileFormatError(f"{path}: is neither HDF5 nor NPZ; give a scan, probe or product of either kind")


def _examine_once(path: Path) -> None:
    if IS_APART.get():
        return
    stamp = stamp_of(path)
    if stamp in _examined:
        return
    read_apart(examine, path, FOLLOWING)
    _examined[stamp] = None
    while len(_examined) > KEPT_EXAMINED:
        _examined.popitem(last=False)


def _unpacked(path: Path) -> IO[bytes]:
    with bz2.open(path) as packed:
        content = packed.read(MAX_UNPACKED_BYTES + 1)
    if len(content) > MAX_UNPACKED_BYTES:
        raise FileFormatError(f"{path}: unpacks to over {MAX_UNPACKED_BYTES >> 30} GiB; unpack it to a file first")
    if not content.startswith(ZIP_MAGIC):
        raise FileFormatError(f"{path}: the bzip2 file does not hold an NPZ archive; pack one")
    return io.BytesIO(content)


def first_of(group: h5py.Group, keys: tuple[str, ...]) -> h5py.Dataset | None:
    """Return the first of ``keys`` that is a dataset."""
    return next((found for key in keys if isinstance(found := item_at(group, key), h5py.Dataset)), None)


def array_of(group: h5py.Group, key: str) -> NDArray[Any]:
    """Return the array at ``key``."""
    dataset = group.get(key)
    if not isinstance(dataset, h5py.Dataset):
        raise FileFormatError(f"{group.file.filename}: lacks the dataset {key}; write the file again with all datasets")
    array: NDArray[Any] = np.asarray(dataset[()])
    return array


def number_of(group: h5py.Group, key: str) -> float | None:
    """Return the positive number at ``key``, or ``None`` if it is missing, zero or not finite: unknown."""
    dataset = group.get(key)
    return positive(dataset[()]) if isinstance(dataset, h5py.Dataset) else None


def positive(value: Any) -> float | None:
    """Return the first number of ``value`` if it is finite and above zero."""
    flat = np.asarray(value).ravel()
    if flat.size == 0 or flat.dtype.kind not in "uif":
        return None
    number = float(flat[0])
    return number if np.isfinite(number) and number > 0 else None


def text_of(value: Any) -> str:
    """Return ``value``, bytes or text or an array of one of them, as text; empty for ``None``."""
    if value is None or isinstance(value, h5py.Empty | h5py.Group):
        return ""
    if isinstance(value, h5py.Dataset):
        value = value[()]
    if isinstance(value, np.ndarray):
        value = value.item() if value.size == 1 else ""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.rstrip("\0")
