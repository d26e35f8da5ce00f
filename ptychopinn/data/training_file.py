"""Training files: NPZ in the dialects of PtychoPINN, read as an :class:`Experiment`.

``diff3d`` contains photons or amplitudes, ``diffraction`` normalised amplitudes; ``measurement_domain`` or the values say
which (:mod:`ptychopinn.contract.training_rules`); amplitudes are scaled to ``nphotons`` photons per frame, and the probe
with them if it has their units (:mod:`ptychopinn.contract.amplitude_scale`). Further keys:
``xcoords``, ``ycoords`` in pixels, ``probeGuess``; optionally ``xcoords_start``, ``ycoords_start``, ``objectGuess`` (all ones:
unknown), ``scan_index``, ``bad_pixels``, and ``label`` (or ``Y``), the complex truth ``(n, N, N)`` under each frame.
"""

from __future__ import annotations

import logging
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.config.sections import DataConfig
from ptychopinn.contract.amplitude_scale import brightest, probe_with_patterns, stated_photons
from ptychopinn.contract.no_data import in_any_frame, lit_frames, squares
from ptychopinn.contract.training_rules import UnknownDomainError, domain_of, object_in, pattern_key, scans_in
from ptychopinn.data.experiment import Experiment
from ptychopinn.data.scratch import empty, unpacked
from ptychopinn.detector.geometry import to_amplitude
from ptychopinn.detector.invalid_pixels import InvalidPixels, find_invalid, some_frames
from ptychopinn.errors import FileFormatError

CHUNK_FRAMES = 16
"""Number of frames that are converted together: 1 MiB of 128 px, which caches hold."""
DEFAULT_PHOTONS = DataConfig().nphotons
"""Mean photons of a frame, unless configured."""
log = logging.getLogger(__name__)


def training_files(paths: Iterable[Path | str]) -> list[Path]:
    """Return the NPZ files among the paths, and those in directories among the paths, sorted by name.

    Raises
    ------
    FileFormatError
        If a path is missing, or there is no file at all.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if not path.exists():
            raise FileFormatError(f"{path}: there is no such file or directory; give training data")
        found += sorted(path.glob("*.npz")) if path.is_dir() else [path]
    if not found:
        raise FileFormatError(f"{', '.join(map(str, paths)) or 'no path'}: has no NPZ file; give training data")
    return found


def read_training_file(
    path: Path | str, nphotons: float = DEFAULT_PHOTONS, *, scratch: Path | None = None
) -> Experiment:
    """Return the scan of a training file.

    Parameters
    ----------
    nphotons
        Mean photons of a frame for amplitudes without a scale; the default gives way to those that the file states.
    scratch
        Folder on a disk for the frames, which are then read and converted in parts; None: in memory.

    Raises
    ------
    FileFormatError, GeometryError, ProbeMismatchError
        If it is damaged, lacks a key, or its parts do not fit together.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return _experiment(archive, path, nphotons, scratch)
    except FileNotFoundError:
        raise FileFormatError(f"{path}: there is no such file; give a training file") from None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, AttributeError) as fault:
        cause = " ".join(str(fault).split())[:120]
        raise FileFormatError(f"{path}: not a training file, or damaged ({cause}); copy it again") from fault


def _experiment(archive: Mapping[str, Any], path: Path, nphotons: float, scratch: Path | None) -> Experiment:
    missing = [key for key in ("xcoords", "ycoords", "probeGuess") if key not in archive]
    if "diff3d" not in archive and "diffraction" not in archive:
        missing.insert(0, "diff3d or diffraction")
    if missing:
        raise FileFormatError(
            f"{path}: {', '.join(missing)} missing; see the data contract for the keys of training files"
        )
    positions = _points(archive, path, "xcoords", "ycoords")
    key = pattern_key(archive.keys())
    patterns = _frames_first(unpacked(archive, key, scratch), len(positions))
    if patterns.ndim != 3 or patterns.dtype.kind not in "uif" or not patterns.size:
        raise FileFormatError(f"{path}: patterns are {patterns.dtype} {patterns.shape}; write real (n, N, N)")
    frames = len(patterns)
    if nphotons == DEFAULT_PHOTONS:
        nphotons = stated_photons(archive) or nphotons
    amplitude, scale = _amplitude(archive, path, patterns, nphotons, scratch)
    probe = _modes(np.asarray(archive["probeGuess"]))
    if scale != 1:
        probe = probe_with_patterns(probe, brightest(amplitude) / scale**2, scale)
    kept = _usable(amplitude, positions, path)
    has_start = "xcoords_start" in archive and "ycoords_start" in archive
    index = scans_in(archive["scan_index"], frames) if "scan_index" in archive else None
    picture = object_in(archive)
    return Experiment(
        name=path.name,
        amplitude=_compacted(amplitude, kept),
        positions_px=positions[kept],
        probe=probe,
        start_px=_points(archive, path, "xcoords_start", "ycoords_start")[kept] if has_start else None,
        object=None if picture is None else np.array(picture, dtype=np.complex64, order="C"),
        scan_index=None if index is None else index[kept],
        label=_labels(archive, frames, kept, scratch),
    )


def _compacted(frames: NDArray[np.float32], kept: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the kept frames, moved to the front of their array: no copy of a scan is made."""
    if len(kept) < len(frames):
        for target, source in enumerate(kept.tolist()):
            frames[target] = frames[source]
    return frames[: len(kept)]


def _labels(
    archive: Mapping[str, Any], frames: int, kept: NDArray[np.int64], scratch: Path | None
) -> NDArray[np.complex64] | None:
    """Return the truth under each kept frame, if the file states it."""
    key = next((key for key in ("label", "Y") if key in archive), None)
    if key is None:
        return None
    found = unpacked(archive, key, scratch)
    found = found[..., 0] if found.ndim == 4 and found.shape[-1] == 1 else found
    rows = kept if len(found) == frames else np.arange(len(found))
    label = empty((len(rows), *found.shape[1:]), np.complex64, scratch)
    for part in _chunks(len(rows)):
        label[part] = found[rows[part]]
    return label


def _amplitude(
    archive: Mapping[str, Any], path: Path, patterns: NDArray[Any], nphotons: float, scratch: Path | None
) -> tuple[NDArray[np.float32], float]:
    """Return sqrt(photons), -1 = no data, and the scale that was found for them; 1: they had one.

    Pixels without data are those of :mod:`ptychopinn.detector.invalid_pixels`, or of the file.
    """
    are_counts = _are_counts(archive, path, patterns)
    mask = None
    if "bad_pixels" in archive:
        mask = in_any_frame(unpacked(archive, "bad_pixels", scratch).astype(bool, copy=False))
    if mask is not None and mask.shape != patterns.shape[1:]:
        raise FileFormatError(
            f"{path}: the mask is {mask.shape} but frames are {patterns.shape[1:]}; write one mask of a frame's shape"
        )
    few = patterns[some_frames(len(patterns))]
    found = find_invalid(few if are_counts else squares(few), mask)
    bad = found.bad if mask is None else found.bad | mask
    amplitude = empty(patterns.shape, np.float32, scratch)
    if are_counts:
        _fill_roots(amplitude, patterns, found, bad)
        return amplitude, 1.0
    no_data = None
    if "no_data" in archive:
        no_data = np.broadcast_to(unpacked(archive, "no_data", scratch), patterns.shape)
    scale = float(archive["photon_scale"]) if "photon_scale" in archive else None
    _fill_amplitudes(amplitude, patterns, bad, no_data)
    found_scale = _scale_to_photons(amplitude, nphotons, scale)
    return amplitude, found_scale if scale is None else 1.0


def _chunks(frames: int) -> Iterator[slice]:
    return (slice(first, first + CHUNK_FRAMES) for first in range(0, frames, CHUNK_FRAMES))


def _fill_roots(
    amplitude: NDArray[np.float32], patterns: NDArray[Any], found: InvalidPixels, bad: NDArray[np.bool_]
) -> None:
    """Write the amplitudes of counts."""
    for part in _chunks(len(patterns)):
        counts = patterns[part]
        amplitude[part] = to_amplitude(counts, found.of(counts) | bad if found.marks else bad)


def _fill_amplitudes(
    amplitude: NDArray[np.float32], patterns: NDArray[Any], bad: NDArray[np.bool_], no_data: NDArray[Any] | None
) -> None:
    """Write amplitudes, -1 = no data."""
    for part in _chunks(len(patterns)):
        values = np.array(patterns[part], dtype=np.float32, order="C")
        is_bad = ~(np.isfinite(values) & (values >= 0)) | bad
        values[is_bad if no_data is None else is_bad | no_data[part].astype(bool)] = -1
        amplitude[part] = values


def _scale_to_photons(amplitude: NDArray[np.float32], nphotons: float, scale: float | None) -> float:
    """Multiply amplitudes by a scale, and return it; None: the one to ``nphotons`` photons per frame."""
    if scale is None:
        parts = (np.maximum(amplitude[part], 0).ravel() for part in _chunks(len(amplitude)))
        energy = sum(float(np.vdot(flat, flat)) for flat in parts) / max(1, len(amplitude))
        scale = (nphotons / energy) ** 0.5 if energy > 0 else 1.0
    for part in _chunks(len(amplitude)):
        values = amplitude[part]
        np.multiply(values, np.float32(scale), out=values, where=values > 0)
    return scale


def _usable(amplitude: NDArray[np.float32], positions: NDArray[np.float64], path: Path) -> NDArray[np.int64]:
    """Return the frames with a position and (unless counts are few) with photons."""
    known = np.zeros(len(amplitude), dtype=bool)
    known[: len(positions)] = np.isfinite(positions[: len(amplitude)]).all(axis=1)
    if not known.any():
        raise FileFormatError(f"{path}: no frame has a position; write one finite pair for each")
    kept = known & lit_frames(amplitude)
    if not kept.all():
        log.warning(
            "%s: %d of %d frames are left out: they have no position or no photons", path, int((~kept).sum()), len(kept)
        )
    return np.flatnonzero(kept)


def _are_counts(archive: Mapping[str, Any], path: Path, patterns: NDArray[Any]) -> bool:
    key = pattern_key(archive.keys())
    if key == "diffraction" and "photon_scale" in archive:
        return False
    stated = str(np.asarray(archive["measurement_domain"]).ravel()[0]) if "measurement_domain" in archive else ""
    try:
        found = domain_of(patterns, key, stated, _modes(np.asarray(archive["probeGuess"])))
    except UnknownDomainError as fault:
        raise FileFormatError(f"{path}: {fault}") from fault
    if found.is_doubtful:
        log.warning("%s: %s", path, found.said)
    return found.domain == "counts"


def _points(archive: Mapping[str, Any], path: Path, x_key: str, y_key: str) -> NDArray[np.float64]:
    x, y = (np.asarray(archive[key], dtype=np.float64).ravel() for key in (x_key, y_key))
    if len(x) != len(y):
        raise FileFormatError(f"{path}: has {len(x)} {x_key} and {len(y)} {y_key}; write one of each a frame")
    return np.stack([y, x], axis=1)


def _frames_first(patterns: NDArray[Any], positions: int) -> NDArray[Any]:
    """Return patterns as ``(n, N, N)``: a last axis of frames becomes the first, a raster becomes one list."""
    shape = patterns.shape
    if len(shape) > 3:
        return patterns.reshape(-1, *shape[-2:])
    is_last = len(shape) == 3 and shape[0] == shape[1] != shape[2] and shape[0] != positions
    return np.moveaxis(patterns, -1, 0) if is_last else patterns


def _modes(probe: NDArray[Any]) -> NDArray[np.complex64]:
    probe = probe[..., 0] if probe.ndim == 3 and probe.shape[-1] == 1 < probe.shape[0] else probe
    return np.array(probe[None] if probe.ndim == 2 else probe, dtype=np.complex64, order="C")
