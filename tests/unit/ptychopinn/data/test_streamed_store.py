"""A scan is read, converted and stored in parts: the memory that it takes does not depend on its length."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptychopinn.api import DataConfig, TrainingConfig, read_training_file
from ptychopinn.contract import training_rules
from ptychopinn.data import PtychoDataset, build_store
from ptychopinn.data.gather import CHUNK_FRAMES
from ptychopinn.errors import ReconstructionError

SIDE, FRAMES = 64, 640
CHUNK_BYTES = CHUNK_FRAMES * SIDE**2 * 4
"""Amplitudes of the frames that are scaled together."""
DATA = DataConfig(N=SIDE, grid_size=(1, 1), x_bounds=(0.0, 1.0), y_bounds=(0.0, 1.0))


def a_scan(**more: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    counts = rng.poisson(40.0, (FRAMES, SIDE, SIDE)).astype(np.uint16)
    y, x = np.divmod(np.arange(FRAMES), 32)
    probe = np.exp(-((np.mgrid[:SIDE, :SIDE] - SIDE / 2) ** 2).sum(0) / 200).astype(np.complex64)
    return {"diff3d": counts, "xcoords": 2.0 * x, "ycoords": 2.0 * y, "probeGuess": 400 * probe, **more}


def roots(scan: dict[str, Any]) -> dict[str, Any]:
    amplitude = np.sqrt(scan["diff3d"]).astype(np.float32)
    return scan | {"diff3d": amplitude, "measurement_domain": "normalized_amplitude"}


def last_axis(scan: dict[str, Any]) -> dict[str, Any]:
    return scan | {"diff3d": np.moveaxis(scan["diff3d"], 0, -1)}


def dark_frames(scan: dict[str, Any]) -> dict[str, Any]:
    return scan | {"diff3d": scan["diff3d"] * (np.arange(FRAMES) % 9 > 0)[:, None, None].astype(np.uint16)}


def labels(scan: dict[str, Any]) -> dict[str, Any]:
    return scan | {"label": np.ones((FRAMES, SIDE, SIDE), np.complex64)}


@pytest.mark.parametrize("form", [dict, roots, last_axis, dark_frames, labels])
def test_memory_is_that_of_a_chunk_and_a_half(
    form: Callable[[dict[str, Any]], dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_rules, "SAMPLED_VALUES", 8 * SIDE**2)
    np.savez(tmp_path / "s.npz", **form(a_scan()))
    folder = tmp_path / "store"
    build_store(folder, [read_training_file(tmp_path / "s.npz")], DATA, TrainingConfig())  # imports are done
    whole = PtychoDataset(folder, "all")[:]
    tracemalloc.start()
    try:
        build_store(folder, [read_training_file(tmp_path / "s.npz", scratch=tmp_path)], DATA, TrainingConfig())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.5 * CHUNK_BYTES
    streamed = PtychoDataset(folder, "all")[:]
    assert (streamed.group == whole.group).all()
    assert {path.name for path in tmp_path.iterdir()} == {"s.npz", "store"}


def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    np.savez(tmp_path / "s.npz", **a_scan())
    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(ReconstructionError, match=r"there is no space for .* of frames \(No space left on device\)"):
        read_training_file(tmp_path / "s.npz", scratch=tmp_path)
