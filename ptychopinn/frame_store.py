"""Frame store: each pattern of a scan is in memory once, for all that use it.

The sample, the second looks, the refined layer and its halves hold a :class:`StoredPattern`, which names a place in the store.
The memory of a pattern is free once nobody holds it any more. Patterns lie with the zero frequency at the corner, as the refined
layer reads them most often.

On a CPU each pattern is a tensor of its own, since the heap takes single ones back. On a GPU all of them are in one tensor
``(capacity, N, N)``, so that a batch is read by one index; counts are stored there in two bytes, from which the amplitudes come
back bit for bit. Sums of the amplitudes are kept beside it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.device import is_batched, to_device

MOST_COUNTS = 2**15 - 1
"""Greatest count that two bytes hold beside -1, which means no data."""
FIRST_PLACES = 256
"""Places of a store on a GPU that begins: a batch. It is doubled when it is full."""

_LAST_TWO = (-2, -1)


class StoredPattern:
    """The pattern of one frame in a store. Nobody changes it; its memory is free when the last holder lets go of it."""

    __slots__ = ("kept", "store", "sums")

    def __init__(self, store: FrameStore, kept: Tensor | int, sums: Tensor) -> None:
        self.store = store
        self.kept = kept
        """The pattern itself, or its place in the store's tensor."""
        self.sums = sums
        """Sum of its amplitudes, without those of pixels without data."""

    def __del__(self) -> None:
        if isinstance(self.kept, int):
            self.store.free.append(self.kept)


Pattern = StoredPattern | Tensor
"""A stored pattern; or amplitudes ``(N, N)`` float32, zero frequency in the middle, -1 = no data."""


class FrameStore:
    """The patterns of a scan on one device; one thread puts them in, any may read them."""

    def __init__(self) -> None:
        self.free: deque[int] = deque()
        self._all: Tensor | None = None

    def put(self, amplitude: Tensor, *, are_counts: bool = False) -> list[StoredPattern]:
        """Take amplitudes ``(B, N, N)``, zero frequency in the middle, -1 = no data; return the stored patterns.

        ``are_counts``: they are roots of whole numbers up to ``MOST_COUNTS`` (:func:`are_small_counts`).
        """
        sums = amplitude.clamp_min(0.0).sum((1, 2)).unbind(0)
        if not is_batched(amplitude.device):
            kept = map(torch.fft.ifftshift, amplitude.unbind(0))
            return [StoredPattern(self, pattern, total) for pattern, total in zip(kept, sums, strict=True)]
        patterns = torch.fft.ifftshift(amplitude, dim=_LAST_TWO)
        where = self._place(len(patterns), patterns, are_counts=are_counts)
        return [StoredPattern(self, place, total) for place, total in zip(where, sums, strict=True)]

    def read(self, patterns: Sequence[StoredPattern]) -> Tensor:
        """Return amplitudes ``(B, N, N)`` of patterns of this store, zero frequency at the corner."""
        single = [p.kept for p in patterns if isinstance(p.kept, Tensor)]
        if single:
            return torch.stack(single)
        if self._all is None:
            raise ValueError("no pattern has been stored")
        places = np.array([p.kept for p in patterns], dtype=np.int64)
        found = self._all.index_select(0, to_device(places, self._all.device))
        return found if found.is_floating_point() else _roots(found)

    @property
    def size_bytes(self) -> int:
        """Memory of the one tensor on a GPU; 0 on a CPU, where each pattern has its own."""
        return 0 if self._all is None else self._all.nbytes

    def _place(self, count: int, patterns: Tensor, *, are_counts: bool) -> list[int]:
        """Enter patterns into the tensor; return their places."""
        if self._all is None:
            dtype = torch.int16 if are_counts else torch.float32
            self._all = patterns.new_empty((0, *patterns.shape[1:]), dtype=dtype)
        elif not are_counts and not self._all.is_floating_point():
            self._all = _roots(self._all)
        while len(self.free) < count:
            self._grow(self._all)
        where = [self.free.popleft() for _ in range(count)]
        values = patterns if self._all.is_floating_point() else _squares(patterns)
        self._all.index_copy_(0, to_device(np.array(where, dtype=np.int64), patterns.device), values)
        return where

    def _grow(self, full: Tensor) -> None:
        places = max(FIRST_PLACES, 2 * len(full))
        self._all = full.new_empty((places, *full.shape[1:]))
        self._all[: len(full)] = full
        self.free.extend(range(len(full), places))


def _squares(amplitude: Tensor) -> Tensor:
    """Return the counts as int16; -1 stays -1."""
    return (amplitude * amplitude.abs()).round_().to(torch.int16)


def _roots(counts: Tensor) -> Tensor:
    """Return the amplitudes of counts; -1 stays -1. Rounded once from double precision: torch's float32 root is not exact."""
    values = counts.to(torch.float64)
    return values.abs().sqrt_().copysign_(values).to(torch.float32)


def are_small_counts(kinds: Iterable[np.dtype[Any]], amplitude: NDArray[np.float32]) -> bool:
    """Whether amplitudes of patterns of these types of counts can be stored in two bytes each."""
    return all(kind.kind == "u" for kind in kinds) and float(amplitude.max(initial=0.0)) ** 2 <= MOST_COUNTS


def at_corner(patterns: Sequence[StoredPattern]) -> Tensor:
    """Return amplitudes ``(B, N, N)``, zero frequency at the corner."""
    store = patterns[0].store
    if all(pattern.store is store for pattern in patterns):
        return store.read(patterns)
    return torch.cat([pattern.store.read([pattern]) for pattern in patterns])


def at_middle(patterns: Sequence[Pattern]) -> Tensor:
    """Return amplitudes ``(B, N, N)``, zero frequency in the middle, of patterns that are all stored, or all tensors."""
    stored = [pattern for pattern in patterns if isinstance(pattern, StoredPattern)]
    if not stored:
        return torch.stack([pattern for pattern in patterns if isinstance(pattern, Tensor)])
    middle: Tensor = torch.fft.fftshift(at_corner(stored), dim=_LAST_TWO)
    return middle
