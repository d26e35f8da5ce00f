"""NeXus scans of the definition NXptycho: each value has its units, positions are translation axes of the sample.

The laboratory's y points up and x against the columns, and the axes move the SAMPLE; the two signs cancel, so the sum
along vector x is the column, and along vector y the row, of the probe on the sample.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from daemon.files.access import atomic_hdf5, text_of
from daemon.files.doubts import Doubt, note
from daemon.files.extras import GROUP, read_extras, write_extras
from daemon.files.links import broken_links, groups_under, item_at
from daemon.files.no_data import with_frame_mask
from daemon.files.scan import ScanFile
from daemon.files.scan_parts import mask_with, one_side
from daemon.files.shapes import Frames, along_raster, read_frames
from daemon.files.units import length_m, lengths_m, photon_energy_ev
from ptychopinn.errors import FileFormatError

DEFINITIONS = ("NXptycho", "NXcxi_ptycho")
ENERGIES = ("energy", "incident_energy", "incident_beam_energy")
NAMED_DIRECTIONS = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}
WAVELENGTHS = ("wavelength", "incident_wavelength")


def nexus_entry(file: h5py.File) -> h5py.Group | None:
    """Return the first entry whose definition is one of :data:`DEFINITIONS`."""
    entries = (item for key in file if isinstance(item := item_at(file, key), h5py.Group))
    return next((entry for entry in entries if text_of(entry.get("definition")) in DEFINITIONS), None)


def read_nexus(entry: h5py.Group, path: Path) -> ScanFile:
    """Return the scan of an entry, as stated there."""
    detector, patterns = _detector(entry, path)
    frames = read_frames(patterns, path)
    beams = [*_of_class(entry, "NXbeam"), *_of_class(entry, "NXmonochromator")]
    doubts = frames.doubts
    positions_m = _positions(entry, path, frames)
    bad = _mask(detector)
    if bad is not None:
        frames.counts, bad = with_frame_mask(frames.counts, bad)
    found = ScanFile(
        name=text_of(entry.get("title")) or path.name.split(".")[0],
        counts=frames.counts,
        indexes=np.arange(len(frames.counts), dtype=np.int64),
        positions_m=positions_m,
        photon_energy_eV=photon_energy_ev(path, _of(beams, ENERGIES), _of(beams, WAVELENGTHS), "eV", doubts),
        detector_distance_m=length_m(detector.get("distance"), path),
        detector_pixel_size_m=one_side(
            path,
            "detector",
            length_m(detector.get("x_pixel_size"), path),
            length_m(detector.get("y_pixel_size"), path),
        ),
        mask=mask_with(frames, bad),
        doubts=tuple(doubts),
        absent=frames.absent,
    )
    return replace(found, **read_extras(entry))


def _of(groups: list[h5py.Group], keys: tuple[str, ...]) -> list[Any]:
    return [group.get(key) for group in groups for key in keys]


def _detector(entry: h5py.Group, path: Path) -> tuple[h5py.Group, h5py.Dataset]:
    """Return the first detector that has patterns, with them."""
    detectors = _of_class(entry, "NXdetector")
    for detector in detectors:
        patterns = item_at(detector, "data")
        if isinstance(patterns, h5py.Dataset) and patterns.ndim >= 2:
            return detector, patterns
    broken = "; ".join(broken_links(entry))
    if not detectors:
        raise FileFormatError(f"{path}: {entry.name} has no NXdetector; {broken or 'write the scan with its detector'}")
    raise FileFormatError(f"{path}: {detectors[0].name} has no data; {broken or 'write the patterns there'}")


def write_nexus(path: Path, scan: ScanFile) -> None:
    """Write ``scan`` as NXptycho, with gzip and shuffle only.

    Raises
    ------
    FileFormatError
        If the scan has positions in pixels only: NeXus requires metres.
    """
    if scan.positions_m is None and scan.positions_px is not None:
        raise FileFormatError(f"{path}: NeXus requires positions in metres; give the object pixel size of {scan.name}")
    with atomic_hdf5(path) as file:
        file.attrs["default"] = "entry_1"
        entry = _group(file, "entry_1", "NXentry", default="data_1")
        entry["definition"], entry["title"] = "NXptycho", scan.name
        write_extras(_group(entry, GROUP, "NXcollection"), scan, with_probe=True)
        instrument = _group(entry, "instrument_1", "NXinstrument")
        _put(_group(instrument, "beam_1", "NXbeam"), "energy", scan.photon_energy_eV, "eV")
        detector = _group(instrument, "detector_1", "NXdetector")
        packed: dict[str, Any] = {"compression": "gzip", "shuffle": True, "chunks": (1, *scan.counts.shape[1:])}
        detector.create_dataset("data", data=scan.counts, **packed)
        _put(detector, "distance", scan.detector_distance_m, "m")
        for side in ("x_pixel_size", "y_pixel_size"):
            _put(detector, side, scan.detector_pixel_size_m, "m")
        if scan.mask is not None:
            detector["pixel_mask"] = scan.mask.astype(np.uint32)
        data = _group(entry, "data_1", "NXdata", signal="data")
        data["data"] = h5py.SoftLink("/entry_1/instrument_1/detector_1/data")
        if scan.positions_m is not None:
            _write_axes(_group(entry, "sample_1", "NXsample"), scan.positions_m)


def _group(parent: h5py.Group, name: str, nexus_class: str, **attributes: str) -> h5py.Group:
    group = parent.create_group(name)
    group.attrs.update({"NX_class": nexus_class, **attributes})
    return group


def _put(group: h5py.Group, key: str, value: float | None, units: str) -> None:
    if value is not None:
        group[key] = value
        group[key].attrs["units"] = units


def _write_axes(sample: h5py.Group, positions_m: NDArray[np.float64]) -> None:
    axes = _group(sample, "transformations", "NXtransformations")
    sample["depends_on"] = "transformations/x"
    for key, values, vector, parent in (
        ("x", positions_m[:, 1], (1.0, 0.0, 0.0), "y"),
        ("y", positions_m[:, 0], (0.0, 1.0, 0.0), "."),
    ):
        axes[key] = values
        axes[key].attrs.update(
            {"transformation_type": "translation", "vector": vector, "units": "m", "depends_on": parent}
        )


def _mask(detector: h5py.Group) -> NDArray[np.bool_] | None:
    mask = detector.get("pixel_mask")
    if not isinstance(mask, h5py.Dataset) or mask.ndim < 2:
        return None
    bad: NDArray[np.bool_] = np.asarray(mask[()]) != 0
    return bad


def _of_class(group: h5py.Group, nexus_class: str) -> list[h5py.Group]:
    """Return the groups of a class, each once, also linked ones."""
    found = [one for name, one in groups_under(group) if name and text_of(one.attrs.get("NX_class")) == nexus_class]
    return list(dict.fromkeys(found))


def _positions(entry: h5py.Group, path: Path, frames: Frames) -> NDArray[np.float64] | None:
    """Return [y, x] summed over the translation axes with one value for each frame; the others are fixed offsets."""
    count = len(frames.counts)
    total = np.zeros((count, 3))
    moving = False
    for axis in _axes(entry):
        vector = _vector(axis, frames.doubts)
        if vector is None:
            continue
        values = along_raster(lengths_m(axis, path), count, frames.raster, is_fast=bool(vector[0]))
        if values is not None:
            total += values[:, None] * vector
            moving = True
    return np.ascontiguousarray(total[:, 1::-1]) if moving else None


def _vector(axis: h5py.Dataset, doubts: list[Doubt]) -> NDArray[np.float64] | None:
    """Return the direction of an axis, by its name if the file states none; ``None`` if both are unknown."""
    if "vector" in axis.attrs:
        vector = np.asarray(axis.attrs["vector"], dtype=np.float64).ravel()
        if vector.shape == (3,):
            return vector
    direction = NAMED_DIRECTIONS.get(axis.name[-1].lower())
    if direction is None:
        return None
    doubts.append(
        note("positions", f"{axis.name} states no vector; by its name it is taken as {axis.name[-1].lower()}")
    )
    return np.array(direction)


def _axes(entry: h5py.Group) -> list[h5py.Dataset]:
    """Return the translations of the samples, each once."""
    found = [
        axis
        for sample in _of_class(entry, "NXsample")
        for group in _of_class(sample, "NXtransformations")
        for axis in (item_at(group, key) for key in group)
        if isinstance(axis, h5py.Dataset) and text_of(axis.attrs.get("transformation_type")) == "translation"
    ]
    return list(dict.fromkeys(found))
