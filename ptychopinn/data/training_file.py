"""Training files: NPZ in the dialects of PtychoPINN, read as an :class:`Experiment`.

``diff3d`` holds photons; ``diffraction`` normalised amplitudes, unless ``measurement_domain`` or the values say otherwise
(:mod:`ptychopinn.contract.training_rules`); amplitudes are given ``nphotons`` photons a frame. Beside them:
``xcoords``, ``ycoords`` in pixels, ``probeGuess``; where they are, ``xcoords_start``, ``ycoords_start``, ``objectGuess``
(all ones: none), ``scan_index``, ``bad_pixels``.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.contract.training_rules import domain_of, scans_in
from ptychopinn.data.experiment import Experiment, amplitude_of
from ptychopinn.errors import FileFormatError


def training_files(paths: Iterable[Path | str]) -> list[Path]:
    """Return the NPZ files among paths and in directories among them, each directory's in order of name.

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
        raise FileFormatError(f"{', '.join(map(str, paths)) or 'no path'}: holds no NPZ file; give training data")
    return found


def read_training_file(path: Path, nphotons: float = 1e5) -> Experiment:
    """Return the scan of a training file.

    Raises
    ------
    FileFormatError, GeometryError, ProbeMismatchError
        If it is damaged, lacks a key, or its parts do not fit together.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return _experiment(archive, path, nphotons)
    except FileNotFoundError:
        raise FileFormatError(f"{path}: there is no such file; give a training file") from None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, AttributeError) as fault:
        cause = " ".join(str(fault).split())[:120]
        raise FileFormatError(f"{path}: is no training file, or is damaged ({cause}); copy it again") from fault


def _experiment(archive: Mapping[str, Any], path: Path, nphotons: float) -> Experiment:
    missing = [key for key in ("xcoords", "ycoords", "probeGuess") if key not in archive]
    if "diff3d" not in archive and "diffraction" not in archive:
        missing.insert(0, "diff3d or diffraction")
    if missing:
        raise FileFormatError(
            f"{path}: lacks {', '.join(missing)}; see the data contract for the keys of training files"
        )
    positions = _points(archive, path, "xcoords", "ycoords")
    patterns = _frames_first(np.asarray(archive["diff3d" if "diff3d" in archive else "diffraction"]), len(positions))
    if patterns.ndim != 3 or patterns.dtype.kind not in "uif":
        raise FileFormatError(f"{path}: patterns are {patterns.dtype} {patterns.shape}; write real (n, N, N)")
    frames = len(patterns)
    if len(positions) < frames:
        raise FileFormatError(f"{path}: holds {frames} frames but {len(positions)} positions; write one for each frame")
    amplitude = amplitude_of(patterns) if _are_counts(archive, patterns) else _in_photons(patterns, nphotons)
    if "bad_pixels" in archive:
        amplitude[:, np.asarray(archive["bad_pixels"], dtype=bool)] = -1
    has_start = "xcoords_start" in archive and "ycoords_start" in archive
    return Experiment(
        name=path.name,
        amplitude=amplitude,
        positions_px=positions[:frames],
        probe=_modes(np.asarray(archive["probeGuess"])),
        start_px=_points(archive, path, "xcoords_start", "ycoords_start")[:frames] if has_start else None,
        object=_truth(np.asarray(archive["objectGuess"])) if "objectGuess" in archive else None,
        scan_index=scans_in(archive["scan_index"], frames) if "scan_index" in archive else None,
    )


def _are_counts(archive: Mapping[str, Any], patterns: NDArray[Any]) -> bool:
    if "diff3d" not in archive and "photon_scale" in archive:
        return False
    stated = str(np.asarray(archive["measurement_domain"]).ravel()[0]) if "measurement_domain" in archive else ""
    return domain_of(patterns, "diff3d" if "diff3d" in archive else "diffraction", stated)[0] == "counts"


def _points(archive: Mapping[str, Any], path: Path, x_key: str, y_key: str) -> NDArray[np.float64]:
    x, y = (np.asarray(archive[key], dtype=np.float64).ravel() for key in (x_key, y_key))
    if len(x) != len(y):
        raise FileFormatError(f"{path}: has {len(x)} {x_key} and {len(y)} {y_key}; write one of each a frame")
    return np.stack([y, x], axis=1)


def _frames_first(patterns: NDArray[Any], positions: int) -> NDArray[Any]:
    shape = patterns.shape
    is_last = len(shape) == 3 and shape[0] == shape[1] != shape[2] and shape[0] != positions
    return np.moveaxis(patterns, -1, 0) if is_last else patterns


def _in_photons(patterns: NDArray[Any], nphotons: float) -> NDArray[np.float32]:
    values = np.array(patterns, dtype=np.float32, order="C")
    flat = np.nan_to_num(values.ravel(), nan=0.0, posinf=0.0, neginf=0.0)
    energy = float(np.maximum(flat, 0, out=flat) @ flat) / max(1, len(values))
    values *= (nphotons / energy) ** 0.5 if energy > 0 else 1.0
    values[~(np.isfinite(values) & (values >= 0))] = -1
    return values


def _modes(probe: NDArray[Any]) -> NDArray[np.complex64]:
    probe = probe[..., 0] if probe.ndim == 3 and probe.shape[-1] == 1 < probe.shape[0] else probe
    return np.array(probe[None] if probe.ndim == 2 else probe, dtype=np.complex64, order="C")


def _truth(found: NDArray[Any]) -> NDArray[np.complex64] | None:
    return None if found.ndim != 2 or bool((found == 1).all()) else np.array(found, dtype=np.complex64, order="C")
