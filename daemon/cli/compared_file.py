"""Reads a picture from a file of any kind: product, saved picture, array, or a scan with its truth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from daemon.cli.scan_input import read_data
from daemon.files import Product, read_product
from daemon.files.access import open_arrays
from daemon.files.product import is_product
from daemon.files.ptyr import is_ptyr, read_ptyr
from daemon.journal.reading import is_journal
from ptychopinn.diagnosis.comparison import PlacedPicture, known_pixels, well_covered
from ptychopinn.errors import FileFormatError
from ptychopinn.workflow.export import load_picture

PICTURE_KEYS = {"object", "weight", "origin_px"}
"""Keys of a saved picture."""
UNKNOWN_PIXEL_M = 1.0
"""Pixel in products whose pixel size is not known; no object has one of a metre."""


@dataclass(frozen=True, slots=True, eq=False)
class ComparedFile:
    """The picture in a file; pixel size, R-factor, and positions ``(n, 2)`` of frames, as far as the file gives them."""

    picture: PlacedPicture
    pixel_size_m: float | None = None
    rfactor: float | None = None
    indexes: NDArray[np.int64] | None = None
    positions_px: NDArray[np.float64] | None = None


def read_compared(path: Path) -> ComparedFile:
    """Return the picture in a file.

    Raises
    ------
    FileFormatError
        If the file holds none, or is damaged.
    """
    if path.suffix == ".npy":
        return _plain(_loaded_array(path), path)
    if is_journal(path):
        raise FileFormatError(f"{path}: is a journal and holds no picture; give the product of the scan")
    with open_arrays(path) as file:
        if isinstance(file, h5py.File) and is_ptyr(file):
            return _of_product(read_ptyr(file, path))
        keys = set(file.files if isinstance(file, NpzFile) else file)
        is_made = isinstance(file, h5py.File) and is_product(file)
        if keys == {"object"} and isinstance(file, NpzFile):
            return _plain(file["object"], path)
    if is_made:
        return _of_product(read_product(path))
    return _saved(path) if keys >= PICTURE_KEYS else _truth(path)


def _of_product(product: Product) -> ComparedFile:
    live = product.live
    weight = None if live is None else live.refined_weight
    if live is not None and weight is None and live.network_weight is not None:
        weight = live.network_weight if live.network_weight.shape == product.object.shape else None
    is_pixel_known = product.pixel_size_m != UNKNOWN_PIXEL_M
    return ComparedFile(
        PlacedPicture(product.object, _known(product, weight), product.object_origin_px),
        pixel_size_m=product.pixel_size_m if is_pixel_known else None,
        rfactor=None if live is None else live.rfactors.get("refined", live.rfactors.get("network")),
        indexes=product.indexes if len(product.positions_m) else None,
        positions_px=product.positions_m / product.pixel_size_m if len(product.positions_m) else None,
    )


def _known(product: Product, weight: NDArray[np.float32] | None) -> NDArray[np.bool_]:
    """Return the well covered pixels; without a weight it is computed from positions and probe."""
    weight = _coverage(product) if weight is None else weight
    return (
        known_pixels(product.object) if weight is None else well_covered(weight) & known_pixels(product.object, weight)
    )


def _coverage(product: Product) -> NDArray[np.float32] | None:
    """Return the sum of the probe's intensity over all frames; None without positions on the object."""
    size = product.probe.shape[-1]
    spread = np.square(np.abs(product.probe)).sum(axis=0)
    coverage = np.zeros(product.object.shape, dtype=np.float32)
    corners = product.positions_m / product.pixel_size_m - np.array(product.object_origin_px) - size // 2
    corners = np.rint(corners[np.isfinite(corners).all(axis=1)]).astype(int)
    inside = (corners >= 0).all(axis=1) & (corners + size <= np.array(coverage.shape)).all(axis=1)
    for y, x in corners[inside].tolist():
        coverage[y : y + size, x : x + size] += spread
    return coverage if inside.any() and coverage.any() else None


def _saved(path: Path) -> ComparedFile:
    picture = load_picture(path)
    known = well_covered(picture.weight) & known_pixels(picture.object, picture.weight)
    rfactor = picture.rfactors[-1] if picture.rfactors else None
    return ComparedFile(PlacedPicture(picture.object, known, picture.origin_px), rfactor=rfactor)


def _truth(path: Path) -> ComparedFile:
    scan = read_data(path)
    if scan.object is None:
        raise FileFormatError(
            f"{path}: is a scan without an object; give a product, a saved picture or a scan with its truth"
        )
    pixel_m, positions = scan.object_pixel_size_m, scan.positions_px
    if positions is None and scan.positions_m is not None and pixel_m:
        positions = scan.positions_m / pixel_m
    known = known_pixels(scan.object)
    return ComparedFile(
        PlacedPicture(scan.object, known, scan.object_origin_px),
        pixel_size_m=pixel_m,
        indexes=None if positions is None else scan.indexes,
        positions_px=positions,
    )


def _plain(field: NDArray[np.generic], path: Path) -> ComparedFile:
    if field.ndim != 2 or not np.iscomplexobj(field):
        raise FileFormatError(
            f"{path}: the picture is {field.dtype} of shape {field.shape}; write a complex array (H, W)"
        )
    picture = np.asarray(field, dtype=np.complex64)
    return ComparedFile(PlacedPicture(picture, known_pixels(picture)))


def _loaded_array(path: Path) -> NDArray[np.generic]:
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (OSError, ValueError, EOFError) as fault:
        raise FileFormatError(f"{path}: is not an array of NumPy ({str(fault).splitlines()[0]})") from fault


def centred(one: ComparedFile, other: ComparedFile) -> ComparedFile:
    """Return the first picture with its middle on that of the other one, for pictures that do not lie in one frame."""
    middle = np.array(other.picture.origin_px) + np.array(other.picture.object.shape) / 2
    y, x = (middle - np.array(one.picture.object.shape) / 2).tolist()
    return replace(one, picture=replace(one.picture, origin_px=(y, x)))
