"""Blocks of bytes that are put aside: in host memory up to a bound, further ones in a file that ends with the process."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Hashable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


class ColdBlocks:
    """Equal blocks by key; each is the bytes of some arrays, one after another.

    Parameters
    ----------
    memory_bytes
        Bound on the blocks in host memory; further ones are written to the file.
    folder
        Where the file lies; None: the folder of the system for temporary files.
    """

    def __init__(self, block_bytes: int, memory_bytes: int, folder: Path | None) -> None:
        self._block_bytes = block_bytes
        self._most_in_memory = memory_bytes // block_bytes
        self._folder = folder
        self._in_memory: dict[Hashable, Bytes] = {}
        self._slots: dict[Hashable, int] = {}
        self._file: int | None = None

    def __contains__(self, key: Hashable) -> bool:
        return key in self._in_memory or key in self._slots

    def put(self, key: Hashable, parts: Sequence[Bytes]) -> None:
        """Put a block aside, in the place of an older one with this key.

        Raises
        ------
        OSError
            If the file cannot be written; the block is then not put aside.
        """
        if key in self._in_memory or (key not in self._slots and len(self._in_memory) < self._most_in_memory):
            self._in_memory[key] = np.concatenate(parts)
            return
        begin = self._slots.get(key, len(self._slots)) * self._block_bytes
        for part in parts:
            _write_all(self._descriptor(), part, begin)
            begin += len(part)
        self._slots.setdefault(key, len(self._slots))

    def read_into(self, key: Hashable, begin: int, into: Bytes) -> None:
        """Fill an array with the bytes of a block from ``begin`` on."""
        if key in self._in_memory:
            into[:] = self._in_memory[key][begin : begin + len(into)]
        else:
            _read_all(self._descriptor(), into, self._slots[key] * self._block_bytes + begin)

    def _descriptor(self) -> int:
        if self._file is None:
            with tempfile.TemporaryFile(dir=self._folder) as file:
                self._file = os.dup(file.fileno())
        return self._file

    def __del__(self) -> None:
        if self._file is not None:
            os.close(self._file)


def _write_all(descriptor: int, data: Bytes, begin: int) -> None:
    rest = data.data
    while rest:
        written = os.pwrite(descriptor, rest, begin)
        rest, begin = rest[written:], begin + written


def _read_all(descriptor: int, into: Bytes, begin: int) -> None:
    rest = into.data
    while rest:
        count = os.preadv(descriptor, [rest], begin)
        if count == 0:
            raise OSError("the file of the mosaic's parts is shorter than what was written to it")
        rest, begin = rest[count:], begin + count
