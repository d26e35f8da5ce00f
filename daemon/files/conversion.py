"""Converts files of scans and results: reads by content, writes the kind that was asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from daemon.files.access import open_arrays
from daemon.files.completion import in_both_units
from daemon.files.cxi import write_cxi
from daemon.files.live_group import LiveGroup
from daemon.files.nexus import write_nexus
from daemon.files.npz import write_npz
from daemon.files.patterns import PRODUCT_NAME, is_patterns, write_patterns
from daemon.files.product import UNKNOWN_PIXEL_SIZE_M, Product, is_product, read_product, write_product
from daemon.files.ptyd import write_ptyd
from daemon.files.ptyr import is_ptyr, read_ptyr, write_ptyr
from daemon.files.scan import ScanFile
from daemon.files.scan_file import read_scan
from ptychopinn.errors import FileFormatError, GeometryError
from ptychopinn.physics.scan_check import check_extent

SUFFIXES = {
    ".npz": "npz-ptychopinn",
    ".cxi": "cxi",
    ".ptyd": "ptyd",
    ".nxs": "nexus",
    ".nx": "nexus",
    ".ptyr": "ptyr",
    ".h5": "product",
    ".hdf5": "product",
}
"""Kind by the suffix of the name."""


def _write_with_product(path: Path, scan: ScanFile) -> None:
    if path.name == PRODUCT_NAME:
        raise FileFormatError(f"{path}: {PRODUCT_NAME} is written beside the patterns; give the patterns another name")
    write_patterns(path, scan)
    if scan.positions_m is not None and scan.probe is not None:
        write_product(path.with_name(PRODUCT_NAME), product_of(scan, path))


def _with_optics(write: Callable[[Path, ScanFile], None], what: str) -> Callable[[Path, ScanFile], None]:
    """Return a writer that refuses scans without the optics that its format requires."""

    def checked(path: Path, scan: ScanFile) -> None:
        wanted = ("photon_energy_eV", "detector_distance_m", "detector_pixel_size_m")
        missing = [name for name in wanted if getattr(scan, name) is None]
        if missing:
            raise FileFormatError(
                f"{path}: {what} requires {', '.join(missing)}, which {scan.name} does not state; convert to npz instead"
            )
        write(path, scan)

    return checked


SCAN_WRITERS: dict[str, Callable[[Path, ScanFile], None]] = {
    "npz-ptychopinn": lambda path, scan: write_npz(path, scan, "ptychopinn"),
    "npz-diffraction": lambda path, scan: write_npz(path, scan, "diffraction"),
    "npz-diff3d": lambda path, scan: write_npz(path, scan, "diff3d"),
    "cxi": _with_optics(write_cxi, "CXI"),
    "ptyd": _with_optics(write_ptyd, "ptyd"),
    "nexus": _with_optics(write_nexus, "NeXus"),
    "patterns": _write_with_product,
}
RESULT_WRITERS: dict[str, Callable[[Path, Product], None]] = {"product": write_product, "ptyr": write_ptyr}
KINDS = (*SCAN_WRITERS, *RESULT_WRITERS)


def read_any(path: Path, domain: str = "", scan_number: int | None = None) -> ScanFile | Product:
    """Return the scan or the result in a file of any known kind; options as in :func:`read_scan`."""
    with open_arrays(path) as file:
        if isinstance(file, h5py.File):
            if is_ptyr(file):
                return read_ptyr(file, path)
            if is_product(file) and not is_patterns(file):
                return read_product(path)
    return read_scan(path, domain, scan_number)


def write_kind(path: Path, content: ScanFile | Product, kind: str) -> None:
    """Write a scan or a result as a file of a kind.

    Raises
    ------
    FileFormatError
        If the content lacks data that this kind requires.
    """
    try:
        if kind in RESULT_WRITERS:
            RESULT_WRITERS[kind](path, content if isinstance(content, Product) else product_of(content, path))
        elif isinstance(content, Product):
            raise FileFormatError(
                f"{path}: {content.name} is a result without patterns; convert its scan, or write {', '.join(RESULT_WRITERS)}"
            )
        else:
            SCAN_WRITERS[kind](path, content)
    except OSError as fault:
        raise FileFormatError(f"{path}: cannot be written ({fault.strerror or fault}); choose another place") from fault
    except GeometryError as fault:
        raise FileFormatError(f"{path}: {fault}") from fault


def with_more(scan: ScanFile, *, probe: NDArray[np.complex64] | None, pixel_size_m: float | None) -> ScanFile:
    """Return a scan with another probe, and with an object pixel that its file did not state."""
    if probe is not None:
        scan = replace(scan, probe=probe)
    return scan if pixel_size_m is None else in_both_units(replace(scan, object_pixel_size_m=pixel_size_m))


def product_of(scan: ScanFile, path: Path) -> Product:
    """Return a product with a scan's positions and probe; the object is the scan's truth or guess, else ones.

    Without a pixel size it is in pixels.

    Raises
    ------
    FileFormatError
        If the scan has no positions, no probe, or metres without the object pixel.
    """
    is_in_pixels = scan.object_pixel_size_m is None and scan.positions_m is None and scan.positions_px is not None
    if is_in_pixels:
        scan = replace(scan, object_pixel_size_m=UNKNOWN_PIXEL_SIZE_M, positions_m=scan.positions_px)
    wanted = {"probe": scan.probe, "positions": scan.positions_m, "object pixel": scan.object_pixel_size_m}
    missing = [name for name, value in wanted.items() if value is None]
    if missing or scan.probe is None or scan.positions_m is None or scan.object_pixel_size_m is None:
        raise FileFormatError(f"{path}: a product requires {', '.join(missing)}, which {scan.name} lacks; give it")
    picture, origin = scan.object, scan.object_origin_px
    if picture is None:
        side = scan.probe.shape[-1]
        positions_px = scan.positions_m / scan.object_pixel_size_m
        check_extent(positions_px, side)
        low = np.floor(positions_px.min(axis=0)) - side // 2
        rows, columns = (np.ceil(positions_px.max(axis=0) - low) + (side + 1) // 2 + 1).astype(int)
        picture, origin = np.ones((rows, columns), np.complex64), (float(low[0]), float(low[1]))
    return Product(
        name=scan.name,
        comments="\n".join(scan.notes),
        indexes=scan.indexes,
        positions_m=scan.positions_m,
        probe=scan.probe,
        pixel_size_m=scan.object_pixel_size_m,
        photon_energy_eV=scan.photon_energy_eV,
        detector_distance_m=scan.detector_distance_m,
        object=picture,
        object_origin_px=origin,
        live=LiveGroup() if is_in_pixels else None,
    )
