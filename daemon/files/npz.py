"""NPZ scans of three kinds, recognised by their keys.

* ``diff3d`` ``(n, N, N)``: photon counts (ptychodus) or amplitude (PtychoPINN). ``diffraction``: normalised amplitude.
  ``measurement_domain`` or the values show which; where neither does, the file is refused. Amplitude is
  squared and scaled to photons: by ``photon_scale`` if the file states it, exactly if the values show the
  quantum, else to an assumed dose. Positions ``xcoords, ycoords`` in object pixels, x along columns, from the object's
  pixel (0, 0), which lies at ``object_origin_px`` if that is stated. Frames may be last, ``(N, N, n)``.
* ``data``, ``scan``, ``probe`` (tike): counts with the zero frequency at the corner; ``scan`` is the [row, column]
  of a patch's top-left pixel.
* ``position_m`` ``(n, 2)`` [y, x] and any of ``photon_energy_eV``, ``detector_distance_m``,
  ``detector_pixel_size_m``, ``object_pixel_size_m`` are read beside the first kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daemon.files.access import positive, text_of
from daemon.files.doubts import doubt, note
from daemon.files.live_group import origin_pair
from daemon.files.no_data import with_frame_mask
from daemon.files.scan import ScanFile
from daemon.files.scan_parts import probe_modes
from daemon.files.several_scans import FileContent
from daemon.files.shapes import Frames, frames_in_line, vectors
from ptychopinn.contract.amplitude_scale import brightest, probe_with_patterns, scale_between, stated_photons
from ptychopinn.contract.no_data import photons
from ptychopinn.contract.training_export import Dialect, TrainingScan, write_training_file
from ptychopinn.contract.training_rules import domain_of, object_in, pattern_key, quantum_of_roots, scans_in
from ptychopinn.errors import FileFormatError, GeometryError

Arrays = Mapping[str, NDArray[Any]]
"""An archive, or the beginning of one."""
ASSUMED_PHOTONS = 1e5
"""Mean photons per frame assumed for normalised patterns without a known scale."""


def read_npz(archive: Arrays, path: Path, domain: str = "") -> FileContent:
    """Return the scans of an open archive, as stated there; ``domain`` replaces its ``measurement_domain``."""
    keys = set(archive)
    if "diff3d" in keys or "diffraction" in keys:
        scan = _read_ptychopinn(archive, path, keys, domain)
        index = scans_in(archive["scan_index"], len(scan.counts)) if "scan_index" in keys else None
        return FileContent(scan, index, path)
    if {"data", "scan"} <= keys:
        return FileContent(_read_tike(archive, path, keys), None, path)
    raise FileFormatError(
        f"{path}: has {', '.join(sorted(keys)) or 'nothing'}; a scan has diff3d or diffraction with xcoords and "
        "ycoords, or data with scan"
    )


def photons_from_amplitude(amplitude: NDArray[Any], mean: float | None = None) -> tuple[NDArray[np.float32], str]:
    """Return counts float32 from normalised amplitude, and a note on the scale; NaN where there are no data.

    If the smallest value above zero is one photon, the squares of all small values over its square are whole numbers.
    Otherwise a frame has ``mean`` photons on average; None: :data:`ASSUMED_PHOTONS`.
    """
    intensity = np.square(amplitude, dtype=np.float64)
    has_data = np.isfinite(intensity) & (amplitude >= 0)
    intensity[~has_data] = np.nan
    if not (intensity > 0).any():
        return intensity.astype(np.float32), "the patterns are amplitudes and all zero"
    quantum = quantum_of_roots(amplitude)
    if quantum is not None:
        counts = np.rint(intensity / quantum)
        return counts.astype(np.float32), "the patterns are amplitudes; their squares are whole multiples of one photon"
    counts = intensity * ((mean or ASSUMED_PHOTONS) * len(intensity) / np.nansum(intensity))
    stated = (
        f"{mean:g} photons per frame, as the file states"
        if mean
        else f"an assumed {ASSUMED_PHOTONS:g} photons per frame"
    )
    said = f"the patterns are normalised amplitudes; squared, then scaled to {stated}"
    return counts.astype(np.float32), said


def _read_ptychopinn(archive: Arrays, path: Path, keys: set[str], domain: str) -> ScanFile:
    key = pattern_key(keys)
    values = archive[key]
    if values.ndim < 2 or values.dtype.kind not in "uif":
        raise FileFormatError(f"{path}: patterns are {values.dtype} of shape {values.shape}; write real (n, N, N)")
    positions_m = vectors(path, archive["position_m"], "position_m") if "position_m" in keys else None
    origin = origin_pair(archive["object_origin_px"]) if "object_origin_px" in keys else (0.0, 0.0)
    positions_px = None if positions_m is not None else _pixel_positions(archive, path, keys)
    positions_px = None if positions_px is None else positions_px + origin
    positions = positions_m if positions_px is None else positions_px
    notes = []
    if positions is not None and _are_last(values.shape, len(positions)):
        values = np.moveaxis(values, -1, 0)
        notes.append("the axis of frames was last and was moved to the front")
    frames = frames_in_line(path, values)
    counts, scale = _photons(archive, path, frames, notes, domain)
    bad = archive["bad_pixels"].astype(bool) if "bad_pixels" in keys else None
    if bad is not None:
        counts, bad = with_frame_mask(counts, bad)
    picture = object_in(archive)
    stated: dict[str, Any] = {name: positive(archive[name]) for name in _OPTICS if name in keys}
    return ScanFile(
        name=path.name.split(".")[0],
        counts=counts,
        indexes=_indexes(archive, keys, len(counts)),
        positions_m=positions_m,
        positions_px=positions_px,
        probe=_probe(archive, path, frames.counts, scale) if "probeGuess" in keys else None,
        mask=bad,
        object=None if picture is None else picture.astype(np.complex64),
        object_origin_px=origin,
        notes=tuple(notes),
        doubts=tuple(frames.doubts),
        **stated,
    )


def _are_last(shape: tuple[int, ...], positions: int) -> bool:
    """Whether the frames of an array stand along its last axis."""
    return len(shape) == 3 and shape[0] == shape[1] != shape[2] == positions != shape[0]


def _probe(archive: Arrays, path: Path, patterns: NDArray[Any], scale: float) -> NDArray[np.complex64]:
    """Return the probe, in photons if its patterns were brought to them and share its units."""
    modes = probe_modes(path, archive["probeGuess"])
    if scale == 1:
        return modes
    return probe_with_patterns(modes, brightest(patterns), scale)


def _photons(archive: Arrays, path: Path, frames: Frames, notes: list[str], domain: str) -> tuple[NDArray[Any], float]:
    """Return photons, from counts or amplitudes, and the scale of the amplitudes, 1 unless it had to be found."""
    counts, keys = frames.counts, set(archive)
    key = pattern_key(keys)
    if key == "diffraction" and "photon_scale" in keys:
        return _stated_photons(archive, counts, keys), 1.0
    stated = domain or (text_of(archive["measurement_domain"]) if "measurement_domain" in keys else "")
    probe = archive["probeGuess"] if "probeGuess" in keys else None
    try:
        found = domain_of(counts, key, stated, probe)
    except ValueError as fault:
        raise FileFormatError(f"{path}: {fault}") from fault
    if found.said:
        frames.doubts.append((doubt if found.is_doubtful else note)("patterns", found.said))
    if found.domain != "amplitudes":
        return counts, 1.0
    photons_found, said = photons_from_amplitude(counts, stated_photons(archive))
    notes.append(said)
    return photons_found, scale_between(counts, photons_found)


_OPTICS = ("photon_energy_eV", "detector_distance_m", "detector_pixel_size_m", "object_pixel_size_m")


def _stated_photons(archive: Arrays, amplitude: NDArray[Any], keys: set[str]) -> NDArray[Any]:
    """Return photons in the number type they had before their square roots were taken."""
    dtype = np.dtype(str(archive["photons_dtype"])) if "photons_dtype" in keys else np.dtype(np.float32)
    no_data = archive["no_data"].astype(bool) if "no_data" in keys else None
    return photons(amplitude, float(archive["photon_scale"]), dtype, no_data)


def _indexes(archive: Arrays, keys: set[str], frames: int) -> NDArray[np.int64]:
    return archive["frame_index"].astype(np.int64) if "frame_index" in keys else np.arange(frames, dtype=np.int64)


def write_npz(path: Path, scan: ScanFile, dialect: Dialect) -> None:
    """Write ``scan`` as a training file (:mod:`ptychopinn.contract.training_export`), which is read back unchanged.

    Raises
    ------
    FileFormatError
        If the scan has no probe, no positions in pixels, or no square frames.
    """
    if scan.probe is None or scan.positions_px is None:
        lack = "probe" if scan.probe is None else "positions in pixels"
        raise FileFormatError(f"{path}: {scan.name} has no {lack}, which training files require; {_REMEDIES[lack]}")
    extras: dict[str, Any] = {key: getattr(scan, key) for key in _OPTICS if getattr(scan, key) is not None}
    extras["frame_index"] = scan.indexes
    if scan.positions_m is not None:
        extras["position_m"] = scan.positions_m
    try:
        made = TrainingScan(
            scan.counts,
            scan.positions_px,
            scan.probe,
            object=scan.object,
            object_origin_px=scan.object_origin_px,
            mask=scan.mask,
            extras=extras,
        )
    except GeometryError as fault:
        raise FileFormatError(f"{path}: {fault}") from fault
    write_training_file(path, made, dialect)


_REMEDIES = {"probe": "give one with --probe", "positions in pixels": "give the object pixel with --pixel-size"}


def _pixel_positions(archive: Arrays, path: Path, keys: set[str]) -> NDArray[np.float64] | None:
    if not {"xcoords", "ycoords"} <= keys:
        return None
    x, y = (np.asarray(archive[key], dtype=np.float64).ravel() for key in ("xcoords", "ycoords"))
    if len(x) != len(y):
        raise FileFormatError(f"{path}: has {len(x)} xcoords and {len(y)} ycoords; write one of each for every frame")
    return np.stack([y, x], axis=1)


def _read_tike(archive: Arrays, path: Path, keys: set[str]) -> ScanFile:
    counts, corners = archive["data"], archive["scan"]
    frames = frames_in_line(path, counts)
    corners = vectors(path, corners, "scan")[:, :2]
    counts = frames.counts
    half = np.array(counts.shape[1:]) / 2
    return ScanFile(
        name=path.name.split(".")[0],
        counts=np.fft.fftshift(counts, axes=(1, 2)),
        indexes=np.arange(len(counts), dtype=np.int64),
        positions_px=corners.astype(np.float64) + half,
        probe=probe_modes(path, archive["probe"]) if "probe" in keys else None,
        doubts=tuple(frames.doubts),
        notes=("the zero frequency was moved from the corner to the middle, positions from patch corners to centres",),
    )
