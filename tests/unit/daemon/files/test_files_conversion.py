"""Files of every kind that are written, read back without loss; what cannot be written is refused in one sentence."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from daemon.files import Product, ScanFile, read_scan
from daemon.files.conversion import SCAN_WRITERS, product_of, read_any, with_more, write_kind
from ptychopinn.errors import FileFormatError
from tests.support.file_scenes import FRAMES, NAMES, SIDE, a_scan


def assert_same(back: ScanFile, scan: ScanFile) -> None:
    for field in fields(ScanFile):
        if field.name in ("name", "notes", "doubts", "absent"):
            continue
        ours, theirs = getattr(scan, field.name), getattr(back, field.name)
        if isinstance(ours, np.ndarray):
            assert theirs.dtype == ours.dtype, field.name
            if ours.dtype.kind in "uib":
                np.testing.assert_array_equal(theirs, ours, err_msg=field.name)
            else:
                np.testing.assert_allclose(theirs, ours, rtol=1e-12, err_msg=field.name)
        else:
            assert theirs == pytest.approx(ours, rel=1e-12), field.name


@pytest.mark.parametrize("kind", list(SCAN_WRITERS))
def test_a_scan_comes_back_as_it_was(kind: str, tmp_path: Path) -> None:
    path, scan = tmp_path / NAMES[kind], a_scan()
    write_kind(path, scan, kind)
    assert_same(read_scan(path), scan)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize("counts_dtype", [np.uint8, np.uint32, np.float32, np.float64])
def test_amplitudes_give_back_the_photons_exactly(counts_dtype: type[np.generic], tmp_path: Path) -> None:
    scan = a_scan(counts_dtype)
    scan.counts[0, 0, 0] = 200 if counts_dtype is np.uint8 else 3_999_999_999 if counts_dtype is np.uint32 else 0.3
    write_kind(tmp_path / "s.npz", scan, "npz-diffraction")
    back = read_scan(tmp_path / "s.npz")
    assert back.counts.dtype == scan.counts.dtype
    assert back.notes == ()
    np.testing.assert_allclose(back.counts, scan.counts, rtol=0 if counts_dtype is not np.float64 else 1e-15)


def test_positions_in_pixels_alone_keep_their_origin(tmp_path: Path) -> None:
    scan = replace(a_scan(), positions_m=None, object_pixel_size_m=None, detector_distance_m=None, object=None)
    assert scan.positions_px is not None
    write_kind(tmp_path / "s.npz", scan, "npz-diff3d")
    back = read_scan(tmp_path / "s.npz")
    assert back.positions_px is not None
    assert back.object is None
    np.testing.assert_allclose(back.positions_px, scan.positions_px, atol=1e-9)


def test_training_files_hold_every_key_of_the_contract(tmp_path: Path) -> None:
    scan = a_scan()
    write_kind(tmp_path / "s.npz", scan, "npz-diffraction")
    with np.load(tmp_path / "s.npz", allow_pickle=False) as archive:
        keys = set(archive.files)
        offsets, relative = archive["coords_offsets"], archive["coords_relative"]
        x, y = archive["xcoords"], archive["ycoords"]
    assert keys >= {"diffraction", "scan_index", "probeGuess", "objectGuess"}
    assert offsets.shape == relative.shape == (FRAMES, 1, 2, 1)
    np.testing.assert_array_equal(relative, 0)
    np.testing.assert_array_equal(offsets[:, 0, :, 0], np.stack([x, y], axis=1))
    assert scan.positions_px is not None
    np.testing.assert_allclose(np.stack([y, x], axis=1) + scan.object_origin_px, scan.positions_px)


def test_results_go_to_ptypy_and_back(tmp_path: Path) -> None:
    product = product_of(a_scan(), Path("made"))
    write_kind(tmp_path / "r.ptyr", product, "ptyr")
    back = read_any(tmp_path / "r.ptyr")
    assert isinstance(back, Product)
    assert (back.name, back.photon_energy_eV, back.detector_distance_m) == ("made", 8800.0, 1.92)
    assert back.pixel_size_m == product.pixel_size_m
    for key in ("object", "probe", "indexes"):
        np.testing.assert_array_equal(getattr(back, key), getattr(product, key))
    np.testing.assert_allclose(back.positions_m, product.positions_m)
    assert back.object_origin_px == pytest.approx(product.object_origin_px)


def test_ptypy_finds_its_own_layout(tmp_path: Path) -> None:
    write_kind(tmp_path / "s.ptyd", a_scan(), "ptyd")
    with h5py.File(tmp_path / "s.ptyd") as file:
        assert file["meta"].attrs["type"] == "dict"
        assert file["meta/energy"][()] == pytest.approx(8.8)
        assert file["meta/energy"].attrs["type"] == "scalar"
        assert file["meta/label"].attrs["type"] == "string"
        assert file["chunks/0/data"].shape == (FRAMES, SIDE, SIDE)
        assert file["meta/weight2d"][2, 5] == 0
    write_kind(tmp_path / "r.ptyr", a_scan(), "ptyr")
    with h5py.File(tmp_path / "r.ptyr") as file:
        storage = file["content/obj/Sscan00G00"]
        np.testing.assert_allclose(storage["_center"][()], -storage["_origin"][()] / storage["_psize"][()])
        assert file["header/kind"][()] == b"dump"


def test_cdtools_finds_its_own_keys(tmp_path: Path) -> None:
    write_kind(tmp_path / "s.cxi", a_scan(), "cxi")
    with h5py.File(tmp_path / "s.cxi") as file:
        assert file["cxi_version"][()] == 160
        assert file["entry_1/sample_1/geometry_1/translation"].shape == (FRAMES, 3)
        detector = file["entry_1/instrument_1/detector_1"]
        assert (detector["distance"][()], detector["x_pixel_size"][()]) == (1.92, 75e-6)
        assert detector["mask"][2, 5] == 1
        assert file["entry_1/data_1/data"].shape == (FRAMES, SIDE, SIDE)


def test_unknown_object_is_ones_over_all_patches(tmp_path: Path) -> None:
    scan = replace(a_scan(), object=None)
    write_kind(tmp_path / "p.h5", scan, "product")
    back = read_any(tmp_path / "p.h5")
    assert isinstance(back, Product)
    assert (back.object == 1).all()
    places = back.positions_m / back.pixel_size_m - back.object_origin_px
    assert (places >= SIDE // 2).all()
    assert (places + SIDE // 2 <= back.object.shape).all()


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    scan = a_scan()
    bare = replace(scan, probe=None)
    with pytest.raises(FileFormatError, match="has no probe, which training files require; give one with --probe"):
        write_kind(tmp_path / "s.npz", bare, "npz-diffraction")
    with pytest.raises(FileFormatError, match="a product requires probe, which made lacks"):
        write_kind(tmp_path / "p.h5", bare, "product")
    with pytest.raises(FileFormatError, match="is a result without patterns"):
        write_kind(tmp_path / "s.cxi", product_of(scan, tmp_path), "cxi")
    for kind in ("ptyd", "cxi", "nexus"):
        with pytest.raises(
            FileFormatError, match="requires photon_energy_eV, which made does not state; convert to npz"
        ):
            write_kind(tmp_path / "s", replace(scan, photon_energy_eV=None), kind)
    with pytest.raises(FileFormatError, match="cannot be written"):
        write_kind(tmp_path / "none" / "s.cxi", scan, "cxi")
    assert list(tmp_path.iterdir()) == []


def test_missing_parts_are_added(tmp_path: Path) -> None:
    scan = replace(a_scan(), probe=None, object_pixel_size_m=None, positions_px=None)
    probe = np.ones((1, SIDE, SIDE), np.complex64)
    whole = with_more(scan, probe=probe, pixel_size_m=2e-8)
    assert whole.positions_m is not None
    np.testing.assert_allclose(whole.positions_px, whole.positions_m / 2e-8)  # type: ignore[arg-type]
    write_kind(tmp_path / "s.npz", whole, "npz-diff3d")
    assert read_scan(tmp_path / "s.npz").object_pixel_size_m == 2e-8
