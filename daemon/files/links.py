"""Links in HDF5 files: all names that a reader sees, links that lead nowhere, and other files that are read.

Hard, soft and external links are followed as readers follow them; a group that contains itself is entered once.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import h5py

MAX_NAMES = 20_000
"""Names of a file that are visited at most: links can make any number of names from a few groups."""
SHOWN = 3
"""Names that a sentence lists."""

Item: TypeAlias = h5py.Group | h5py.Dataset


def walk(group: h5py.Group) -> Iterator[tuple[str, Item]]:
    """Yield the names under a group, relative to it, and the item of each; in the group's own order, depth first."""
    waiting: list[tuple[str, Item, frozenset[tuple[int, int]]]] = [("", group, frozenset())]
    for _ in range(MAX_NAMES):
        if not waiting:
            return
        name, item, above = waiting.pop()
        if name:
            yield name, item
        if isinstance(item, h5py.Group):
            own = _address(item)
            if own not in above:
                inside = [(key, item_at(item, key)) for key in item]
                waiting += [(f"{name}/{key}".lstrip("/"), x, above | {own}) for key, x in inside[::-1] if x is not None]


def item_at(group: h5py.Group, key: str) -> Item | None:
    """Return the group or dataset at a name, ``None`` if it does not exist or its link leads nowhere."""
    try:
        found = group.get(key)
    except (OSError, RuntimeError, ValueError):
        return None
    return found if isinstance(found, h5py.Group | h5py.Dataset) else None


def broken_links(group: h5py.Group) -> list[str]:
    """Return a sentence for each link under a group that leads nowhere."""
    return [
        f"{name}/{key}".lstrip("/") + f" {reason}"
        for name, one in groups_under(group)
        for key in one
        if item_at(one, key) is None and (reason := why_missing(one, key))
    ]


def groups_under(group: h5py.Group) -> list[tuple[str, h5py.Group]]:
    """Return a group, with an empty name, and all groups under it."""
    return [("", group), *((name, item) for name, item in walk(group) if isinstance(item, h5py.Group))]


def why_missing(group: h5py.Group, name: str, seen: frozenset[str] = frozenset()) -> str:
    """Return the reason why a name leads nowhere if a link is at fault: ``points to a.h5, which …``; else empty."""
    for key in filter(None, name.split("/")):
        item = item_at(group, key)
        if item is None:
            is_link = group.id.links.exists(key.encode())
            return _reason(group, group.get(key, getlink=True), seen) if is_link else ""
        if not isinstance(item, h5py.Group):
            return ""
        group = item
    return ""


def linked_files(group: h5py.Group) -> list[str]:
    """Return the other files that are read under a group, through external links, raw storage or virtual data sets."""
    own = Path(group.file.filename).absolute()
    found: dict[Path, None] = {}
    for _, item in walk(group):
        found[Path(item.file.filename).absolute()] = None
        if isinstance(item, h5py.Dataset):
            found |= dict.fromkeys(_sources(item))
    return [str(p.name if p.parent == own.parent else p) for p in found if p != own and p.exists()]


def listed(names: list[str]) -> str:
    """Return the first few of some names and the number of the others."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def beside(file: h5py.File, name: str) -> Path:
    """Return the path of a linked file as HDF5 searches for it: beside the linking file, else in the working directory."""
    place = Path(file.filename).absolute().parent / name
    return place if place.exists() or not Path(name).exists() else Path(name).absolute()


def raw_files(dataset: h5py.Dataset) -> list[Path]:
    """Return the external files with a data set's values, as HDF5 searches for them: from the working directory."""
    return [Path(name).absolute() for name, *_ in dataset.external or ()]


def _sources(dataset: h5py.Dataset) -> list[Path]:
    virtual = dataset.virtual_sources() if dataset.is_virtual else []
    names = [source.file_name for source in virtual if source.file_name != "."]
    return [*raw_files(dataset), *(beside(dataset.file, name) for name in names)]


def _address(group: h5py.Group) -> tuple[int, int]:
    info = h5py.h5o.get_info(group.id)
    return info.fileno, info.addr


def _reason(group: h5py.Group, link: object, seen: frozenset[str]) -> str:
    if isinstance(link, h5py.ExternalLink):
        place = beside(group.file, link.filename)
        if not place.exists():
            return f"points to {link.filename}, which does not exist in {place.parent}"
        return f"points to {link.path} in {link.filename}, which lacks it or cannot be opened"
    if not isinstance(link, h5py.SoftLink):
        return ""
    if link.path in seen:
        return f"points to {link.path}, which runs in a circle"
    start = group.file if link.path.startswith("/") else group
    return f"points to {link.path}, which {why_missing(start, link.path, seen | {link.path}) or 'does not exist'}"
