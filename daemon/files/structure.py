"""Visits everything in an HDF5 file, and finds links to other files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import bitshuffle.h5  # noqa: F401  registers the filter of detector files with HDF5
import h5py

from daemon.files.hdf5_faults import LEFT_OPEN
from daemon.files.links import beside
from ptychopinn.errors import FileFormatError

MAGIC = b"\x89HDF\r\n\x1a\n"
MAX_OBJECTS, MAX_FILES = 100_000, 1000
"""Objects and linked files that are visited at most: more than real files have; crafted ones have any number."""
WHOLE_BYTES = 64 << 20
"""A dataset up to 64 MiB is read whole when a file is examined; of a larger one only the first and last rows."""
ALL_WHOLE_BYTES = 256 << 20
"""Bytes of one file that are read whole, 256 MiB; of further datasets only the first and last rows."""


def is_hdf5(path: Path) -> bool:
    """Whether the file has HDF5's signature at a valid place; checked without the library."""
    with path.open("rb") as stream:
        size, place = path.stat().st_size, 0
        while place < size:
            stream.seek(place)
            if stream.read(len(MAGIC)) == MAGIC:
                return True
            place = max(512, 2 * place)
    return False


def open_hdf5(path: Path) -> h5py.File:
    """Open an HDF5 file; one that its SWMR writer did not close is read as far as it was written."""
    try:
        return h5py.File(path, "r")
    except OSError as fault:
        if LEFT_OPEN not in str(fault):
            raise
        try:
            return h5py.File(path, "r", swmr=True)
        except OSError:
            raise fault from None


def examine(path: Path) -> None:
    """Read everything that a reader may read: every link, object and attribute, and both ends of each dataset.

    Exceptions are ignored: the reader reports them. This only tests whether the library returns at all.
    """
    files, seen = [path], {path}
    left = ALL_WHOLE_BYTES
    while files:
        with suppress(Exception), open_hdf5(files.pop()) as file:
            for item in objects(file):
                with suppress(Exception):
                    dict(item.attrs)
                if isinstance(item, h5py.Dataset):
                    with suppress(Exception):
                        left -= _touch(item, min(left, WHOLE_BYTES))
                    sources = _sources(item) - seen
                    seen |= sources
                    files += [] if len(seen) > MAX_FILES else sorted(sources)


def _sources(dataset: h5py.Dataset) -> set[Path]:
    """Return the source files of a virtual dataset."""
    with suppress(Exception):
        if dataset.is_virtual:
            return {beside(dataset.file, one.file_name) for one in dataset.virtual_sources() if one.file_name != "."}
    return set()


def objects(file: h5py.File) -> Iterator[h5py.Group | h5py.Dataset]:
    """Yield every group and dataset once, also those behind links into other files."""
    waiting: list[h5py.Group | h5py.Dataset] = [file]
    seen: set[tuple[int, int]] = set()
    while waiting and len(seen) < MAX_OBJECTS:
        item = waiting.pop()
        about = h5py.h5o.get_info(item.id)
        if (about.fileno, about.addr) in seen:
            continue
        seen.add((about.fileno, about.addr))
        yield item
        if isinstance(item, h5py.Group):
            waiting += _members(item)


def _members(group: h5py.Group) -> list[h5py.Group | h5py.Dataset]:
    found = []
    with suppress(Exception):
        for name in group:
            with suppress(Exception):
                member = group[name]
                if isinstance(member, h5py.Group | h5py.Dataset):
                    found.append(member)
    return found


def _touch(dataset: h5py.Dataset, most_bytes: int) -> int:
    """Read a dataset, or its first and last row where it is over ``most_bytes``; return the bytes of a whole dataset, else 0."""
    if dataset.shape is None or not dataset.size:
        return 0
    if dataset.nbytes <= most_bytes or not dataset.ndim:
        dataset[()]
        return int(dataset.nbytes)
    if dataset.chunks is not None:
        dataset.id.get_num_chunks()
    for place in (0, -1):
        row = dataset[(place,) * max(1, dataset.ndim - 2)] if dataset.ndim > 2 else dataset[place]
        del row
    return 0


def refuse_links(file: h5py.File, path: Path) -> None:
    """Refuse a file with a link, storage or virtual dataset that would make the library open another file.

    Raises
    ------
    FileFormatError
        If a link, a dataset's storage or a virtual dataset points to another file.
    """
    waiting: list[h5py.Group] = [file["/"]]
    seen: set[int] = set()
    while waiting:
        group = waiting.pop()
        address = h5py.h5o.get_info(group.id).addr
        if address in seen:
            continue
        seen.add(address)
        if len(seen) > MAX_OBJECTS:
            raise FileFormatError(f"{path}: has over {MAX_OBJECTS} groups; give a product")
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise _points_elsewhere(path, f"{group.name.rstrip('/')}/{name}")
            if not isinstance(link, h5py.HardLink):
                continue  # the target of a soft link is visited by itself, if it exists
            member = group[name]
            if isinstance(member, h5py.Group):
                waiting.append(member)
            elif isinstance(member, h5py.Dataset) and (member.is_virtual or member.external):
                raise _points_elsewhere(path, member.name)


def _points_elsewhere(path: Path, name: str) -> FileFormatError:
    return FileFormatError(
        f"{path}: {name} points to another file, which is not followed here; write the data into this one"
    )
