"""A small scan with everything that a file can hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from daemon.files import ScanFile
from daemon.files.completion import completed

FRAMES, SIDE = 6, 16
NAMES = {
    "npz-ptychopinn": "s.npz",
    "npz-diffraction": "s.npz",
    "npz-diff3d": "s.npz",
    "cxi": "s.cxi",
    "ptyd": "s.ptyd",
    "nexus": "s.nxs",
    "patterns": "patterns.h5",
}


def a_scan(counts_dtype: type[np.generic] = np.uint16) -> ScanFile:
    rng = np.random.default_rng(3)
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[2, 5] = True
    counts = rng.poisson(40.0, (FRAMES, SIDE, SIDE)).astype(counts_dtype)
    scan = ScanFile(
        name="made",
        counts=counts,
        indexes=np.array([1, 2, 4, 7, 8, 11]),
        positions_m=rng.normal(size=(FRAMES, 2)) * 1e-6,
        photon_energy_eV=8800.0,
        detector_distance_m=1.92,
        detector_pixel_size_m=75e-6,
        probe=(rng.normal(size=(2, SIDE, SIDE)) + 1j * rng.normal(size=(2, SIDE, SIDE))).astype(np.complex64),
        mask=mask,
        object=(rng.normal(size=(40, 50)) + 1j).astype(np.complex64),
        object_origin_px=(-12.0, 3.0),
    )
    return completed(scan, Path("made"))
