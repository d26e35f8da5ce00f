"""Makes the files of this folder from their originals; README.md says where those are.

    python make_independent.py PETRAIII_P25_Near_Field_Ptycho.cxi example_nxptycho_cxi_compatible.nxs \
        example_nxptycho_cxi_compatible_raster.nxs
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np

HERE = Path(__file__).parent
FRAMES = 12
MOST_VALUES = 3


def first_frames(source: Path, target: Path) -> None:
    """Copy a CXI file with its links and attributes, and only the first frames."""
    with h5py.File(source) as old, h5py.File(target, "w") as new:
        for name in old:
            old.copy(name, new, expand_soft=False)
        for name in ("entry_1/instrument_1/detector_1/data", "entry_1/sample_1/geometry_1/translation"):
            values = new[name][:FRAMES]
            del new[name]
            packed = {"compression": "gzip", "compression_opts": 9, "shuffle": True} if values.ndim == 3 else {}
            new.create_dataset(name, data=values, **packed)
    with h5py.File(target) as old, h5py.File(target.with_suffix(".part"), "w") as new:  # leaves the freed space behind
        for name in old:
            old.copy(name, new, expand_soft=False)
    target.with_suffix(".part").replace(target)


def structure(source: Path) -> dict[str, Any]:
    """Return names, number types, shapes, attributes and single values of a file, its links as links; no arrays."""
    found: dict[str, Any] = {}
    with h5py.File(source) as file:
        waiting = [file]
        while waiting:
            group = waiting.pop(0)
            for key in group:
                link = group.get(key, getlink=True)
                item = group[key]
                name = f"{group.name}/{key}".lstrip("/")
                if isinstance(link, h5py.SoftLink):
                    found[name] = {"soft": link.path}
                elif isinstance(item, h5py.Group):
                    found[name] = {"attrs": attributes(item)}
                    waiting.append(item)
                else:
                    about: dict[str, Any] = {"dtype": item.dtype.str, "shape": item.shape, "attrs": attributes(item)}
                    if item.size <= MOST_VALUES:
                        about["value"] = plain(item[()])
                    found[name] = about
    return found


def attributes(item: h5py.HLObject) -> dict[str, Any]:
    """Return the attributes of an item as JSON can hold them."""
    return {name: plain(value) for name, value in item.attrs.items()}


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    if isinstance(value, np.ndarray):
        return [plain(one) for one in value.tolist()]
    if isinstance(value, np.generic):
        value = value.item()
    return value.decode() if isinstance(value, bytes) else value


if __name__ == "__main__":
    p25, *nexus = map(Path, sys.argv[1:])
    first_frames(p25, HERE / "cdtools-p25-12-frames.cxi")
    for path in nexus:
        (HERE / f"{path.stem}.json").write_text(json.dumps(structure(path), indent=1) + "\n")
