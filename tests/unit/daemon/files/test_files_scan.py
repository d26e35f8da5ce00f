"""Scans in HDF5: CXI, NXptycho, ptyd, ptychodus patterns; the shipped demo; refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.files import Product, ScanFile, read_scan, write_product
from daemon.files.completion import completed
from daemon.files.cxi import write_cxi
from ptychopinn.errors import FileFormatError

ROOT = Path(__file__).parents[4]
DEMO = ROOT / "daemon" / "demo_data" / "siemens-star.cxi"
N = 16
OBJECT_PIXEL_M = 1.23984198e-6 / 8800 * 1.92 / (N * 75e-6)


def make_scan(frames: int = 6, dtype: str = "uint16", seed: int = 0, **changes: Any) -> ScanFile:
    rng = np.random.default_rng(seed)
    mask = rng.random((N, N)) < 0.1
    scan = ScanFile(
        name="made",
        counts=rng.poisson(20, (frames, N, N)).astype(dtype),
        indexes=np.arange(frames),
        positions_m=rng.normal(size=(frames, 2)) * 1e-6,
        photon_energy_eV=8800.0,
        detector_distance_m=1.92,
        detector_pixel_size_m=75e-6,
        mask=mask,
        probe=(rng.normal(size=(2, N, N)) + 1j).astype(np.complex64),
        notes=("a note",),
    )
    return replace(scan, **changes)


def assert_content(read: ScanFile, made: ScanFile) -> None:
    np.testing.assert_array_equal(read.counts, made.counts)
    assert read.counts.dtype == made.counts.dtype
    np.testing.assert_array_equal(read.indexes, made.indexes)
    assert read.positions_m is not None
    assert made.positions_m is not None
    np.testing.assert_allclose(read.positions_m, made.positions_m, rtol=1e-12)
    assert read.photon_energy_eV == pytest.approx(8800.0)
    assert read.detector_distance_m == pytest.approx(1.92)
    assert read.detector_pixel_size_m == pytest.approx(75e-6)
    assert read.object_pixel_size_m == pytest.approx(OBJECT_PIXEL_M)
    assert read.positions_px is not None
    np.testing.assert_allclose(read.positions_px * OBJECT_PIXEL_M, made.positions_m, rtol=1e-7)


@settings(max_examples=15, deadline=None)
@given(
    frames=st.integers(1, 9), dtype=st.sampled_from(["uint8", "uint16", "int32", "float32"]), seed=st.integers(0, 99)
)
def test_cxi_round_trip(tmp_path_factory: pytest.TempPathFactory, frames: int, dtype: str, seed: int) -> None:
    path = tmp_path_factory.mktemp("cxi") / "any.name"
    made = make_scan(frames, dtype, seed)
    write_cxi(path, made)
    read = read_scan(path)
    assert_content(read, made)
    np.testing.assert_array_equal(read.mask, made.mask)
    np.testing.assert_array_equal(read.probe, made.probe)
    assert (read.name, read.notes) == ("made", ())


def test_cxi_without_anything_but_patterns_is_a_scan(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "s.cxi", "w") as file:
        file["entry_1/instrument_1/detector_1/data"] = np.ones((3, 8, 12), dtype=">u2")
    scan = read_scan(tmp_path / "s.cxi")
    assert (scan.name, scan.counts.dtype, scan.counts.shape) == ("s", np.dtype("uint16"), (3, 8, 8))
    assert scan.positions_m is scan.positions_px is scan.photon_energy_eV is scan.object_pixel_size_m is None
    assert scan.mask is scan.probe is None


def test_cxi_traps(tmp_path: Path) -> None:
    made = make_scan()
    path = tmp_path / "s.cxi"
    write_cxi(path, made)
    with h5py.File(path, "a") as file:
        del file["entry_1/instrument_1/source_1/illumination"], file["entry_1/instrument_1/detector_1/mask"]
        file["entry_1/image_1/data"] = np.ones((40, 40), dtype=np.complex64)
        bits = np.zeros((6, N, N), dtype=np.uint32)
        bits[:, 2, 3] = 0x1000
        bits[4, 5, 6] = 0x1001
        file["entry_1/instrument_1/detector_1/mask"] = bits
        file["entry_1/instrument_1/source_1/energy"][()] = 8800.0
        file["entry_1/ptychodus/probe_position_indexes"][...] = [0, 1, 1, 3, 4, 9]
    scan = read_scan(path)
    assert scan.probe is None
    assert scan.mask is not None
    assert not scan.mask.any()
    assert scan.photon_energy_eV == 8800.0
    assert scan.indexes.tolist() == [0, 1, 3, 4]
    assert scan.counts[3, 5, 6] == 65535
    scan.counts[3, 5, 6] = made.counts[4, 5, 6]
    np.testing.assert_array_equal(scan.counts, made.counts[[0, 1, 3, 4]])
    assert made.positions_m is not None
    expected = [made.positions_m[0], made.positions_m[1:3].mean(axis=0), made.positions_m[3], made.positions_m[4]]
    np.testing.assert_allclose(scan.positions_m, expected)  # type: ignore[arg-type]
    assert [str(one).split()[:2] for one in scan.doubts] == [["energy", "8800"], ["2", "frames"], ["1", "counts"]]


@pytest.mark.parametrize(
    ("basis", "row", "column"),
    [
        ([[0, -75e-6, 0], [-75e-6, 0, 0]], (0, 1), (1, 1)),
        ([[0, 75e-6, 0], [-75e-6, 0, 0]], (0, -1), (1, 1)),
        ([[75e-6, 0, 0], [0, -75e-6, 0]], (1, -1), (0, 1)),
    ],
)
def test_cxi_basis_vectors_say_the_axes(
    tmp_path: Path, basis: list[list[float]], row: tuple[int, int], column: tuple[int, int]
) -> None:
    """The first, the usual detector, gives what a file without basis vectors gives."""
    made = make_scan()
    write_cxi(tmp_path / "s.cxi", made)
    with h5py.File(tmp_path / "s.cxi", "a") as file:
        file["entry_1/instrument_1/detector_1/basis_vectors"] = np.array(basis).T
    scan = read_scan(tmp_path / "s.cxi")
    assert made.positions_m is not None
    assert scan.positions_m is not None
    np.testing.assert_allclose(scan.positions_m[:, 0], made.positions_m[:, row[0]] * row[1])
    np.testing.assert_allclose(scan.positions_m[:, 1], made.positions_m[:, column[0]] * column[1])


def test_detector_compression_is_read(tmp_path: Path) -> None:
    made = make_scan()
    with h5py.File(tmp_path / "s.cxi", "w") as file:
        file.create_dataset(
            "entry_1/data_1/data", data=made.counts, chunks=(1, N, N), compression=32008, compression_opts=(0, 2)
        )
    np.testing.assert_array_equal(read_scan(tmp_path / "s.cxi").counts, made.counts)


def write_nexus(path: Path, made: ScanFile) -> None:
    assert made.positions_m is not None
    with h5py.File(path, "w") as file:
        entry = file.create_group("entry_3")
        entry["definition"], entry["title"] = "NXptycho", "nexus scan"
        groups = {
            "instrument": "NXinstrument",
            "instrument/beam": "NXbeam",
            "instrument/detector": "NXdetector",
            "sample": "NXsample",
            "sample/transformations": "NXtransformations",
        }
        for name, nexus_class in groups.items():
            entry.create_group(name).attrs["NX_class"] = nexus_class
        values = {
            "instrument/beam/energy": (8.8, "keV"),
            "instrument/detector/distance": (192.0, "cm"),
            "instrument/detector/x_pixel_size": (75.0, "um"),
            "instrument/detector/y_pixel_size": (75.0, "µm"),
            "instrument/detector/data": (made.counts, "counts"),
        }
        for name, (value, units) in values.items():
            entry[name] = value
            entry[name].attrs["units"] = units
        axes = {
            "coarse": (5e-3, "m", [1.0, 0, 0]),
            "x": (made.positions_m[:, 1] * 1e6, "um", [1.0, 0, 0]),
            "y": (-made.positions_m[:, 0] * 1e3, "mm", [0, -1.0, 0]),
        }
        for name, (value, units, vector) in axes.items():
            axis = entry.create_dataset(f"sample/transformations/{name}", data=value)
            axis.attrs.update({"units": units, "vector": vector, "transformation_type": "translation"})


def test_nexus(tmp_path: Path) -> None:
    made = make_scan()
    write_nexus(tmp_path / "s.nxs", made)
    scan = read_scan(tmp_path / "s.nxs")
    assert_content(scan, made)
    assert scan.name == "nexus scan"
    with h5py.File(tmp_path / "s.nxs", "a") as file:
        file["entry_3/instrument/detector/distance"].attrs["units"] = "furlong"
    with pytest.raises(FileFormatError, match='distance is in "furlong"; write one of m, mm, um or nm'):
        read_scan(tmp_path / "s.nxs")


def write_ptyd(path: Path, made: ScanFile) -> None:
    assert made.positions_m is not None
    with h5py.File(path, "w") as file:
        file["meta/label"] = "None"
        file["meta/energy"] = 8.8
        file["meta/distance"] = 1.92
        file["meta/psize"] = np.array([75e-6, 75e-6])
        file["meta/num_frames"] = 8
        file["meta/center"] = np.zeros(1)
        file["meta/center"].attrs["type"] = "None"
        for chunk, frames in ((0, slice(0, 4)), (10, slice(5, 6)), (2, slice(4, 5))):
            group = file.create_group(f"chunks/{chunk}")
            group["data"] = made.counts[frames]
            group["indices"] = made.indexes[frames]
            group["positions"] = made.positions_m[frames]
            group["weights"] = np.where(made.mask, 0.0, 1.0)[None] if chunk == 2 else np.zeros(0)


def test_ptyd(tmp_path: Path) -> None:
    made = make_scan(dtype="float32")
    write_ptyd(tmp_path / "s.ptyd", made)
    with h5py.File(tmp_path / "s.ptyd", "a") as file:
        file["chunks/11"] = h5py.ExternalLink("not-there.part011", "/")
    scan = read_scan(tmp_path / "s.ptyd")
    assert_content(scan, made)
    np.testing.assert_array_equal(scan.mask, made.mask)
    assert scan.name == "s"
    link = f"11 points to not-there.part011, which does not exist in {tmp_path}"
    assert scan.remarks == (f"1 of 4 chunks are missing: {link}", "6 of 8 frames exist", f"chunks/{link}")
    with h5py.File(tmp_path / "s.ptyd", "a") as file:
        file["meta/propagation"] = "nearfield"
    with pytest.raises(FileFormatError, match="near-field"):
        read_scan(tmp_path / "s.ptyd")


def test_ptychodus_patterns_take_positions_from_the_product_beside(tmp_path: Path) -> None:
    made = make_scan()
    assert made.probe is not None
    with h5py.File(tmp_path / "diffraction.h5", "w") as file:
        file["indexes"] = np.array([1, 2, 3, 5, 7, 8])
        file.create_dataset("patterns", data=made.counts, compression="lzf")
        file["patterns"].attrs.update({"detector_pixel_width_m": 75e-6, "detector_pixel_height_m": 75e-6})
        file["bad_pixels"] = made.mask
    alone = read_scan(tmp_path / "diffraction.h5")
    assert alone.positions_m is None
    assert "no product.h5" in alone.notes[0]
    positions = np.array([[5.0, 50], [3, 30], [9, 90], [1, 10]]) * 1e-6
    product = Product(
        "known", "", np.array([5, 3, 9, 1]), positions, made.probe, 3e-8, 8800.0, 1.92, made.probe[0], (0, 0)
    )
    write_product(tmp_path / "product.h5", product)
    scan = read_scan(tmp_path / "diffraction.h5")
    assert (scan.name, scan.indexes.tolist(), scan.object_pixel_size_m) == ("known", [1, 3, 5], 3e-8)
    np.testing.assert_allclose(scan.positions_m, np.array([[1, 10], [3, 30], [5, 50]]) * 1e-6)  # type: ignore[arg-type]
    np.testing.assert_array_equal(scan.counts, made.counts[[0, 2, 3]])
    assert scan.remarks[0] == "3 frames without a position were left out"


def test_the_demo_says_what_it_is() -> None:
    scan = read_scan(DEMO)
    assert (scan.counts.shape, scan.counts.dtype, int(scan.counts.max())) == ((516, 128, 128), np.dtype("uint16"), 963)
    assert scan.object_pixel_size_m == pytest.approx(28.18e-9, rel=1e-4)
    mean = scan.counts.mean(axis=0)
    rows, columns = np.mgrid[:128, :128]
    middle = (mean * rows).sum() / mean.sum(), (mean * columns).sum() / mean.sum()
    assert middle == pytest.approx((64, 66.75), abs=0.2)
    assert scan.positions_px is not None
    np.testing.assert_allclose(scan.positions_px[0], [167.57964 + 64, -159.73396 + 64], atol=1e-4)
    licence = DEMO.with_name("siemens-star.LICENSE.txt").read_text()
    with h5py.File(DEMO) as file:
        told = file["entry_1/experiment_description"][()].decode()
        assert file["entry_1/data_1/data"].compression == "gzip"
    assert licence in told
    assert "ASSUMED" in told
    assert DEMO.stat().st_size < 4_000_000


def test_what_is_no_scan_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with pytest.raises(FileFormatError, match="there is no such file"):
        read_scan(path)
    with pytest.raises(FileFormatError, match="cannot be opened"):
        read_scan(tmp_path)
    for content in (b"", b"hello, this is text", b"\x80\x04\x95pickle"):
        path.write_bytes(content)
        with pytest.raises(FileFormatError, match="neither HDF5 nor NPZ"):
            read_scan(path)
    with h5py.File(path, "w") as file:
        file["something"] = 1
    with pytest.raises(FileFormatError, match="of an unknown layout"):
        read_scan(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"counts": np.zeros((6, N, N), np.complex64)}, "write photon counts"),
        ({"counts": np.zeros((6, N), np.float32)}, "write them as"),
        ({"counts": np.zeros((0, N, N), np.float32)}, "write them as"),
        ({"indexes": np.array([0, 1, 2, 3, 4, 4])}, "give each frame its own index"),
        ({"positions_m": np.zeros((5, 3))}, r"one \[y, x\] a frame"),
        ({"positions_m": np.full((6, 2), np.nan)}, "no frame has a position"),
        ({"mask": np.zeros((N, N + 1), bool)}, "mask"),
    ],
)
def test_a_scan_that_does_not_fit_together_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(FileFormatError, match=words):
        completed(make_scan(**changes), tmp_path / "f")


@pytest.mark.parametrize("writer", [write_cxi, write_nexus, write_ptyd])
@settings(max_examples=25, deadline=None)
@given(cut=st.floats(0, 0.999))
def test_a_truncated_scan_is_refused_wherever_it_ends(
    tmp_path_factory: pytest.TempPathFactory, writer: Any, cut: float
) -> None:
    path = tmp_path_factory.mktemp("cut") / "scan"
    writer(path, make_scan())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * cut)])
    with pytest.raises(FileFormatError):
        read_scan(path)
