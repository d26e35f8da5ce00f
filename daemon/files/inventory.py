"""Lists a file's arrays and attributes by name for the data contract; they are read on demand.

HDF5 attributes are ``place@name``. In NeXus files a group has the name of its class, ``{NXdetector}/data``: its own is free.
"""

from __future__ import annotations

import functools
from typing import Any

import h5py
import numpy as np
from numpy.lib.npyio import NpzFile

from daemon.files.access import text_of
from daemon.files.links import groups_under, item_at, walk
from daemon.files.nexus import nexus_entry
from daemon.files.whole import whole
from ptychopinn.contract import Entry


def inventory(file: h5py.File | NpzFile) -> dict[str, Entry]:
    """Return the entries of an open file."""
    if isinstance(file, h5py.File):
        entry = nexus_entry(file)
        return _hdf5_entries(file) if entry is None else _nexus_entries(entry)
    return _npz_entries(file)


def _npz_entries(archive: NpzFile) -> dict[str, Entry]:
    """Return the arrays of an archive; other members, such as a note in JSON, are left out."""
    found = {}
    for name in archive.files:
        form = _npy_form(archive, name)
        is_none = form is not None and form[0] == () and form[1].kind == "O"  # PtychoPINN pickles None
        if form is not None and not is_none:
            found[name] = Entry(*form, functools.partial(archive.__getitem__, name))
    return found


def _npy_form(archive: NpzFile, name: str) -> tuple[tuple[int, ...], np.dtype[Any]] | None:
    """Return shape and dtype of a member from its first bytes; ``None`` if it is not an array."""
    if archive.zip is None:
        return None
    members = archive.zip.namelist()
    with archive.zip.open(f"{name}.npy" if f"{name}.npy" in members else name) as stream:
        try:
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(stream)
        except ValueError:
            return None
    return shape, dtype


def _hdf5_entries(file: h5py.File) -> dict[str, Entry]:
    found = _attributes("", file.attrs)
    for name, item in walk(file):
        if isinstance(item, h5py.Dataset):
            found[name] = _dataset(item)
        found.update(_attributes(name, item.attrs))
    return found


def _nexus_entries(entry: h5py.Group) -> dict[str, Entry]:
    """Return the datasets of NeXus groups by class and name; the first of several."""
    found: dict[str, Entry] = {}
    for _, group in groups_under(entry):
        nexus_class = text_of(group.attrs.get("NX_class"))
        for key in group:
            item = item_at(group, key)
            if isinstance(item, h5py.Dataset):
                found.setdefault(f"{{{nexus_class}}}/{key}", _dataset(item))
    return found


def _dataset(dataset: h5py.Dataset) -> Entry:
    is_text = h5py.check_string_dtype(dataset.dtype) is not None
    dtype = np.dtype("U1") if is_text else dataset.dtype
    shape = () if is_text and dataset.size == 1 else dataset.shape or ()
    read = functools.cache(lambda: whole(dataset))
    return Entry(shape, dtype, read)


def _attributes(place: str, attributes: h5py.AttributeManager) -> dict[str, Entry]:
    found = {}
    for name in attributes:
        try:
            value = attributes[name]
        except (OSError, TypeError, ValueError, RuntimeError):  # a type that h5py does not support
            continue
        array = np.asarray("" if isinstance(value, h5py.Empty) else value)
        is_text = array.dtype.kind in "SUO"
        found[f"{place}@{name}"] = Entry(
            () if is_text and array.size == 1 else array.shape,
            np.dtype("U1") if is_text else array.dtype,
            functools.partial(np.asarray, array),
        )
    return found
