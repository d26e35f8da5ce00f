"""Ptychodus' assembled patterns (``diffraction.h5``) and the product beside them, which holds positions, energy and probe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from daemon.files.access import array_of, atomic_hdf5, positive
from daemon.files.near_field import NEAR_FIELD
from daemon.files.product import read_product
from daemon.files.scan import ScanFile
from daemon.files.scan_parts import mask_with, one_side, paired
from daemon.files.shapes import read_frames
from ptychopinn.errors import FileFormatError

PRODUCT_NAME = "product.h5"


def is_patterns(file: h5py.File) -> bool:
    """Whether the file has assembled patterns."""
    return isinstance(file.get("patterns"), h5py.Dataset)


def read_patterns(file: h5py.File, path: Path) -> ScanFile:
    """Return the patterns of an open file, with positions, energy and probe from ``product.h5`` beside it."""
    patterns = file["patterns"]
    frames = read_frames(patterns, path)
    scan = ScanFile(
        name=path.name.split(".")[0],
        counts=frames.counts,
        indexes=array_of(file, "indexes").astype(np.int64),
        detector_pixel_size_m=one_side(
            path,
            "detector",
            positive(patterns.attrs.get("detector_pixel_width_m", 0.0)),
            positive(patterns.attrs.get("detector_pixel_height_m", 0.0)),
        ),
        mask=mask_with(frames, array_of(file, "bad_pixels").astype(bool) if "bad_pixels" in file else None),
        doubts=tuple(frames.doubts),
        absent=frames.absent,
    )
    beside = path.with_name(PRODUCT_NAME)
    if not beside.exists():
        return replace(scan, notes=(f"there is no {PRODUCT_NAME} beside the patterns: positions are unknown",))
    product = read_product(beside)
    if not product.is_far_field:
        raise FileFormatError(f"{path}: is a near-field scan, as {PRODUCT_NAME} says; {NEAR_FIELD}")
    return replace(
        scan,
        name=product.name,
        positions_m=paired(beside, scan.indexes, product.indexes, product.positions_m),
        photon_energy_eV=product.photon_energy_eV,
        detector_distance_m=product.detector_distance_m,
        object_pixel_size_m=product.pixel_size_m,
        probe=product.probe,
        object=product.object,
        object_origin_px=product.object_origin_px,
    )


def write_patterns(path: Path, scan: ScanFile) -> None:
    """Write the patterns of ``scan``, ascending by frame index.

    Raises
    ------
    FileFormatError
        If the scan does not state the detector pixel, which ptychodus needs.
    """
    if scan.detector_pixel_size_m is None:
        raise FileFormatError(
            f"{path}: ptychodus requires the detector pixel, which {scan.name} does not state; give it"
        )
    order = np.argsort(scan.indexes)
    rows, columns = scan.counts.shape[1:]
    with atomic_hdf5(path) as file:
        packed = file.create_dataset(
            "patterns", data=scan.counts[order], chunks=(1, rows, columns), compression="gzip", shuffle=True
        )
        for key in ("detector_pixel_width_m", "detector_pixel_height_m"):
            packed.attrs[key] = scan.detector_pixel_size_m
        file["indexes"] = scan.indexes[order]
        file["bad_pixels"] = np.zeros((rows, columns), bool) if scan.mask is None else scan.mask
