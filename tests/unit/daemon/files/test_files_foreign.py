"""Files and structures made by others, read as they are: cdtools, Diamond's NXptycho, ptypy as documented; raster shapes."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from daemon.cli.validate import examine
from daemon.files import read_probe, read_scan
from daemon.files.conversion import read_any
from daemon.files.product import Product
from ptychopinn.errors import FileFormatError
from tests.support.scan_files import (
    DISTANCE_M,
    FRAMES,
    INDEPENDENT,
    PATTERNS,
    TRANSLATION,
    N,
    counts,
    places_m,
    write_cxi,
    write_like,
    write_nexus,
)


def test_a_scan_of_cdtools() -> None:
    """P25 at PETRA III: soft links, basis vectors, energy and wavelength, a mask; see README.md beside the file."""
    scan = read_scan(INDEPENDENT / "cdtools-p25-12-frames.cxi")
    assert (scan.counts.shape, scan.counts.dtype) == ((12, 100, 100), np.dtype("int32"))
    assert scan.photon_energy_eV == pytest.approx(12658.0, rel=1e-4)
    assert (scan.detector_distance_m, scan.detector_pixel_size_m) == (pytest.approx(1.12), pytest.approx(55e-6))
    assert scan.mask is not None
    assert scan.positions_px is not None
    assert np.ptp(scan.positions_px, axis=0) == pytest.approx([184.8, 231.1], abs=0.1)
    assert [one.topic for one in scan.doubts] == ["near_field"]


def test_scans_as_diamond_wrote_them(tmp_path: Path) -> None:
    """Axes without vectors, and without units in the first; the second is a raster of 10 x 10."""
    data = np.random.default_rng(0).poisson(40, (100, 32, 32)).astype(float)
    x = np.arange(100.0) * 1e-7
    first = write_like(
        tmp_path / "a.nxs",
        "example_nxptycho_cxi_compatible",
        **{
            "entry_1/instrument_1/detector_1/data": data,
            "entry_1/sample_1/transformations/x": x,
            "entry_1/sample_1/transformations/y": x[::-1],
        },
    )
    scan = read_scan(first)
    np.testing.assert_array_equal(scan.counts, data)
    np.testing.assert_allclose(scan.positions_m, np.stack([x[::-1], x], axis=1))  # type: ignore[arg-type]
    assert "x states no vector; by its name it is taken as x" in str(scan.doubts[0])
    assert any("the photon energy is 0.00938" in str(one) for one in scan.doubts)
    raster = write_like(
        tmp_path / "b.nxs",
        "example_nxptycho_cxi_compatible_raster",
        **{"entry_1/instrument_1/detector/data": data.reshape(10, 10, 32, 32)},
    )
    scan = read_scan(raster)
    np.testing.assert_array_equal(scan.counts, data)
    assert (scan.photon_energy_eV, scan.detector_distance_m) == (pytest.approx(9000.0), 1.5)
    assert str(scan.doubts[0]) == "the raster of 10 x 10 frames was read row by row"
    assert any("all frames lie on one pixel" in str(one) for one in scan.doubts)


def test_ptypy_as_its_documentation_has_it(tmp_path: Path) -> None:
    """doc/rst/ptyd.rst: None as [0] with its type, indices a list of floats, weights empty, several chunks."""
    with h5py.File(tmp_path / "s.ptyd", "w") as file:
        meta = {"distance": 7.0, "energy": 6.2, "psize": [172e-6, 172e-6], "shape": [N, N], "center": [8.0, 8.0]}
        for name, value in meta.items():
            file[f"meta/{name}"] = value
        for name in ("label", "experimentID", "lam"):
            file[f"meta/{name}"] = np.zeros(1)
            file[f"meta/{name}"].attrs["type"] = "None"
        file["meta/version"] = "0.1"
        file["info/propagation"] = "farfield"
        for chunk, part in enumerate(np.split(np.arange(FRAMES), 2)):
            group = file.create_group(f"chunks/{chunk}")
            group["data"] = counts(dtype="int32")[part]
            group["indices"] = part.astype(float)
            group["positions"] = places_m()[part]
            group["weights"] = np.zeros(0)
    scan = read_scan(tmp_path / "s.ptyd")
    np.testing.assert_array_equal(scan.counts, counts())
    np.testing.assert_array_equal(scan.indexes, np.arange(FRAMES))
    assert (scan.photon_energy_eV, scan.detector_distance_m) == (pytest.approx(6200.0), 7.0)


def write_ptypy_result(path: Path) -> None:
    """Write a result as ptypy does: energy and distance stand in its parameters alone."""
    with h5py.File(path, "w") as file:
        probe = np.ones((1, N, N), complex) * (1 + 1j)
        for kind, data in (("probe", probe), ("obj", np.ones((1, 40, 44), complex))):
            file[f"content/{kind}/Sscan00G00/data"] = data
            file[f"content/{kind}/Sscan00G00/_psize"] = np.full(2, 2e-8)
            file[f"content/{kind}/Sscan00G00/_origin"] = np.full(2, -4e-7)
        file["content/pars/scans/scan00/data/energy"] = 6.2
        file["content/pars/scans/scan00/data/distance"] = 7.0


def test_a_result_of_ptypy_gives_probe_energy_and_distance(tmp_path: Path) -> None:
    write_ptypy_result(tmp_path / "r.ptyr")
    found = read_probe(tmp_path / "r.ptyr")
    assert (found.probe.shape, found.pixel_size_m) == ((1, N, N), pytest.approx(2e-8))
    product = read_any(tmp_path / "r.ptyr")
    assert isinstance(product, Product)
    assert (product.photon_energy_eV, product.detector_distance_m) == (pytest.approx(6200.0), 7.0)


def test_rasters_and_axes_of_one(tmp_path: Path) -> None:
    square = (4, 4)
    plain = read_scan(write_cxi(tmp_path / "plain.cxi"))
    y, x = places_m().T
    shaped = {
        PATTERNS: counts().reshape(*square, N, N),
        TRANSLATION: np.stack([x, y, 0 * x], axis=1).reshape(*square, 3),
    }
    single = {PATTERNS: counts()[:, None], TRANSLATION: np.stack([x, y, 0 * x], axis=1)[:, None]}
    line = {TRANSLATION: np.stack([x, y], axis=1)[..., None, None]}
    for name, change in (("raster", shaped), ("single", single), ("line", line)):
        scan = read_scan(write_cxi(tmp_path / f"{name}.cxi", **change))
        np.testing.assert_array_equal(scan.counts, plain.counts)
        np.testing.assert_array_equal(scan.positions_m, plain.positions_m)  # type: ignore[arg-type]
        assert examine(tmp_path / f"{name}.cxi").violations == []
    axes = {"x": (x[:4], "m"), "y": (y[::4], "m")}
    nexus = read_scan(write_nexus(tmp_path / "r.nxs", counts().reshape(*square, N, N), axes))
    np.testing.assert_allclose(nexus.positions_m, places_m(), atol=1e-18)  # type: ignore[arg-type]
    column = {"x": (x[:, None, None], "m"), "y": (y[None, :], "m")}
    nexus = read_scan(write_nexus(tmp_path / "c.nxs", counts(), column))
    np.testing.assert_allclose(nexus.positions_m, places_m(), atol=1e-18)  # type: ignore[arg-type]


def test_a_near_field_scan_of_ptychodus_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "diffraction.h5", "w") as file:
        file["patterns"], file["indexes"] = counts(), np.arange(FRAMES)
    with h5py.File(tmp_path / "product.h5", "w") as file:
        file.attrs.update({"far_field": False, "detector_object_distance_m": DISTANCE_M})
        file["probe_position_indexes"] = np.arange(FRAMES)
        for axis, values in zip("yx", places_m().T, strict=True):
            file[f"probe_position_{axis}_m"] = values
        file["probe"] = np.ones((1, 1, N, N), complex)
        file["object"] = np.ones((1, 40, 40), complex)
        size = {"pixel_width_m": 2e-8, "pixel_height_m": 2e-8, "center_x_m": 0.0, "center_y_m": 0.0}
        file["object"].attrs.update(size)
    with pytest.raises(FileFormatError, match=r"near-field scan, as product\.h5 says; only the far field"):
        read_scan(tmp_path / "diffraction.h5")
