"""Scans and probes in NPZ: counts or amplitudes, frames last, the corner of tike, bzip2, pickles."""

from __future__ import annotations

import bz2
import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.files import read_probe, read_scan
from daemon.files.npz import ASSUMED_PHOTONS, photons_from_amplitude
from ptychopinn.errors import FileFormatError

N, FRAMES = 16, 7


def arrays(seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "diff3d": rng.poisson(9.0, (FRAMES, N, N)).astype(np.uint16),
        "xcoords": rng.random(FRAMES) * 90,
        "ycoords": rng.random(FRAMES) * 40,
        "probeGuess": (rng.normal(size=(N, N)) + 1j).astype(np.complex64),
        "scan_index": np.zeros(FRAMES, dtype=int),
    }


def save(path: Path, content: dict[str, Any]) -> Path:
    with path.open("wb") as stream:
        np.savez(stream, **content)
    return path


def test_counts_and_pixel_positions_are_taken_as_they_are(tmp_path: Path) -> None:
    content = arrays()
    scan = read_scan(save(tmp_path / "s.npz", content))
    np.testing.assert_array_equal(scan.counts, content["diff3d"])
    assert scan.counts.dtype == np.uint16
    np.testing.assert_array_equal(scan.positions_px, np.stack([content["ycoords"], content["xcoords"]], axis=1))
    assert scan.positions_m is None
    assert scan.probe is not None
    assert scan.probe.shape == (1, N, N)
    assert scan.notes == ()
    known = read_scan(save(tmp_path / "s.npz", content | {"object_pixel_size_m": 2e-8}))
    np.testing.assert_allclose(known.positions_m, scan.positions_px * 2e-8)  # type: ignore[operator, arg-type]


def test_frames_last_are_moved_and_positions_after_the_last_left_out(tmp_path: Path) -> None:
    content = arrays()
    last = content | {"diff3d": np.moveaxis(content["diff3d"], 0, -1)}
    scan = read_scan(save(tmp_path / "s.npz", last))
    np.testing.assert_array_equal(scan.counts, content["diff3d"])
    assert "moved to the front" in scan.notes[0]
    more = content | {"xcoords": np.arange(9.0), "ycoords": np.arange(9.0)}
    scan = read_scan(save(tmp_path / "s.npz", more))
    assert scan.positions_px is not None
    assert len(scan.positions_px) == FRAMES
    assert "2 positions after the last frame" in scan.remarks[0]
    fewer = content | {"xcoords": np.arange(5.0), "ycoords": np.arange(5.0)}
    scan = read_scan(save(tmp_path / "s.npz", fewer))
    assert (scan.indexes.tolist(), scan.remarks) == (list(range(5)), ("2 frames without a position were left out",))


def test_position_m_and_mask_are_read(tmp_path: Path) -> None:
    positions = np.random.default_rng(1).normal(size=(FRAMES, 2)) * 1e-6
    mask = np.eye(N)
    scan = read_scan(save(tmp_path / "s.npz", arrays() | {"position_m": positions, "bad_pixels": mask}))
    np.testing.assert_array_equal(scan.positions_m, positions)
    assert scan.positions_px is None
    np.testing.assert_array_equal(scan.mask, mask.astype(bool))


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(1e-4, 1e4), mean=st.floats(0.3, 60), seed=st.integers(0, 1000))
def test_normalised_amplitudes_of_whole_photons_come_back_exactly(scale: float, mean: float, seed: int) -> None:
    counts = np.random.default_rng(seed).poisson(mean, (4, 32, 32))
    counts[0, 0, 0] = 1
    back, note = photons_from_amplitude((np.sqrt(counts) * scale).astype(np.float32))
    np.testing.assert_array_equal(back, counts)
    assert "one photon" in note


def test_other_amplitudes_are_scaled_and_said(tmp_path: Path) -> None:
    content = arrays()
    amplitude = np.random.default_rng(2).random((FRAMES, N, N)).astype(np.float32)
    del content["diff3d"]
    scan = read_scan(save(tmp_path / "s.npz", content | {"diffraction": amplitude}))
    assert scan.counts.sum() == pytest.approx(ASSUMED_PHOTONS * FRAMES, rel=1e-5)
    np.testing.assert_allclose(scan.counts / scan.counts.sum(), amplitude**2 / (amplitude**2).sum(), rtol=1e-4)
    assert "assumed" in scan.notes[0]


def test_tike_patterns_are_shifted_and_corners_become_centres(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    counts = rng.poisson(5.0, (1, FRAMES, N, N)).astype(np.float32)
    counts[..., 0, 0] = 999 + np.arange(FRAMES)
    corners = (rng.random((1, FRAMES, 2)) * 50).astype(np.float32)
    probe = np.ones((1, 1, 1, 2, N, N), dtype=np.complex64)
    stream = io.BytesIO()
    np.savez(stream, data=counts, scan=corners, probe=probe)
    (tmp_path / "s.npz.bz2").write_bytes(bz2.compress(stream.getvalue()))
    scan = read_scan(tmp_path / "s.npz.bz2")
    np.testing.assert_array_equal(scan.counts[:, N // 2, N // 2], 999 + np.arange(FRAMES))
    assert scan.positions_px is not None
    np.testing.assert_allclose(scan.positions_px, corners[0] + N / 2)
    assert scan.probe is not None
    assert scan.probe.shape == (2, N, N)
    assert scan.name == "s"
    np.testing.assert_array_equal(read_probe(tmp_path / "s.npz.bz2").probe, scan.probe)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"diff3d": np.array([{"a": 1}], dtype=object)}, "pickled Python objects"),
        ({"diff3d": np.zeros((FRAMES, N, N), np.complex64)}, "write real"),
        ({"xcoords": np.zeros(FRAMES - 1)}, "one of each"),
        ({"position_m": np.zeros((FRAMES, 4))}, r"position_m has shape \(7, 4\)"),
        ({"scan_index": np.array([5, 5, 5, 5, 7, 7, 7])}, "holds 2 scans"),
        ({"probeGuess": np.ones((N, N))}, "not complex"),
    ],
)
def test_what_cannot_be_used_is_refused_in_words(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(FileFormatError, match=words):
        read_scan(save(tmp_path / "s.npz", arrays() | change))


def test_other_archives_are_refused_with_their_keys(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"has a, b; a scan has diff3d"):
        read_scan(save(tmp_path / "s.npz", {"a": 1, "b": 2}))
    (tmp_path / "s.bz2").write_bytes(bz2.compress(b"text"))
    with pytest.raises(FileFormatError, match="does not hold an NPZ"):
        read_scan(tmp_path / "s.bz2")


@settings(max_examples=30, deadline=None)
@given(cut=st.floats(0, 0.999), packed=st.booleans())
def test_a_truncated_archive_is_refused_wherever_it_ends(
    tmp_path_factory: pytest.TempPathFactory, cut: float, packed: bool
) -> None:
    path = save(tmp_path_factory.mktemp("cut") / "s.npz", arrays())
    whole = bz2.compress(path.read_bytes()) if packed else path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * cut)])
    with pytest.raises(FileFormatError, match=r"s\.npz"):
        read_scan(path)


@settings(max_examples=60, deadline=None)
@given(at=st.floats(0, 0.9999), value=st.integers(0, 255))
def test_a_changed_byte_is_refused_or_harmless(tmp_path_factory: pytest.TempPathFactory, at: float, value: int) -> None:
    path = save(tmp_path_factory.mktemp("byte") / "s.npz", arrays())
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] = value
    path.write_bytes(content)
    with contextlib.suppress(FileFormatError):
        np.testing.assert_array_equal(read_scan(path).counts, arrays()["diff3d"])
