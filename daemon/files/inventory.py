"""What is in a file, as the data contract wants to see it: arrays and attributes by name, read when asked for.

HDF5 attributes are ``place@name``. In NeXus files a group is named by its class, ``{NXdetector}/data``: names are free.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
from numpy.lib.npyio import NpzFile

from daemon.files.access import text_of
from daemon.files.links import groups_under, item_at, walk
from daemon.files.nexus import nexus_entry
from ptychopinn.contract import Entry


def inventory(file: h5py.File | NpzFile) -> dict[str, Entry]:
    """Return the entries of an open file."""
    if isinstance(file, h5py.File):
        entry = nexus_entry(file)
        return _hdf5_entries(file) if entry is None else _nexus_entries(entry)
    return {name: _npz_entry(file, name) for name in file.files}


def _npz_entry(archive: NpzFile, name: str) -> Entry:
    array = archive[name]
    return Entry(array.shape, array.dtype, lambda: array)


def _hdf5_entries(file: h5py.File) -> dict[str, Entry]:
    found = _attributes("", file.attrs)
    for name, item in walk(file):
        if isinstance(item, h5py.Dataset):
            found[name] = _dataset(item)
        found.update(_attributes(name, item.attrs))
    return found


def _nexus_entries(entry: h5py.Group) -> dict[str, Entry]:
    """Return what stands in groups of a class, by class and name; the first of several."""
    found: dict[str, Entry] = {}
    for _, group in groups_under(entry):
        nexus_class = text_of(group.attrs.get("NX_class"))
        for key in group:
            item = item_at(group, key)
            if isinstance(item, h5py.Dataset):
                found.setdefault(f"{{{nexus_class}}}/{key}", _dataset(item))
    return found


def _dataset(dataset: h5py.Dataset) -> Entry:
    dtype = np.dtype("U1") if h5py.check_string_dtype(dataset.dtype) else dataset.dtype
    read = functools.cache(lambda: np.asarray(dataset[()]))
    return Entry(dataset.shape or (), dtype, read)


def _attributes(place: str, attributes: Mapping[str, Any]) -> dict[str, Entry]:
    found = {}
    for name, value in attributes.items():
        array = np.asarray("" if isinstance(value, h5py.Empty) else value)
        found[f"{place}@{name}"] = Entry(array.shape, array.dtype, functools.partial(np.asarray, array))
    return found
