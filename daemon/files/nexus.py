"""NeXus scans of the definition NXptycho: units stand beside each value, positions are translation axes of the sample.

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

from daemon.files.access import atomic_hdf5, positive, text_of
from daemon.files.extras import GROUP, read_extras, write_extras
from daemon.files.scan import ScanFile, one_side
from ptychopinn.errors import FileFormatError

DEFINITIONS = ("NXptycho", "NXcxi_ptycho")
METRES = {"": 1.0, "m": 1.0, "cm": 1e-2, "mm": 1e-3, "um": 1e-6, "µm": 1e-6, "μm": 1e-6, "nm": 1e-9}
ELECTRONVOLTS = {"": 1.0, "eV": 1.0, "keV": 1e3, "J": 1 / 1.602176634e-19}


def nexus_entry(file: h5py.File) -> h5py.Group | None:
    """Return the first entry whose definition is one of :data:`DEFINITIONS`."""
    entries = (item for item in file.values() if isinstance(item, h5py.Group))
    return next((entry for entry in entries if text_of(entry.get("definition")) in DEFINITIONS), None)


def read_nexus(entry: h5py.Group, path: Path) -> ScanFile:
    """Return the scan of an entry, as stated there."""
    detector = _only(entry, "NXdetector", path)
    patterns = detector.get("data")
    if not isinstance(patterns, h5py.Dataset):
        raise FileFormatError(f"{path}: {detector.name} holds no data; keep linked files beside it")
    counts = patterns[()]
    beams = _of_class(entry, "NXbeam")
    found = ScanFile(
        name=text_of(entry.get("title")) or path.name.split(".")[0],
        counts=counts,
        indexes=np.arange(len(counts), dtype=np.int64),
        positions_m=_positions(entry, path, len(counts)),
        photon_energy_eV=_value(beams[0], "energy", ELECTRONVOLTS, path) if beams else None,
        detector_distance_m=_value(detector, "distance", METRES, path),
        detector_pixel_size_m=one_side(
            path,
            "detector",
            _value(detector, "x_pixel_size", METRES, path),
            _value(detector, "y_pixel_size", METRES, path),
        ),
        mask=_mask(detector),
    )
    return replace(found, **read_extras(entry))


def write_nexus(path: Path, scan: ScanFile) -> None:
    """Write ``scan`` as NXptycho, with gzip and shuffle only.

    Raises
    ------
    FileFormatError
        If the scan has positions in pixels only: NeXus knows metres.
    """
    if scan.positions_m is None and scan.positions_px is not None:
        raise FileFormatError(f"{path}: NeXus holds positions in metres; state the object pixel size of {scan.name}")
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
    if not isinstance(mask, h5py.Dataset) or mask.ndim != 2:
        return None
    bad: NDArray[np.bool_] = np.asarray(mask[()]) != 0
    return bad


def _of_class(group: h5py.Group, nexus_class: str) -> list[h5py.Group]:
    found: list[h5py.Group] = []

    def visit(_name: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Group) and text_of(item.attrs.get("NX_class")) == nexus_class:
            found.append(item)

    group.visititems(visit)
    return found


def _only(entry: h5py.Group, nexus_class: str, path: Path) -> h5py.Group:
    found = _of_class(entry, nexus_class)
    if not found:
        raise FileFormatError(f"{path}: {entry.name} has no {nexus_class}; write the scan with its detector")
    return found[0]


def _factor(item: h5py.Dataset, key: str, units: dict[str, float], path: Path) -> float:
    unit = text_of(item.attrs.get(key)).strip()
    if unit not in units:
        raise FileFormatError(f'{path}: {item.name} is in "{unit}"; write one of {", ".join(filter(None, units))}')
    return units[unit]


def _value(group: h5py.Group, key: str, units: dict[str, float], path: Path) -> float | None:
    item = group.get(key)
    if not isinstance(item, h5py.Dataset):
        return None
    number = positive(item[()])
    return None if number is None else number * _factor(item, "units", units, path)


def _positions(entry: h5py.Group, path: Path, frames: int) -> NDArray[np.float64] | None:
    """Return [y, x] summed over the translation axes that have one value a frame; the others are fixed offsets."""
    total = np.zeros((frames, 3))
    moving = False
    for sample in _of_class(entry, "NXsample"):
        for group in _of_class(sample, "NXtransformations"):
            for axis in group.values():
                if not isinstance(axis, h5py.Dataset) or axis.shape != (frames,):
                    continue
                if text_of(axis.attrs.get("transformation_type")) != "translation":
                    continue
                metres = np.asarray(axis[()], dtype=np.float64) * _factor(axis, "units", METRES, path)
                total += metres[:, None] * np.asarray(axis.attrs["vector"], dtype=np.float64)
                moving = True
    return np.ascontiguousarray(total[:, 1::-1]) if moving else None
