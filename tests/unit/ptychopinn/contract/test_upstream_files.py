"""Training files in both directions: what PtychoPINN's loaders require of ours, and what its own files hold.

The requirements are those of hoidn/PtychoPINN 712c23f3 (GPL-3), recorded by running its ``RawData.from_file`` and its torch
``PtychoDataset`` on files of this program (deploy/docs/reference/tested-with.md); no code of it is here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from daemon.cli.validate import examine
from daemon.files import read_scan
from daemon.files.conversion import SUFFIXES, write_kind
from ptychopinn.contract.domain_evidence import far_field_slope, steadiness_ratio
from ptychopinn.contract.training_export import TrainingScan, write_training_file
from ptychopinn.contract.training_rules import UnknownDomainError, domain_of
from ptychopinn.data import read_training_file
from ptychopinn.errors import FileFormatError

N, SIDE_FRAMES = 32, 5


def a_scan(counts_dtype: str = "uint16", modes: int = 1) -> TrainingScan:
    rng = np.random.default_rng(0)
    where = np.stack(np.mgrid[:SIDE_FRAMES, :SIDE_FRAMES], -1).reshape(-1, 2) * 3.0 + 20
    probe = np.exp(-((np.mgrid[:N, :N] - N // 2) ** 2).sum(0) / 40).astype(np.complex64)
    probe *= np.float32(np.sqrt(1e4 / (np.abs(probe) ** 2).sum()))
    counts = rng.poisson(10.0, (len(where), N, N)).astype(counts_dtype)
    return TrainingScan(counts, where, np.repeat(probe[None], modes, axis=0))


def content(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


@pytest.mark.parametrize("dialect", ["ptychopinn", "diff3d", "diffraction"])
def test_a_probe_of_one_mode_is_two_dimensional_and_the_domain_is_stated(dialect: Any, tmp_path: Path) -> None:
    write_training_file(tmp_path / "s.npz", a_scan(), dialect)
    found = content(tmp_path / "s.npz")
    assert found["probeGuess"].shape == (N, N)
    stated = "count_intensity" if dialect == "diff3d" else "normalized_amplitude"
    assert found["measurement_domain"] == stated
    write_training_file(tmp_path / "m.npz", a_scan(modes=2), dialect)
    assert content(tmp_path / "m.npz")["probeGuess"].shape == (2, N, N)


def test_the_default_of_convert_is_what_both_loaders_of_ptychopinn_take(tmp_path: Path) -> None:
    write_training_file(tmp_path / "s.npz", a_scan(), "diff3d")
    scan = read_scan(tmp_path / "s.npz")
    write_kind(tmp_path / "y.npz", scan, SUFFIXES[".npz"])
    found = content(tmp_path / "y.npz")
    frames = len(found["xcoords"])
    for key in ("diff3d", "diffraction"):
        assert (found[key].shape, found[key].dtype) == ((frames, N, N), np.dtype(np.float32))
        np.testing.assert_allclose(found[key] ** 2, scan.counts, atol=1e-5)
    assert [found[key].ndim for key in ("xcoords", "ycoords", "probeGuess", "objectGuess", "scan_index")] == [
        1,
        1,
        2,
        2,
        1,
    ]
    assert found["probeGuess"].dtype == found["objectGuess"].dtype == np.complex64
    y, x = (scan.positions_px - found["object_origin_px"]).T  # type: ignore[operator]
    np.testing.assert_allclose((found["xcoords"], found["ycoords"]), (x, y))  # x: columns, in object pixels
    back = read_scan(tmp_path / "y.npz")
    np.testing.assert_array_equal(back.counts, scan.counts)
    assert (back.counts.dtype, back.remarks) == (scan.counts.dtype, ())
    assert examine(tmp_path / "y.npz").verdict == "good"


def test_a_file_of_rawdata_to_file_is_read(tmp_path: Path) -> None:
    """It holds amplitudes under diff3d, no ycoords_start, and a pickled None where there is no object."""
    scan = a_scan()
    y, x = scan.positions_px.T
    upstream = {"xcoords": x, "ycoords": y, "xcoords_start": x, "probeGuess": scan.probe[0], "objectGuess": None}
    np.savez(tmp_path / "u.npz", diff3d=np.sqrt(scan.counts).astype("f4"), scan_index=np.zeros(len(x), int), **upstream)  # type: ignore[arg-type]
    np.testing.assert_array_equal(read_scan(tmp_path / "u.npz").counts, scan.counts)
    trained = read_training_file(tmp_path / "u.npz")
    assert trained.object is None
    np.testing.assert_array_equal(trained.positions_px, scan.positions_px)
    assert examine(tmp_path / "u.npz").violations == []


def fields(absorption: float, step_px: float = 3.0) -> tuple[NDArray[np.float64], NDArray[np.complex64]]:
    """Return noise-free intensities with fractions, and the probe."""
    rng = np.random.default_rng(1)
    probe = a_scan().probe[0]
    rough = np.fft.ifft2(np.fft.fft2(rng.normal(size=(96, 96))) * np.exp(-np.hypot(*np.indices((96, 96))) / 12)).real
    rough /= np.abs(rough).max()
    sample = np.exp((1j * 1.5 - absorption) * rough)
    corners = (np.stack(np.mgrid[:6, :6], -1).reshape(-1, 2) * step_px).astype(int)
    exits = np.stack([probe * sample[r : r + N, c : c + N] for r, c in corners])
    return np.abs(np.fft.fftshift(np.fft.fft2(exits, norm="ortho"), axes=(1, 2))) ** 2, probe


@pytest.mark.parametrize("absorption", [0.0, 0.6])
def test_fractions_are_told_by_what_varies_or_by_the_far_field(absorption: float) -> None:
    intensity, probe = fields(absorption)
    for values, domain in ((intensity, "counts"), (np.sqrt(intensity) / 40, "amplitudes")):
        found = domain_of(values.astype(np.float32), "diff3d", "", probe)
        assert (found.domain, found.is_doubtful) == (domain, True)
        assert "state measurement_domain" in found.said
    assert far_field_slope(intensity, probe) == pytest.approx(2 * far_field_slope(np.sqrt(intensity), probe), rel=0.3)  # type: ignore[operator]


def test_a_gain_leaves_counts_and_nothing_to_tell_by_is_asked_for(tmp_path: Path) -> None:
    scan = a_scan()
    assert domain_of(scan.counts * np.float32(0.37), "diff3d").domain == "counts"
    same = np.repeat(np.random.default_rng(2).random((1, N, N)), 9, axis=0)
    assert steadiness_ratio(same) is None
    with pytest.raises(UnknownDomainError, match="convert --measurement-domain"):
        domain_of(same, "diff3d")
    y, x = scan.positions_px[:9].T
    odd = np.random.default_rng(3).random((N, N)) + 1j
    np.savez(tmp_path / "u.npz", diff3d=same, xcoords=x, ycoords=y, probeGuess=odd.astype(np.complex64))
    for read in (read_scan, read_training_file):
        with pytest.raises(FileFormatError, match=r"u\.npz: diff3d has fractions and may hold photons or amplitudes"):
            read(tmp_path / "u.npz")
    stated = read_scan(tmp_path / "u.npz", "count_intensity")
    np.testing.assert_allclose(stated.counts, same, rtol=1e-6)
