"""CXI files: scans read and written, probes read.

Positions. ``translation`` is [x, y, z] in metres. Its meaning differs between programs: in the CXI standard it is the
place of the SAMPLE, in axes opposite to the rows and columns of the detector; ptychodus reads it as the place of the
PROBE, x along columns and y along rows. With the usual detector both give the same positions (two signs cancel), which
this program reads; if a file has ``basis_vectors`` (cdtools), these axes are used.

The energy is in joules unless units are stated; mask bits other than 0x1000 ("has signal") mark bad pixels.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from daemon.files.access import atomic_hdf5, first_of, number_of, positive, text_of
from daemon.files.extras import GROUP, read_extras, write_extras
from daemon.files.links import why_missing
from daemon.files.no_data import with_frame_mask
from daemon.files.scan import ScanFile
from daemon.files.scan_parts import mask_with, one_side, paired, probe_modes
from daemon.files.shapes import read_frames, vectors
from daemon.files.units import JOULES_PER_EV, length_m, lengths_m, photon_energy_ev
from ptychopinn.errors import FileFormatError

CXI_VERSION = 160
HAS_SIGNAL = 0x1000

DETECTOR = "entry_1/instrument_1/detector_1"
SOURCE = "entry_1/instrument_1/source_1"
PATTERNS = ("entry_1/data_1/data", f"{DETECTOR}/data")
TRANSLATIONS = (
    "entry_1/sample_1/geometry_1/translation",
    "entry_1/data_1/translation",
    f"{DETECTOR}/translation",
)
ILLUMINATIONS = (f"{SOURCE}/illumination", "entry_1/image_1/data")
ENERGIES = (f"{SOURCE}/energy", "entry_1/instrument_1/beam_1/energy")
WAVELENGTHS = (f"{SOURCE}/wavelength", f"{DETECTOR}/wavelength", "entry_1/instrument_1/beam_1/wavelength")
PTYCHODUS = "entry_1/ptychodus"


def is_cxi(file: h5py.File) -> bool:
    """Whether the file has the patterns or the illumination of a CXI file, or a link in their place."""
    names = (*PATTERNS, *ILLUMINATIONS)
    return first_of(file, names) is not None or any(why_missing(file, name) for name in names)


def read_cxi_scan(file: h5py.File, path: Path) -> ScanFile:
    """Return the scan of an open CXI file, as stated there."""
    patterns = first_of(file, PATTERNS)
    if patterns is None:
        raise FileFormatError(f"{path}: has no patterns at {PATTERNS[0]}{_why(file)}; give the file of the scan itself")
    frames = read_frames(patterns, path)
    indexes = np.arange(len(frames.counts), dtype=np.int64)
    notes: list[str] = []
    doubts = frames.doubts
    bad = _mask(file)
    if bad is not None:
        frames.counts, bad = with_frame_mask(frames.counts, bad)
    found = ScanFile(
        name=text_of(file.get("entry_1/title")) or path.name.split(".")[0],
        counts=frames.counts,
        indexes=indexes,
        positions_m=_positions(file, path, indexes, notes),
        photon_energy_eV=photon_energy_ev(path, _all(file, ENERGIES), _all(file, WAVELENGTHS), "J", doubts),
        detector_distance_m=length_m(file.get(f"{DETECTOR}/distance"), path),
        detector_pixel_size_m=one_side(
            path,
            "detector",
            length_m(file.get(f"{DETECTOR}/x_pixel_size"), path),
            length_m(file.get(f"{DETECTOR}/y_pixel_size"), path),
        ),
        probe=_scan_probe(file, path, frames.counts.shape[1:]),
        mask=mask_with(frames, bad),
        notes=tuple(notes),
        doubts=tuple(doubts),
        absent=frames.absent,
    )
    return replace(found, **read_extras(file, f"entry_1/{GROUP}"))


def _why(file: h5py.File) -> str:
    """Return the reason why the patterns are missing if a link leads nowhere."""
    reason = next((said for name in PATTERNS if (said := why_missing(file, name))), "")
    return f", which {reason}" if reason else ""


def _all(file: h5py.File, names: tuple[str, ...]) -> list[Any]:
    return [file.get(name) for name in names]


def read_cxi_probe(file: h5py.File, path: Path) -> tuple[NDArray[np.complex64], float | None]:
    """Return the probe ``(modes, N, N)`` of an open CXI file and its pixel size, metres."""
    illumination = first_of(file, ILLUMINATIONS)
    if illumination is None:
        raise FileFormatError(f"{path}: has no probe at {ILLUMINATIONS[0]}; give a file with a probe")
    probe = probe_modes(path, illumination[()])
    width = number_of(file, f"{PTYCHODUS}/probe_pixel_width_m")
    height = number_of(file, f"{PTYCHODUS}/probe_pixel_height_m")
    extent = file.get("entry_1/image_1/image_size")
    if width is None and height is None and isinstance(extent, h5py.Dataset):
        sides = [positive(side) for side in np.ravel(lengths_m(extent, path))[:2]]
        width, height = (None if side is None else side / probe.shape[-1] for side in (*sides, None, None)[:2])
    return probe, one_side(path, "probe", width, height)


def write_cxi(path: Path, scan: ScanFile) -> None:
    """Write ``scan`` with gzip and shuffle only, so that any HDF5 program reads it; ``notes`` go into the description.

    Raises
    ------
    FileFormatError
        If the scan has positions in pixels only: CXI requires metres.
    """
    if scan.positions_m is None and scan.positions_px is not None:
        raise FileFormatError(f"{path}: CXI requires positions in metres; give the object pixel size of {scan.name}")
    with atomic_hdf5(path) as file:
        file["cxi_version"], file["number_of_entries"] = CXI_VERSION, 1
        file["entry_1/title"] = scan.name
        file["entry_1/experiment_description"] = "\n".join(scan.notes)
        write_extras(file.create_group(f"entry_1/{GROUP}"), scan, with_probe=False)
        n, rows, columns = scan.counts.shape
        file.create_dataset(
            PATTERNS[1],
            data=scan.counts,
            chunks=(min(n, 8), rows, columns),
            compression="gzip",
            compression_opts=9,
            shuffle=True,
        )
        file[PATTERNS[1]].attrs["axes"] = "translation:y:x"
        file[PATTERNS[0]] = h5py.SoftLink(f"/{PATTERNS[1]}")
        _write_optics(file, scan)
        if scan.positions_m is not None:
            y, x = scan.positions_m.T
            file[TRANSLATIONS[0]] = np.stack([x, y, np.zeros(n)], axis=1)
            file[TRANSLATIONS[1]] = h5py.SoftLink(f"/{TRANSLATIONS[0]}")
            file[f"{PTYCHODUS}/probe_position_indexes"] = np.arange(n, dtype=np.int64)


def _write_optics(file: h5py.File, scan: ScanFile) -> None:
    if scan.photon_energy_eV is not None:
        file[f"{SOURCE}/energy"] = scan.photon_energy_eV * JOULES_PER_EV
    if scan.detector_distance_m is not None:
        file[f"{DETECTOR}/distance"] = scan.detector_distance_m
    if scan.detector_pixel_size_m is not None:
        file[f"{DETECTOR}/x_pixel_size"] = file[f"{DETECTOR}/y_pixel_size"] = scan.detector_pixel_size_m
    if scan.mask is not None:
        file[f"{DETECTOR}/mask"] = scan.mask.astype(np.uint32)
    if scan.probe is not None:
        file[ILLUMINATIONS[0]] = scan.probe


def _positions(file: h5py.File, path: Path, indexes: NDArray[np.int64], notes: list[str]) -> NDArray[np.float64] | None:
    dataset = first_of(file, TRANSLATIONS)
    if dataset is None:
        return None
    translation = vectors(path, lengths_m(dataset, path), "translation")
    positions = translation[:, 1::-1]
    basis = file.get(f"{DETECTOR}/basis_vectors")
    if isinstance(basis, h5py.Dataset) and translation.shape[1] == 3:
        positions = -translation @ _unit_axes(path, basis[()])
        notes.append("positions follow the detector's basis_vectors, translation being the sample's")
    stated = file.get(f"{PTYCHODUS}/probe_position_indexes")
    if isinstance(stated, h5py.Dataset):
        return paired(path, indexes, np.asarray(stated[()], dtype=np.int64).ravel(), positions)
    return np.ascontiguousarray(positions)


def _unit_axes(path: Path, basis: NDArray[Any]) -> NDArray[np.float64]:
    """Return unit vectors along rows and columns as ``(3, 2)``."""
    axes = np.asarray(basis, dtype=np.float64)
    axes = axes.T if axes.shape == (2, 3) else axes
    lengths = np.linalg.norm(axes, axis=0)
    if axes.shape != (3, 2) or not (lengths > 0).all():
        raise FileFormatError(f"{path}: basis_vectors are not two vectors in space; write (3, 2)")
    units: NDArray[np.float64] = axes / lengths
    return units


def _mask(file: h5py.File) -> NDArray[np.bool_] | None:
    dataset = file.get(f"{DETECTOR}/mask")
    if not isinstance(dataset, h5py.Dataset):
        return None
    bits = np.asarray(dataset[()])
    bad: NDArray[np.bool_] = (bits != 0) & (bits != HAS_SIGNAL)
    return bad


def _scan_probe(file: h5py.File, path: Path, shape: tuple[int, ...]) -> NDArray[np.complex64] | None:
    """Return the illumination if it is a wave field with the frames' shape, or for rectangular frames a square of a side between.

    Scans often have other images there.
    """
    illumination = first_of(file, ILLUMINATIONS)
    if illumination is None or illumination.dtype.kind != "c" or illumination.ndim < 2:
        return None
    rows, columns = illumination.shape[-2:]
    if (rows, columns) != shape and not (rows == columns and min(shape) <= rows <= max(shape)):
        return None
    return probe_modes(path, illumination[()])
