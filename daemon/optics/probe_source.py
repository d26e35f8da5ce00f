"""The daemon's first probe: from a file, or computed from the optics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from daemon.config import Optics
from daemon.errors import ConfigError
from daemon.files import read_probe
from daemon.optics.scan_optics import ScanOptics
from ptychopinn.errors import GeometryError, ProbeMismatchError
from ptychopinn.physics.initial_probe import ProbeGrid, mirrors_probe, pinhole_probe, zone_plate_probe


def probe_from_file(path: Path, size_px: int) -> tuple[NDArray[np.complex64], float | None]:
    """Return the probe ``(modes, N, N)`` in a file, and its pixel in metres if stated.

    Raises
    ------
    FileFormatError, ProbeMismatchError
        If the file has no probe, or one of another size than the patterns.
    """
    found = read_probe(path)
    rows, side = found.probe.shape[-2:]
    if side != size_px or rows != size_px:
        raise ProbeMismatchError(
            f"the probe in {path} is {rows} x {side} px but [detector] size_px is {size_px}; "
            "crop the patterns to the probe's size, or use another probe"
        )
    return np.ascontiguousarray(found.probe, dtype=np.complex64), found.pixel_size_m or None


def probe_from_optics(options: Optics, known: ScanOptics, size_px: int) -> NDArray[np.complex64]:
    """Return a computed probe ``(1, N, N)`` of zone plate, pinhole or mirrors; its total intensity is 1.

    Raises
    ------
    ConfigError
        If the energy or the object pixel is unknown before a scan, or the optics do not fit the patterns.
    """
    if known.photon_energy_eV is None or known.object_pixel_size_m is None:
        raise ConfigError(
            "[optics]: a probe can be computed from the optics only with photon_energy_eV, detector_distance_m and "
            "detector_pixel_size_m; give them, or a probe_file"
        )
    grid = ProbeGrid(size_px, known.object_pixel_size_m, known.photon_energy_eV)
    plate, kb, pinhole = options.zone_plate, options.kb, options.pinhole
    try:
        if plate is not None:
            widths = plate.outermost_zone_width_m, plate.diameter_m, plate.central_stop_m
            return zone_plate_probe(grid, *widths, plate.defocus_m)
        if kb is not None:
            return mirrors_probe(grid, kb.focal_lengths_m, kb.openings_m, kb.defocus_m)
        if pinhole is not None:
            return pinhole_probe(grid, pinhole.diameter_m, pinhole.distance_m)
    except GeometryError as fault:
        raise ConfigError(f"[optics]: {fault}") from fault
    raise ConfigError("[optics] probe_file is missing; give it, or zone_plate, pinhole or kb")
