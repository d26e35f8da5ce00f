"""Probes from every kind of file that holds one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from daemon.files import read_probe
from ptychopinn.errors import FileFormatError

WAVE = (np.random.default_rng(0).normal(size=(3, 8, 8)) + 1j).astype(np.complex64)


@pytest.mark.parametrize("key", ["probeGuess", "probe"])
@pytest.mark.parametrize("stored", [WAVE, WAVE[None], WAVE.astype(np.complex128)])
def test_npz(tmp_path: Path, key: str, stored: np.ndarray[Any, Any]) -> None:
    np.savez(tmp_path / "p.npz", **{key: stored})
    probe = read_probe(tmp_path / "p.npz")
    np.testing.assert_array_equal(probe.probe, WAVE)
    assert (probe.probe.dtype, probe.pixel_size_m, probe.name) == (np.complex64, None, "p")


def test_npz_product_of_ptychodus_states_its_pixel(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", probe=WAVE, probe_pixel_width_m=2e-8, probe_pixel_height_m=2e-8, name="known")
    probe = read_probe(tmp_path / "p.npz")
    assert (probe.pixel_size_m, probe.name) == (2e-8, "known")


def test_probe_only_hdf5(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "p.h5", "w") as file:
        file["probe"] = WAVE[0]
    probe = read_probe(tmp_path / "p.h5")
    np.testing.assert_array_equal(probe.probe, WAVE[:1])
    assert probe.pixel_size_m is None


def test_cxi_pixel_from_its_extent(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "p.cxi", "w") as file:
        file["entry_1/image_1/data"] = WAVE
        file["entry_1/image_1/image_size"] = np.array([8 * 3e-8, 8 * 3e-8, 0.0])
        file["entry_1/title"] = "from image"
    probe = read_probe(tmp_path / "p.cxi")
    np.testing.assert_array_equal(probe.probe, WAVE)
    assert probe.pixel_size_m == pytest.approx(3e-8)
    assert probe.name == "from image"
    with h5py.File(tmp_path / "p.cxi", "a") as file:
        file["entry_1/instrument_1/source_1/illumination"] = 2 * WAVE[0]
    np.testing.assert_array_equal(read_probe(tmp_path / "p.cxi").probe, 2 * WAVE[:1])


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (WAVE.real, "not complex"),
        (WAVE[:, :7], "write it as"),
        (WAVE[0, 0], "write it as"),
        (np.zeros_like(WAVE), "is zero or holds"),
        (WAVE * np.nan, "is zero or holds"),
    ],
)
def test_what_is_no_probe_is_refused(tmp_path: Path, array: np.ndarray[Any, Any], words: str) -> None:
    np.savez(tmp_path / "p.npz", probe=array)
    with pytest.raises(FileFormatError, match=words):
        read_probe(tmp_path / "p.npz")


def test_files_without_a_probe_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", a=1)
    with pytest.raises(FileFormatError, match="neither probeGuess nor probe"):
        read_probe(tmp_path / "p.npz")
    with h5py.File(tmp_path / "p.h5", "w") as file:
        file["a"] = 1
    with pytest.raises(FileFormatError, match="has no probe"):
        read_probe(tmp_path / "p.h5")
    with h5py.File(tmp_path / "p.h5", "a") as file:
        file["entry_1/data_1/data"] = np.ones((2, 8, 8))
    with pytest.raises(FileFormatError, match="has no probe"):
        read_probe(tmp_path / "p.h5")
