"""ptypy's results (``.ptyr``): ``content`` with ``obj``, ``probe`` and ``positions``, storages under names like Sscan00G00.

A storage has ``data (layers, H, W)``, ``_psize`` and ``_origin`` [y, x] in metres, the place of its first pixel.
Positions are those of a view's pixel N/2 (row, column), metres, as in this program.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from daemon.files.access import array_of, atomic_hdf5, number_of, positive, text_of
from daemon.files.product import Product
from daemon.files.ptyd import put_typed
from daemon.files.scan_parts import one_side, probe_modes
from ptychopinn.errors import FileFormatError

STORAGE = "Sscan00G00"
PTYCHOLIVE = "ptycholive"


def is_ptyr(file: h5py.File) -> bool:
    """Whether the file has ptypy's object and probe."""
    return all(isinstance(file.get(f"content/{key}"), h5py.Group) for key in ("obj", "probe"))


def read_ptyr(file: h5py.File, path: Path) -> Product:
    """Return the first object of an open file, with its probe; and positions if the file has them.

    Raises
    ------
    FileFormatError
        If there is no storage, or it has several layers or rectangular pixels.
    """
    content = file["content"]
    name, storage = _first(content["obj"], path)
    picture = array_of(storage, "data")
    picture = picture[0] if picture.ndim == 3 and len(picture) == 1 else picture
    if picture.ndim != 2 or not np.iscomplexobj(picture):
        raise FileFormatError(f"{path}: the object is {picture.dtype} {picture.shape}; write one complex layer")
    pixel = _object_pixel_m(storage, path)
    origin = np.ravel(array_of(storage, "_origin"))
    positions = content.get(f"positions/{name}")
    positions_m = (
        np.zeros((0, 2)) if not isinstance(positions, h5py.Dataset) else np.asarray(positions[()], dtype=float)
    )
    own = file.get(PTYCHOLIVE)
    indexes: NDArray[np.int64] = np.arange(len(positions_m))
    if isinstance(own, h5py.Group) and own["frame_index"].shape == indexes.shape:
        indexes = own["frame_index"][()]
    attributes: Any = own.attrs if isinstance(own, h5py.Group) else {}
    return Product(
        name=text_of(attributes.get("name")) or path.name.split(".")[0],
        comments=text_of(attributes.get("comments")),
        indexes=indexes,
        positions_m=positions_m,
        probe=read_ptyr_probe(file, path)[0],
        pixel_size_m=pixel,
        photon_energy_eV=positive(attributes.get("photon_energy_eV", 0.0)) or _parameter(content, "energy", 1e3),
        detector_distance_m=positive(attributes.get("detector_distance_m", 0.0))
        or _parameter(content, "distance", 1.0),
        object=picture.astype(np.complex64),
        object_origin_px=(float(origin[0]) / pixel, float(origin[1]) / pixel),
    )


def _object_pixel_m(storage: h5py.Group, path: Path) -> float:
    sides = [positive(side) for side in np.ravel(array_of(storage, "_psize"))[:2]]
    pixel_m = one_side(path, "object", sides[-1], sides[0]) if sides else None
    if pixel_m is None:
        raise FileFormatError(f"{path}: the object states no pixel size; write _psize")
    return pixel_m


def read_ptyr_probe(file: h5py.File, path: Path) -> tuple[NDArray[np.complex64], float | None]:
    """Return the first probe ``(modes, N, N)`` of an open file, and its pixel, metres."""
    _, storage = _first(file["content/probe"], path)
    psize = storage.get("_psize")
    sides = [positive(side) for side in np.ravel(psize[()])[:2]] if isinstance(psize, h5py.Dataset) else []
    return probe_modes(path, array_of(storage, "data")), one_side(path, "probe", sides[-1], sides[0]) if sides else None


def _parameter(content: h5py.Group, key: str, factor: float) -> float | None:
    """Return a parameter of ptypy from the first scan that has it, times a factor."""
    scans = content.get("pars/scans")
    names = list(scans) if isinstance(scans, h5py.Group) else []
    numbers = (number_of(content, f"pars/scans/{name}/data/{key}") for name in names)
    return next((number * factor for number in numbers if number), None)


def write_ptyr(path: Path, product: Product) -> None:
    """Write ``product`` as a result of ptypy."""
    pixel = product.pixel_size_m
    origin_m = np.array(product.object_origin_px) * pixel
    side = product.probe.shape[-1]
    with atomic_hdf5(path) as file:
        put_typed(file, "header", {"kind": "dump", "description": "Ptypy .h5 compatible storage format"})
        content = {
            "obj": {STORAGE: _storage(product.object[None], pixel, origin_m)},
            "probe": {STORAGE: _storage(product.probe, pixel, np.full(2, -(side // 2) * pixel))},
            "positions": {STORAGE: product.positions_m},
        }
        put_typed(file, "content", content)
        own = file.create_group(PTYCHOLIVE)
        own["frame_index"] = product.indexes
        own.attrs.update(name=product.name, comments=product.comments)
        for key in ("photon_energy_eV", "detector_distance_m"):
            if getattr(product, key) is not None:
                own.attrs[key] = getattr(product, key)


def _storage(data: NDArray[Any], pixel_size_m: float, origin_m: NDArray[np.float64]) -> dict[str, Any]:
    return {
        "data": data,
        "_psize": np.full(2, pixel_size_m),
        "_origin": origin_m,
        "_center": -origin_m / pixel_size_m,
        "shape": np.array(data.shape),
    }


def _first(group: h5py.Group, path: Path) -> tuple[str, h5py.Group]:
    for name, storage in group.items():
        if isinstance(storage, h5py.Group) and "data" in storage:
            return name, storage
    raise FileFormatError(f"{path}: {group.name} has no storage; give a finished result of ptypy")
