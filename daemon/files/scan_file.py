"""Reads a scan from a file of any supported format, recognised by its content.

Supported are CXI, NXptycho, ptypy's ptyd, ptychodus' patterns beside a product, and NPZ of three kinds (also in bzip2).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py

from daemon.files.access import open_arrays
from daemon.files.completion import completed
from daemon.files.cxi import is_cxi, read_cxi_scan
from daemon.files.doubts import doubt, note
from daemon.files.links import broken_links, linked_files, listed
from daemon.files.nexus import nexus_entry, read_nexus
from daemon.files.npz import read_npz
from daemon.files.patterns import is_patterns, read_patterns
from daemon.files.product import is_product
from daemon.files.ptyd import is_ptyd, read_ptyd
from daemon.files.ptyr import is_ptyr
from daemon.files.scan import ScanFile
from daemon.files.several_scans import FileContent
from ptychopinn.errors import FileFormatError


def read_scan(path: Path | str, domain: str = "", scan_number: int | None = None) -> ScanFile:
    """Return the scan in a file of any known kind, read whole into memory.

    Parameters
    ----------
    domain
        Content of the patterns of a training file, in place of its ``measurement_domain``.
    scan_number
        Number of one of several scans in a training file, from 0.

    Raises
    ------
    FileFormatError
        If the format is not supported, the file is damaged, or data that a scan needs are missing.
    """
    return completed(read_content(path, domain).scan(scan_number), Path(path))


def read_content(path: Path | str, domain: str = "") -> FileContent:
    """Return all scans in a file, read once and not yet completed: each is ``completed(content.scan(number), path)``."""
    path = Path(path)
    with open_arrays(path) as opened:
        if isinstance(opened, h5py.File):
            return FileContent(_with_links(_read_hdf5(opened, path), opened), None, path)
        return read_npz(opened, path, domain)


def _with_links(scan: ScanFile, file: h5py.File) -> ScanFile:
    """Return ``scan`` with remarks on links: those that lead nowhere, and other files that were read."""
    said = [doubt("links", sentence) for sentence in broken_links(file)]
    others = linked_files(file)
    if others:
        said.append(note("links", f"{len(others)} other files were read with it: {listed(others)}"))
    if file.swmr_mode:
        said.append(
            doubt(
                "missing",
                "the program that wrote it did not close it (it was killed, or still writes); it was read as far as written",
            )
        )
    return replace(scan, doubts=(*scan.doubts, *said))


def _read_hdf5(file: h5py.File, path: Path) -> ScanFile:
    entry = nexus_entry(file)
    if entry is not None:
        return read_nexus(entry, path)
    if is_cxi(file):
        return read_cxi_scan(file, path)
    if is_ptyd(file):
        return read_ptyd(file, path)
    if is_patterns(file):
        return read_patterns(file, path)
    if is_product(file) or is_ptyr(file):
        raise FileFormatError(f"{path}: is a product and holds no patterns; give the scan it was made from")
    broken = broken_links(file)
    if broken:
        raise FileFormatError(f"{path}: is HDF5 of an unknown layout, and its links lead nowhere: {listed(broken)}")
    raise FileFormatError(f"{path}: is HDF5 of an unknown layout; give CXI, NXptycho, ptyd or ptychodus patterns")
