"""Products: HDF5 in the layout of ptychodus 1.7.0, which can open them, plus the group ``live`` for this program.

* Position rule. A frame at ``q`` pixels (metres / pixel size) lies on canvas pixel ``q - origin``. ptychodus puts it on
  ``(x_m - center_x_m) / pixel + (width - 1) / 2``, so ``center = (origin + (size - 1) / 2) * pixel``, y alike: the
  same pixel for both.
* ``probe_position_indexes`` are frame indexes, ascending, each once.
* Names that changed between ptychodus' versions (energy, mass attenuation) are written in both spellings and read in
  either. Unknown optics are written as 0.0, since ptychodus requires them, and mentioned in the comments.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from daemon.files.access import array_of, atomic_hdf5, open_arrays, positive, text_of
from daemon.files.live_group import LiveGroup, origin_pair, read_live, write_live
from daemon.files.scan_parts import one_side, probe_modes
from ptychopinn.errors import FileFormatError, GeometryError

FORMAT_VERSION = 1
CHUNK_PX = 256
"""Side of a chunk of the object, 0.5 MiB: parts of a large picture are read alone."""
UNKNOWN_PIXEL_SIZE_M = 1.0
"""Pixel of products whose pixel size is not known: lengths in metres are then pixels. No object has a pixel of a metre."""
IN_PIXELS = "The pixel size is not known: one metre in this file means one pixel."
UNKNOWN_OPTICS = "Photon energy or detector distance were not known and are written as 0."
ENERGY_KEYS = ("photon_energy_eV", "probe_energy_eV")
ZERO_KEYS = (
    "exposure_time_s",
    "mass_attenuation_m2_per_kg",
    "mass_attenuation_m2_kg",
    "tomography_angle_deg",
    "tilt_angle_deg",
    "focus_object_distance_m",
)


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """One reconstruction.

    ``indexes`` ``(n,)`` frame indexes of ``positions_m`` ``(n, 2)`` [y, x]; ``probe`` ``(modes, N, N)``, its energy
    the expected counts; ``object`` ``(H, W)`` whose pixel (0, 0) lies at ``object_origin_px`` [y, x]; one pixel size;
    ``losses`` the R-factor after each pass (of other programs: their loss), which ptychodus plots.
    """

    name: str
    comments: str
    indexes: NDArray[np.int64]
    positions_m: NDArray[np.float64]
    probe: NDArray[np.complex64]
    pixel_size_m: float
    photon_energy_eV: float | None  # noqa: N815
    detector_distance_m: float | None
    object: NDArray[np.complex64]
    object_origin_px: tuple[float, float]
    live: LiveGroup | None = None
    is_far_field: bool = True
    losses: tuple[float, ...] = ()

    @property
    def known_pixel_size_m(self) -> float | None:
        """The pixel size; None if it is not known, and lengths are in pixels."""
        return known_pixel_size(self.pixel_size_m)


def known_pixel_size(pixel_size_m: float) -> float | None:
    """Return a pixel size; None for :data:`UNKNOWN_PIXEL_SIZE_M`."""
    return None if pixel_size_m == UNKNOWN_PIXEL_SIZE_M else pixel_size_m


def write_product(path: Path | str, product: Product) -> None:
    """Write ``product``; ``path`` is the complete new file or the former one, never a partial file.

    Raises
    ------
    GeometryError
        If an index occurs twice or shapes do not fit together.
    OSError
        If the file cannot be written.
    """
    order = _checked_order(product)
    with atomic_hdf5(Path(path)) as file:
        _write_attributes(file, product)
        file["probe_position_indexes"] = product.indexes[order].astype(np.int64)
        for axis, key in enumerate(("probe_position_y_m", "probe_position_x_m")):
            file[key] = product.positions_m[order, axis].astype(np.float64)
        probe = file.create_dataset("probe", data=product.probe.astype(np.complex64)[None])
        pixels = {"pixel_height_m": product.pixel_size_m, "pixel_width_m": product.pixel_size_m}
        probe.attrs.update(pixels)
        picture = file.create_dataset(
            "object", data=product.object.astype(np.complex64, copy=False)[None], chunks=_chunks(product)
        )
        picture.attrs.update(pixels)
        center = object_center_m(product.object_origin_px, product.object.shape, product.pixel_size_m)
        picture.attrs.update({"center_y_m": center[0], "center_x_m": center[1]})
        picture.attrs["origin_px"] = np.array(product.object_origin_px, dtype=np.float64)
        file["object_layer_spacing_m"] = np.zeros(0)
        losses = np.array(product.losses, dtype=np.float64)
        file["loss_epochs"], file["loss_values"] = np.arange(len(losses), dtype=np.int64), losses
        if product.live is not None:
            write_live(file.create_group("live"), product.live)
            file["live"].attrs["is_pixel_size_known"] = product.known_pixel_size_m is not None


def read_product(path: Path | str) -> Product:
    """Return the product in a file of this program or of ptychodus (any version since 2025).

    Raises
    ------
    FileFormatError
        If the file is damaged, is not a product, or has several layers or rectangular pixels.
    """
    path = Path(path)
    with open_arrays(path) as file:
        if not isinstance(file, h5py.File) or not is_product(file):
            raise FileFormatError(f"{path}: is not a product; give an HDF5 file with probe_position_indexes and object")
        return _read(file, path)


def is_product(file: h5py.File) -> bool:
    """Whether the file has the two datasets that every product has."""
    return all(isinstance(file.get(key), h5py.Dataset) for key in ("probe_position_indexes", "object"))


def object_center_m(origin_px: tuple[float, float], shape: tuple[int, ...], pixel_size_m: float) -> tuple[float, float]:
    """Return ptychodus' centre (y, x) of an object whose pixel (0, 0) lies at ``origin_px``."""
    y, x = ((origin + (size - 1) / 2) * pixel_size_m for origin, size in zip(origin_px, shape, strict=True))
    return y, x


def probe_pixel_size_m(file: h5py.File, path: Path) -> float | None:
    """Return the pixel of the probe in an open product, the object's if the probe states none."""
    for key in ("probe", "object"):
        attributes = file[key].attrs if key in file else {}
        sides = [positive(attributes.get(name, 0.0)) for name in ("pixel_width_m", "pixel_height_m")]
        if any(sides):
            side = one_side(path, key, *sides)
            return None if side is None else known_pixel_size(side)
    return None


def _checked_order(product: Product) -> NDArray[np.intp]:
    frames = len(product.indexes)
    if product.positions_m.shape != (frames, 2) or product.object.ndim != 2 or product.probe.ndim != 3:
        raise GeometryError(
            f"product {product.name}: {frames} indexes, positions {product.positions_m.shape}, object "
            f"{product.object.shape}, probe {product.probe.shape} do not fit together"
        )
    live = product.live
    if live is not None:
        pairs = [(live.network_weight, live.network), (live.refined_weight, product.object)]
        shapes = [[None if array is None else array.shape for array in pair] for pair in pairs]
        if any(weight not in (None, picture) for weight, picture in shapes):
            raise GeometryError(f"product {product.name}: a weight does not have the shape of its layer")
    if len(np.unique(product.indexes)) != frames:
        raise GeometryError(f"product {product.name}: a frame index occurs twice")
    return np.argsort(product.indexes)


def _chunks(product: Product) -> tuple[int, int, int] | None:
    height, width = product.object.shape
    return (1, min(height, CHUNK_PX), min(width, CHUNK_PX)) if height and width else None


def _write_attributes(file: h5py.File, product: Product) -> None:
    comments = product.comments
    if (product.photon_energy_eV is None or product.detector_distance_m is None) and UNKNOWN_OPTICS not in comments:
        comments = f"{comments}\n{UNKNOWN_OPTICS}".strip()
    if product.known_pixel_size_m is None and IN_PIXELS not in comments:
        comments = f"{comments}\n{IN_PIXELS}".strip()
    file.attrs["format_version"] = FORMAT_VERSION
    file.attrs["name"] = product.name
    file.attrs["comments"] = comments
    file.attrs["detector_object_distance_m"] = product.detector_distance_m or 0.0
    for key in ENERGY_KEYS:
        file.attrs[key] = product.photon_energy_eV or 0.0
    for key in ZERO_KEYS:
        file.attrs[key] = 0.0
    file.attrs["probe_photon_count"] = float(np.square(np.abs(product.probe), dtype=np.float64).sum())
    file.attrs["far_field"] = product.is_far_field


def _read(file: h5py.File, path: Path) -> Product:
    dataset = file["object"]
    picture = dataset[()]
    picture = picture[0] if picture.ndim == 3 and len(picture) == 1 else picture
    if picture.ndim != 2 or not np.iscomplexobj(picture):
        raise FileFormatError(f"{path}: the object is {picture.dtype} {picture.shape}; write one complex layer")
    missing = [k for k in ("pixel_width_m", "pixel_height_m", "center_x_m", "center_y_m") if k not in dataset.attrs]
    pixel = one_side(path, "object", *(positive(dataset.attrs.get(f"pixel_{s}_m", 0.0)) for s in ("width", "height")))
    if missing or pixel is None:
        raise FileFormatError(
            f"{path}: the object lacks {', '.join(missing) or 'a pixel size'}; write the product again"
        )
    return Product(
        name=text_of(file.attrs.get("name")) or "Unnamed",
        comments=text_of(file.attrs.get("comments")),
        indexes=array_of(file, "probe_position_indexes").astype(np.int64),
        positions_m=np.stack([array_of(file, f"probe_position_{axis}_m") for axis in "yx"], axis=1).astype(np.float64),
        probe=probe_modes(path, array_of(file, "probe")),
        pixel_size_m=pixel,
        photon_energy_eV=next((e for e in (positive(file.attrs.get(k, 0.0)) for k in ENERGY_KEYS) if e), None),
        detector_distance_m=positive(file.attrs.get("detector_object_distance_m", 0.0)),
        object=picture.astype(np.complex64),
        object_origin_px=_origin(dataset, picture.shape, pixel),
        live=read_live(file["live"]) if isinstance(file.get("live"), h5py.Group) else None,
        is_far_field=bool(file.attrs.get("far_field", True)),
        losses=tuple(array_of(file, "loss_values").astype(np.float64).ravel().tolist())
        if "loss_values" in file
        else (),
    )


def _origin(dataset: h5py.Dataset, shape: tuple[int, ...], pixel_size_m: float) -> tuple[float, float]:
    if "origin_px" in dataset.attrs:
        return origin_pair(dataset.attrs["origin_px"])
    centers = (float(dataset.attrs[f"center_{axis}_m"]) for axis in "yx")
    y, x = (center / pixel_size_m - (size - 1) / 2 for center, size in zip(centers, shape, strict=True))
    return y, x
