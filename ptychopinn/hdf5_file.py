"""Writing an HDF5 file completely or not at all; a full or broken disk raises an error and does not end the process.

The HDF5 library cannot close a file that it cannot flush: it keeps it half closed and ends the process later. Therefore it
gets a file object whose writes never fail: the first error is stored, further data are dropped, and the error is raised when
the library has closed the file. See the decision on writing products.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from ptychopinn.atomic import atomic_path


class _ErrorStoringFile(io.RawIOBase):
    """A file object for HDF5 on one descriptor; after the first error it drops all writes."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._place = 0
        self._size = 0
        self.fault: OSError | None = None

    def readable(self) -> bool:
        """Yes."""
        return True

    def writable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to ``offset``."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = start + offset
        return self._place

    def tell(self) -> int:
        """Return the position."""
        return self._place

    def readinto(self, buffer: Any, /) -> int:
        """Fill ``buffer``, with zeros where nothing was written or could be read."""
        part = memoryview(buffer).cast("B")
        count = 0
        while count < len(part):
            try:
                more = os.preadv(self._descriptor, [part[count:]], self._place + count)
            except OSError as fault:
                self._keep(fault)
                more = 0
            if not more:
                part[count:] = bytes(len(part) - count)
                break
            count += more
        self._place += len(part)
        return len(part)

    def write(self, content: Any, /) -> int:
        """Write ``content``, or drop it after an error."""
        part = memoryview(content).cast("B")
        size, place = len(part), self._place
        self._place += size
        self._size = max(self._size, self._place)
        try:
            while part and self.fault is None:
                count = os.pwrite(self._descriptor, part, place)
                part, place = part[count:], place + count
        except OSError as fault:
            self._keep(fault)
        return size

    def truncate(self, size: int | None = None, /) -> int:
        """Set the size."""
        self._size = self._place if size is None else size
        try:
            if self.fault is None:
                os.ftruncate(self._descriptor, self._size)
        except OSError as fault:
            self._keep(fault)
        return self._size

    def flush(self) -> None:
        """Do nothing: writes are not buffered."""

    def _keep(self, fault: OSError) -> None:
        if self.fault is None:
            self.fault = fault


@contextmanager
def atomic_hdf5(path: Path) -> Iterator[h5py.File]:
    """Write an HDF5 file that gets its name when it is complete and on disk.

    Raises
    ------
    OSError
        The first error of the disk, after the file is closed.
    """
    with atomic_path(path) as part:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        target = _ErrorStoringFile(descriptor)
        try:
            with h5py.File(target, "w") as file:
                yield file
        except Exception:
            if target.fault is not None:
                raise target.fault from None
            raise
        finally:
            os.close(descriptor)
        if target.fault is not None:
            raise target.fault
