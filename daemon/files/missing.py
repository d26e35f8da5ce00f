"""Finds missing frames: absent sources of a virtual data set, and frames that were never written."""

from __future__ import annotations

from dataclasses import dataclass, field

import h5py
import numpy as np
from numpy.typing import NDArray

from daemon.files.links import beside

MAX_DEPTH = 4
"""Nesting of virtual data sets that is followed; real files have one or two levels."""
MAX_CHUNKS = 1_000_000
"""Largest number of chunks that are inspected one by one, which takes about a second."""


@dataclass(slots=True)
class Gaps:
    """Missing data of a data set: ``frames`` ``(n,)``, ``pixels`` ``(H, W)``, True = missing, and the reasons."""

    frames: NDArray[np.bool_]
    pixels: NDArray[np.bool_]
    reasons: dict[str, None] = field(default_factory=dict)


def gaps(dataset: h5py.Dataset, depth: int = 0) -> Gaps:
    """Return the missing data of a data set whose last two axes are a frame's; its leading axes are joined."""
    lead, sides = dataset.shape[:-2], dataset.shape[-2:]
    found = Gaps(np.zeros(int(np.prod(lead)), bool), np.zeros(sides, bool))
    if dataset.is_virtual:
        _sources(dataset, found, depth)
    elif dataset.chunks is not None and len(lead) == 1:
        _chunks(dataset, found)
    return found


def _sources(dataset: h5py.Dataset, found: Gaps, depth: int) -> None:
    """Mark the regions without a source, and those whose source is missing."""
    held, whole = np.zeros(dataset.shape[:-2], bool), True
    for source in dataset.virtual_sources():
        place = _region(source.vspace, dataset.shape)
        if place is None:
            whole = False
            continue
        held[place[:-2]] = True
        reason = _fault(dataset, source, depth)
        if reason:
            found.reasons[reason] = None
            _mark(found, place, dataset.shape)
    if whole:
        found.frames |= ~held.ravel()


def _mark(found: Gaps, place: tuple[slice, ...], shape: tuple[int, ...]) -> None:
    """Mark a region as missing: its frames where it is as large as a frame, else its pixels."""
    lead, sides = place[:-2], place[-2:]
    if all(side.stop - side.start == length for side, length in zip(sides, shape[-2:], strict=True)):
        found.frames.reshape(shape[:-2])[lead] = True
    else:
        found.pixels[sides] = True


def _region(space: h5py.h5s.SpaceID, shape: tuple[int, ...]) -> tuple[slice, ...] | None:
    """Return the box around a selection; ``None`` if it is unlimited."""
    try:
        low, high = space.get_select_bounds()
    except (ValueError, RuntimeError, OSError):
        return None
    if len(low) != len(shape):
        return None
    return tuple(slice(int(a), min(int(b) + 1, n)) for a, b, n in zip(low, high, shape, strict=True))


def _fault(dataset: h5py.Dataset, source: h5py.h5d.VDSmap, depth: int) -> str:
    """Return the reason why a source gives no data; empty if it does."""
    asked = int(source.vspace.get_select_npoints())
    if source.file_name == ".":
        return _inner_fault(dataset.file, source.dset_name, "this file", asked, depth)
    place = beside(dataset.file, source.file_name)
    if "%b" in source.file_name:
        return ""
    if not place.exists():
        return f"{source.file_name} does not exist"
    try:
        with h5py.File(place, "r") as file:
            return _inner_fault(file, source.dset_name, source.file_name, asked, depth)
    except OSError:
        return f"{source.file_name} cannot be opened"


def _inner_fault(file: h5py.File, name: str, said: str, asked: int, depth: int) -> str:
    try:
        inner = file.get(name)
    except (OSError, RuntimeError, ValueError):
        inner = None
    if not isinstance(inner, h5py.Dataset):
        return f"{said} does not hold {name}"
    if inner.size < asked:
        return f"{said} holds {name} of shape {inner.shape}, which is too small"
    if depth < MAX_DEPTH and inner.is_virtual and inner.ndim >= 2:
        deeper = gaps(inner, depth + 1)
        if deeper.frames.all() and deeper.frames.size:
            return next(iter(deeper.reasons), f"{name} in {said} holds no frames")
    return ""


def _chunks(dataset: h5py.Dataset, found: Gaps) -> None:
    """Mark frames of which no chunk was written."""
    frames_each, total = dataset.chunks[0], dataset.id.get_num_chunks()
    in_all = int(np.prod([-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True)]))
    if total >= in_all or total > MAX_CHUNKS:
        return
    written = np.zeros(-(-dataset.shape[0] // frames_each), bool)

    def seen(chunk: h5py.h5d.StoreInfo) -> None:
        written[chunk.chunk_offset[0] // frames_each] = True

    if total:
        dataset.id.chunk_iter(seen)
    found.frames |= ~np.repeat(written, frames_each)[: dataset.shape[0]]
    if found.frames.any():
        found.reasons["never written"] = None
