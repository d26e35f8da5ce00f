"""What the keys of training files do not say: numbers of scans or of scan points, counts or their roots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon.files import read_scan
from ptychopinn.contract.training_rules import domain_of, quantum_of_roots, scans_in
from ptychopinn.data import read_training_file
from ptychopinn.errors import FileFormatError
from tests.support.scan_files import FRAMES, N, counts


@pytest.mark.parametrize(
    ("index", "scans"),
    [
        (np.zeros(49), 0),
        (np.arange(49), 0),
        (np.random.default_rng(0).permutation(49), 0),
        (np.arange(49)[:, None], 0),
        (np.repeat(np.arange(25), 2)[:49], 0),  # each point twice
        (np.arange(2), 0),
        (np.repeat([3, 8], 25), 2),
        (np.repeat(np.arange(100), 50), 100),
        (np.array([0, 0, 0, 0, 1, 1, 1]), 2),
    ],
)
def test_scan_index_counts_scans_or_points(index: Any, scans: int) -> None:
    found = scans_in(index, len(index))
    assert (0 if found is None else len(np.unique(found))) == scans


@pytest.mark.parametrize(
    ("values", "key", "stated", "domain"),
    [
        (counts(), "diff3d", "", "counts"),
        (counts().astype("f4"), "diff3d", "", "counts"),
        (np.sqrt(counts(dtype="f4")), "diff3d", "", "amplitudes"),
        (np.sqrt(counts(dtype="f4")) / 50, "diff3d", "", "amplitudes"),
        (np.sqrt(counts(dtype="f4")), "diff3d", "count_intensity", "counts"),
        (counts(dtype="f4") * 0.7, "diff3d", "", "counts"),
        (np.sqrt(counts(dtype="f4")) / 50, "diffraction", "", "amplitudes"),
        (counts(), "diffraction", "", "counts"),
        (counts(dtype="f4") * 0.7, "diffraction", "count_intensity", "counts"),
        (counts(dtype="f4") * 0.7, "diff3d", "normalized_amplitude", "amplitudes"),
    ],
)
def test_counts_are_told_from_their_roots(values: Any, key: str, stated: str, domain: str) -> None:
    found = domain_of(values, key, stated)
    assert found.domain == domain
    has_fractions = key == "diff3d" and not stated and bool((values != np.rint(values)).any())
    assert bool(found.said) == (domain != {"diff3d": "counts", "diffraction": "amplitudes"}[key] or has_fractions)


def test_marks_do_not_hide_the_quantum() -> None:
    roots = np.sqrt(counts(dtype="f8")) * 0.02
    roots[3, 5, 5], roots[4, 5, 5], roots[5, 5, 5] = np.nan, np.inf, -1
    assert quantum_of_roots(roots) == pytest.approx(4e-4)


def a_file(path: Path, **changes: Any) -> Path:
    rows, columns = np.mgrid[:4, :4]
    probe = np.exp(-((np.mgrid[:N, :N] - N // 2) ** 2).sum(axis=0) / 30).astype(np.complex64)
    content = {"xcoords": columns.ravel() * 3.0, "ycoords": rows.ravel() * 3.0, "probeGuess": probe, **changes}
    np.savez(path, **content)
    return path


def test_every_reader_takes_the_index_of_the_point_for_one_scan(tmp_path: Path) -> None:
    path = a_file(tmp_path / "s.npz", diff3d=counts(), scan_index=np.arange(FRAMES))
    assert len(read_scan(path).counts) == FRAMES
    assert read_training_file(path).scan_index is None
    two = a_file(tmp_path / "two.npz", diff3d=counts(), scan_index=np.arange(FRAMES) // 8)
    assert read_training_file(two).scan_index is not None
    with pytest.raises(FileFormatError, match="holds 2 scans"):
        read_scan(two)


def test_every_reader_tells_roots_and_reads_probes_of_one_channel(tmp_path: Path) -> None:
    roots = np.sqrt(counts(dtype="f4"))
    path = a_file(tmp_path / "s.npz", diff3d=roots)
    np.testing.assert_array_equal(read_scan(path).counts, counts())
    energy = float((read_training_file(path, nphotons=1e5).amplitude ** 2).sum()) / FRAMES
    assert energy == pytest.approx(1e5, rel=1e-5)
    with np.load(path) as file:
        probe = file["probeGuess"]
    deep = a_file(tmp_path / "deep.npz", diff3d=counts(), probeGuess=probe[..., None])
    for found in (read_scan(deep).probe, read_training_file(deep).probe):
        np.testing.assert_array_equal(found, probe[None])  # type: ignore[arg-type]
    with pytest.raises(FileFormatError, match="measurement_domain is kelvin; write one of count_intensity"):
        read_scan(a_file(tmp_path / "k.npz", diff3d=counts(), measurement_domain="kelvin"))


def test_one_pixel_without_data_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    values = np.sqrt(counts(dtype="f4") + np.random.default_rng(1).random((FRAMES, N, N)) * 0.7).astype("f4") / 50
    whole = read_scan(a_file(tmp_path / "whole.npz", diffraction=values)).counts
    for mark in (np.nan, np.inf, -1.0):
        marked = values.copy()
        marked[3, 10, 10] = mark
        found = read_scan(a_file(tmp_path / "s.npz", diffraction=marked)).counts
        lost = ~(np.isfinite(found) & (found >= 0))
        assert np.argwhere(lost).tolist() == [[3, 10, 10]]
        share = found[~lost] / whole[~lost]
        np.testing.assert_allclose(share, share[0], rtol=1e-5)  # the scale is an assumption
