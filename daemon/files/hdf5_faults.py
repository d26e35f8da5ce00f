"""Explains why an HDF5 file cannot be read, and finds missing compression filters."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import bitshuffle.h5  # noqa: F401  registers the filter of detector files with HDF5
import h5py

from daemon.files.links import raw_files, walk
from daemon.files.missing import gaps

LEFT_OPEN = "already open for write"
CUT_SHORT = re.compile(r"truncated file: eof = (\d+), .*stored_eof = (\d+)")
FILTERS = {
    307: "bzip2",
    32001: "Blosc",
    32004: "LZ4",
    32008: "bitshuffle",
    32013: "ZFP",
    32015: "Zstandard",
    32017: "SZ",
    32018: "FCIDECOMP",
    32024: "SZ3",
    32026: "Blosc2",
    32028: "SPERR",
}
"""Registered filters that hdf5plugin provides."""


def use_filter_plugins() -> None:
    """Let HDF5 find the filters of hdf5plugin if it is installed; each is loaded when a file needs it."""
    spec = importlib.util.find_spec("hdf5plugin")
    if spec is not None and spec.origin is not None:
        h5py.h5pl.append(str(Path(spec.origin).parent / "plugins").encode())


def cause(fault: Exception) -> str:
    """Return the cause, as part of a sentence, why a library could not read a file."""
    words = " ".join(str(fault).split())
    if isinstance(fault, MemoryError):
        return f"does not fit into memory ({words}); split the scan"
    if "allow_pickle" in words:
        return "contains pickled Python objects, which are never loaded; write plain arrays"
    if LEFT_OPEN in words:
        return (
            "was not closed by the program that wrote it, which was killed or still writes; "
            "once it has ended, mark the file as closed with h5clear -s and try again"
        )
    if isinstance(fault, BlockingIOError) or "unable to lock file" in words:
        return "is locked by the program that writes it; wait until that has closed it"
    cut = CUT_SHORT.search(words)
    if cut is not None:
        return f"is cut short: it has {int(cut[1]):,} of {int(cut[2]):,} bytes; copy it again"
    return f"is damaged or of another format ({words or type(fault).__name__}); copy or write it again"


def missing_parts(file: h5py.File) -> str:
    """Return a sentence about a missing filter or file of raw data that an open file needs; empty if there is none."""
    for name, item in walk(file):
        if isinstance(item, h5py.Dataset):
            said = _lacking_filter(item) or _lacking_raw_file(item) or _lacking_source(item)
            if said:
                return f"{name} {said}"
    return ""


def _lacking_filter(dataset: h5py.Dataset) -> str:
    plist = dataset.id.get_create_plist()
    for at in range(plist.get_nfilters()):
        code, _, _, own_name = plist.get_filter(at)
        if not h5py.h5z.filter_avail(code):
            name = FILTERS.get(code) or own_name.decode("utf-8", "replace") or "unknown name"
            remedy = "pip install hdf5plugin" if code in FILTERS else "write the file with gzip"
            return f"is compressed with filter {code} ({name}), which is not installed: {remedy}"
    return ""


def _lacking_raw_file(dataset: h5py.Dataset) -> str:
    gone = next((place for place in raw_files(dataset) if not place.exists()), None)
    return "" if gone is None else f"has its values in {gone}, which does not exist; copy it there"


def _lacking_source(dataset: h5py.Dataset) -> str:
    reasons = gaps(dataset).reasons if dataset.is_virtual and dataset.ndim > 1 else {}
    return f"comes from other files: {'; '.join(reasons)}" if reasons else ""


use_filter_plugins()
