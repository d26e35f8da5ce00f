"""Corrected positions as a daemon writes them, read by nothing but HDF5 and NumPy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from daemon.client import Viewer
from daemon.files import ScanFile, read_product
from tests.support.daemon_tools import PATIENCE_S, follow, running_daemon, send
from tests.support.small_scans import PIXEL_M, small_scan

FRAMES = 81


def shaken(scan: ScanFile) -> ScanFile:
    """Return a scan whose positions are wrong by a pixel rms."""
    error = np.random.default_rng(1).normal(size=scan.positions_m.shape)
    return replace(scan, positions_m=scan.positions_m + error * PIXEL_M)


def rfactor(product: Path, scan: ScanFile) -> float:
    """Return R of a product whose frames lie between the pixels: the probe is moved by what rounding leaves."""
    with h5py.File(product) as file:
        obj, probe = file["object"][0].astype(np.complex128), file["probe"][0].astype(np.complex128)
        origin, pixel_m = file["object"].attrs["origin_px"], file["object"].attrs["pixel_width_m"]
        y, x = (file[f"probe_position_{axis}_m"][()] / pixel_m - o for axis, o in zip("yx", origin, strict=True))
        indexes = file["probe_position_indexes"][()]
    n = probe.shape[-1]
    frequency = np.fft.fftfreq(n)
    above = below = 0.0
    for index, at_y, at_x in zip(indexes, y, x, strict=True):
        row, column = round(at_y), round(at_x)
        ramp = np.exp(-2j * np.pi * ((at_y - row) * frequency[:, None] + (at_x - column) * frequency))
        moved = np.fft.ifft2(np.fft.fft2(probe) * ramp)
        patch = obj[row - n // 2 : row + n // 2, column - n // 2 : column + n // 2]
        far = np.fft.fftshift(np.fft.fft2(moved * patch, norm="ortho"), axes=(-2, -1))
        measured = np.sqrt(scan.counts[index].astype(np.float64))
        above += np.abs(np.sqrt((np.abs(far) ** 2).sum(axis=0)) - measured).sum()
        below += measured.sum()
    return above / below


def streamed(folder: Path, scan: ScanFile, *settings: str) -> tuple[Path, float]:
    """Return the product of a scan, and the refined layer's R as the daemon says."""
    folder.mkdir()
    common = ("refine.enabled=true", "refine.finish_s=30", "refine.improve_s=0")
    with (
        running_daemon(folder, *common, *settings) as daemon,
        Viewer(daemon.addresses()["updates"], PATIENCE_S) as viewer,
    ):
        send(daemon, scan, FRAMES)
        ended, _ = follow(viewer)
    return folder / "out" / "star" / "product.h5", ended["rfactors"]["refined"]


def test_a_product_has_corrected_positions_and_what_was_added_to_the_measured_ones(tmp_path: Path):
    scan, size = small_scan(tmp_path, FRAMES)
    scan = shaken(scan)
    plain, plain_r = streamed(tmp_path / "plain", scan, *size)
    corrected, corrected_r = streamed(tmp_path / "corrected", scan, *size, "refine.position_bound_px=3")
    assert corrected_r < plain_r
    assert rfactor(corrected, scan) == pytest.approx(corrected_r, abs=1e-3)
    before, after = read_product(plain), read_product(corrected)
    assert before.live.position_corrections_m is None
    moved = after.live.position_corrections_m
    assert np.allclose(after.live.measured_position_m + moved, after.positions_m)
    assert np.allclose(after.positions_m - moved, before.positions_m, atol=1e-15)
    assert 0.2 < np.abs(moved).max() / after.pixel_size_m <= 3
