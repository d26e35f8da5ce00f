"""A small plausible scan, and its file written by h5py alone: what a reader meets that this program did not write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

INDEPENDENT = Path(__file__).parents[1] / "data" / "independent"
FRAMES, N = 16, 16
ENERGY_EV, DISTANCE_M, DETECTOR_PIXEL_M = 8800.0, 1.92, 75e-6
PIXEL_M = 1.2398419843320026e-6 / ENERGY_EV * DISTANCE_M / (N * DETECTOR_PIXEL_M)
JOULES_PER_EV = 1.602176634e-19
PATTERNS = "entry_1/data_1/data"
TRANSLATION = "entry_1/data_1/translation"
DETECTOR = "entry_1/instrument_1/detector_1"
SOURCE = "entry_1/instrument_1/source_1"


def counts(seed: int = 0, dtype: str = "uint32") -> NDArray[Any]:
    """Return patterns ``(16, 16, 16)``, bright in the middle."""
    rows, columns = np.mgrid[:N, :N] - N // 2
    mean = 400 * np.exp(-(rows**2 + columns**2) / 18)
    return np.random.default_rng(seed).poisson(mean, (FRAMES, N, N)).astype(dtype)


def places_m() -> NDArray[np.float64]:
    """Return a raster of 4 x 4 positions [y, x], 3 px apart."""
    rows, columns = np.mgrid[:4, :4]
    return np.stack([rows.ravel(), columns.ravel()], axis=1) * 3.0 * PIXEL_M


def write_cxi(path: Path, **changes: Any) -> Path:
    """Write a CXI file; ``changes`` replace values by their place, ``None`` leaves one out."""
    y, x = places_m().T
    content = {
        PATTERNS: counts(),
        TRANSLATION: np.stack([x, y, 0 * x], axis=1),
        f"{DETECTOR}/distance": DISTANCE_M,
        f"{DETECTOR}/x_pixel_size": DETECTOR_PIXEL_M,
        f"{DETECTOR}/y_pixel_size": DETECTOR_PIXEL_M,
        f"{SOURCE}/energy": ENERGY_EV * JOULES_PER_EV,
        **changes,
    }
    with h5py.File(path, "w") as file:
        for name, value in content.items():
            if value is not None:
                file[name] = value
    return path


def write_nexus(path: Path, data: NDArray[Any], axes: dict[str, Any], **beam: Any) -> Path:
    """Write an NXptycho file; each axis and each value of the beam is a value and its units."""
    with h5py.File(path, "w") as file:
        entry = _group(file, "entry", "NXentry")
        entry["definition"] = "NXptycho"
        instrument = _group(entry, "instrument", "NXinstrument")
        for key, (value, units) in (beam or {"energy": (ENERGY_EV, "eV")}).items():
            _put(instrument.require_group("beam"), key, value, units)
        instrument["beam"].attrs["NX_class"] = "NXbeam"
        detector = _group(instrument, "detector", "NXdetector")
        detector["data"] = data
        for key, value in (("distance", DISTANCE_M), ("x_pixel_size", DETECTOR_PIXEL_M)):
            _put(detector, key, value, "m")
        moves = _group(_group(entry, "sample", "NXsample"), "transformations", "NXtransformations")
        for key, (value, units) in axes.items():
            axis = _put(moves, key, value, units)
            axis.attrs["transformation_type"] = "translation"
            axis.attrs["vector"] = (float(key == "x"), float(key == "y"), 0.0)
    return path


def write_like(path: Path, recorded: str, **values: Any) -> Path:
    """Write a file of the structure of a recorded one; ``values`` fill its arrays by their place, ones all others."""
    about = json.loads((INDEPENDENT / f"{recorded}.json").read_text())
    with h5py.File(path, "w") as file:
        for name, one in about.items():
            if "soft" in one:
                file[name] = h5py.SoftLink(one["soft"])
                continue
            if "dtype" not in one:
                item: Any = file.require_group(name)
            else:
                value = values.get(name, one.get("value", np.ones(one["shape"])))
                dtype = h5py.string_dtype() if one["dtype"] == "|O" else one["dtype"]
                item = file.create_dataset(name, data=value, dtype=dtype)
            for key, value in one["attrs"].items():
                item.attrs[key] = np.array(value, dtype="S") if isinstance(value, list) and "x" in value else value
    return path


def _group(parent: h5py.Group, name: str, nexus_class: str) -> h5py.Group:
    group = parent.create_group(name)
    group.attrs["NX_class"] = nexus_class
    return group


def _put(group: h5py.Group, key: str, value: Any, units: str) -> h5py.Dataset:
    group[key] = value
    group[key].attrs["units"] = units
    return group[key]
