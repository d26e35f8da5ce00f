"""Reads a probe from a product, a result of ptypy, a scan or an NPZ archive, recognised by its content."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from daemon.files.access import array_of, first_of, open_arrays, positive, text_of
from daemon.files.cxi import ILLUMINATIONS, is_cxi, read_cxi_probe
from daemon.files.extras import read_extras
from daemon.files.links import broken_links, listed
from daemon.files.nexus import nexus_entry
from daemon.files.product import probe_pixel_size_m
from daemon.files.ptyr import is_ptyr, read_ptyr_probe
from daemon.files.scan_parts import one_side, probe_modes
from ptychopinn.errors import FileFormatError

NPZ_KEYS = ("probeGuess", "probe")
NPZ_PIXEL_KEYS = ("probe_pixel_width_m", "object_pixel_size_m")


@dataclass(frozen=True, slots=True, eq=False)
class ProbeFile:
    """A probe ``(modes, N, N)`` complex64 as in its file, and its pixel size in metres if stated."""

    probe: NDArray[np.complex64]
    pixel_size_m: float | None
    name: str


def read_probe(path: Path | str) -> ProbeFile:
    """Return the probe in a file.

    Raises
    ------
    FileFormatError
        If the file is damaged, of an unknown format, or has no complex square probe.
    """
    path = Path(path)
    with open_arrays(path) as opened:
        return _from_hdf5(opened, path) if isinstance(opened, h5py.File) else _from_npz(opened, path)


def _from_hdf5(file: h5py.File, path: Path) -> ProbeFile:
    stem = path.name.split(".")[0]
    if isinstance(file.get("probe"), h5py.Dataset):
        probe = probe_modes(path, array_of(file, "probe"))
        return ProbeFile(probe, probe_pixel_size_m(file, path), text_of(file.attrs.get("name")) or stem)
    if is_ptyr(file):
        probe, pixel = read_ptyr_probe(file, path)
        return ProbeFile(probe, pixel, stem)
    if is_cxi(file) and first_of(file, ILLUMINATIONS) is not None:
        probe, pixel = read_cxi_probe(file, path)
        return ProbeFile(probe, pixel, text_of(file.get("entry_1/title")) or stem)
    for own in (read_extras(nexus_entry(file) or file), read_extras(file)):
        if "probe" in own:
            return ProbeFile(probe_modes(path, own["probe"]), own.get("object_pixel_size_m"), stem)
    broken = broken_links(file)
    raise FileFormatError(
        f"{path}: has no probe; "
        + (
            f"a link leads nowhere: {listed(broken)}"
            if broken
            else "give a product, a ptyr, an NPZ with probeGuess, or a CXI with illumination"
        )
    )


def _from_npz(archive: NpzFile, path: Path) -> ProbeFile:
    key = next((key for key in NPZ_KEYS if key in archive.files), None)
    if key is None:
        raise FileFormatError(f"{path}: has neither probeGuess nor probe; give a file with a probe")
    width = next((positive(archive[k]) for k in NPZ_PIXEL_KEYS if k in archive.files), None)
    height = positive(archive["probe_pixel_height_m"]) if "probe_pixel_height_m" in archive.files else None
    name = text_of(archive["name"][()]) if "name" in archive.files else path.name.split(".")[0]
    return ProbeFile(probe_modes(path, archive[key]), one_side(path, "probe", width, height), name)
