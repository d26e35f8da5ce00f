"""Reading a scan: the one entry, which tells formats apart by content.

Read are CXI, NXptycho, ptypy's ptyd, ptychodus' patterns beside a product, and NPZ of three kinds (also in bzip2).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from daemon.files.access import array_of, open_arrays, positive
from daemon.files.cxi import is_cxi, read_cxi_scan
from daemon.files.nexus import nexus_entry, read_nexus
from daemon.files.npz import read_npz
from daemon.files.product import is_product, read_product
from daemon.files.ptyd import is_ptyd, read_ptyd
from daemon.files.scan import ScanFile, completed, one_side, paired
from ptychopinn.errors import FileFormatError

PRODUCT_NAME = "product.h5"


def read_scan(path: Path | str) -> ScanFile:
    """Return the scan in a file of any known kind, read whole into memory.

    Raises
    ------
    FileFormatError
        If the file is of no known kind, is damaged, or lacks what a scan needs.
    """
    path = Path(path)
    with open_arrays(path) as opened:
        scan = _read_hdf5(opened, path) if isinstance(opened, h5py.File) else read_npz(opened, path)
    return completed(scan, path)


def _read_hdf5(file: h5py.File, path: Path) -> ScanFile:
    entry = nexus_entry(file)
    if entry is not None:
        return read_nexus(entry, path)
    if is_cxi(file):
        return read_cxi_scan(file, path)
    if is_ptyd(file):
        return read_ptyd(file, path)
    if isinstance(file.get("patterns"), h5py.Dataset):
        return _read_ptychodus(file, path)
    if is_product(file):
        raise FileFormatError(f"{path}: is a product and holds no patterns; give the scan it was made from")
    raise FileFormatError(f"{path}: is HDF5 of no known kind; give CXI, NXptycho, ptyd or ptychodus patterns")


def _read_ptychodus(file: h5py.File, path: Path) -> ScanFile:
    """Return ptychodus' assembled patterns, with positions, energy and probe from ``product.h5`` beside them."""
    patterns = file["patterns"]
    scan = ScanFile(
        name=path.name.split(".")[0],
        counts=patterns[()],
        indexes=array_of(file, "indexes").astype(np.int64),
        detector_pixel_size_m=one_side(
            path,
            "detector",
            positive(patterns.attrs.get("detector_pixel_width_m", 0.0)),
            positive(patterns.attrs.get("detector_pixel_height_m", 0.0)),
        ),
        mask=array_of(file, "bad_pixels").astype(bool) if "bad_pixels" in file else None,
    )
    beside = path.with_name(PRODUCT_NAME)
    if not beside.exists():
        return replace(scan, notes=(f"no {PRODUCT_NAME} beside the patterns: positions are unknown",))
    product = read_product(beside)
    return replace(
        scan,
        name=product.name,
        positions_m=paired(beside, scan.indexes, product.indexes, product.positions_m),
        photon_energy_eV=product.photon_energy_eV,
        detector_distance_m=product.detector_distance_m,
        object_pixel_size_m=product.pixel_size_m,
        probe=product.probe,
    )
