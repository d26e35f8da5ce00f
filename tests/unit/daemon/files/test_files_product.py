"""Products: round trips, the position rule, all three spellings, atomic writing, refusals."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.files import LiveGroup, Product, read_probe, read_product, read_scan, write_product
from daemon.files.product import UNKNOWN_OPTICS, object_center_m
from ptychopinn.errors import FileFormatError, GeometryError

PIXEL_M = 28e-9


def make_product(seed: int = 0, frames: int = 5, shape: tuple[int, int] = (40, 50), **changes: Any) -> Product:
    rng = np.random.default_rng(seed)

    def wave(*size: int) -> np.ndarray[Any, Any]:
        return (rng.normal(size=size) + 1j * rng.normal(size=size)).astype(np.complex64)

    product = Product(
        name="scan 7",
        comments="made here",
        indexes=np.sort(rng.choice(1000, frames, replace=False)).astype(np.int64),
        positions_m=rng.normal(size=(frames, 2)) * 1e-6,
        probe=wave(3, 16, 16),
        pixel_size_m=PIXEL_M,
        photon_energy_eV=8800.0,
        detector_distance_m=1.92,
        object=wave(*shape),
        object_origin_px=(-32, 64),
        live=LiveGroup(
            network=wave(33, 7),
            network_weight=rng.random((33, 7), dtype=np.float32),
            network_origin_px=(-64, 0),
            refined_weight=rng.random(shape, dtype=np.float32),
            verdict={"expected": None, "received": 7, "stitched": frames, "refused": {"shape": 2, "checksum/x": 1}},
            rfactors={"network": 0.17, "refined": 0.15},
            configuration='[frames]\nendpoint = "tcp://127.0.0.1:9999"\n' + "# long\n" * 20000,
            model_name="lift",
            model_sha256="ab" * 32,
            model_generation=4,
            started="2026-11-24T10:00:00+00:00",
            ended="2026-11-24T10:01:00+00:00",
        ),
    )
    return replace(product, **changes)


def assert_same(one: Any, other: Any) -> None:
    for field in fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype
        elif isinstance(a, LiveGroup):
            assert_same(a, b)
        else:
            assert a == b, field.name


@pytest.mark.parametrize("frames", [0, 1, 5])
def test_round_trip(tmp_path: Path, frames: int) -> None:
    product = make_product(frames=frames)
    write_product(tmp_path / "p.h5", product)
    assert_same(product, read_product(tmp_path / "p.h5"))


@pytest.mark.parametrize("shape", [(0, 0), (1, 1), (300, 257)])
def test_round_trip_of_any_size_without_live(tmp_path: Path, shape: tuple[int, int]) -> None:
    product = make_product(shape=shape, live=None)
    write_product(tmp_path / "p.h5", product)
    assert_same(product, read_product(tmp_path / "p.h5"))


@given(
    origin=st.tuples(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6)),
    shape=st.tuples(st.integers(1, 40000), st.integers(1, 40000)),
    position_px=st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)),
    pixel_m=st.floats(1e-10, 1e-6),
)
def test_ptychodus_maps_a_position_to_the_pixel_we_do(
    origin: tuple[int, int], shape: tuple[int, int], position_px: tuple[float, float], pixel_m: float
) -> None:
    center = object_center_m(origin, shape, pixel_m)
    for axis in range(2):
        theirs = (position_px[axis] * pixel_m - center[axis]) / pixel_m + (shape[axis] - 1) / 2
        assert theirs == pytest.approx(position_px[axis] - origin[axis], abs=1e-8)


def test_unsorted_indexes_are_written_ascending_with_their_positions(tmp_path: Path) -> None:
    product = make_product()
    order = [3, 0, 4, 1, 2]
    write_product(
        tmp_path / "p.h5", replace(product, indexes=product.indexes[order], positions_m=product.positions_m[order])
    )
    assert_same(product, read_product(tmp_path / "p.h5"))


def test_layout_is_that_of_ptychodus(tmp_path: Path) -> None:
    product = make_product()
    write_product(tmp_path / "p.h5", product)
    with h5py.File(tmp_path / "p.h5") as file:
        attributes = file.attrs
        assert attributes["photon_energy_eV"] == attributes["probe_energy_eV"] == 8800.0
        assert attributes["mass_attenuation_m2_per_kg"] == attributes["mass_attenuation_m2_kg"] == 0.0
        assert attributes["detector_object_distance_m"] == 1.92
        assert attributes["format_version"] == 1
        assert attributes["far_field"]
        assert {k: (v.shape, v.dtype.str) for k, v in file.items() if isinstance(v, h5py.Dataset)} == {
            "loss_epochs": ((0,), "<i8"),
            "loss_values": ((0,), "<f8"),
            "object": ((1, 40, 50), "<c8"),
            "object_layer_spacing_m": ((0,), "<f8"),
            "probe": ((1, 3, 16, 16), "<c8"),
            "probe_position_indexes": ((5,), "<i8"),
            "probe_position_x_m": ((5,), "<f8"),
            "probe_position_y_m": ((5,), "<f8"),
        }
        np.testing.assert_array_equal(file["probe_position_x_m"], product.positions_m[:, 1])
        assert file["object"].chunks == (1, 40, 50)
        network = file["live/network"]
        assert (network.compression, network.compression_opts, network.shuffle) == ("gzip", 1, True)


def test_unknown_optics_are_zero_and_said_once(tmp_path: Path) -> None:
    blind = make_product(photon_energy_eV=None)
    write_product(tmp_path / "p.h5", blind)
    back = read_product(tmp_path / "p.h5")
    assert (back.photon_energy_eV, back.detector_distance_m) == (None, 1.92)
    assert back.comments == f"made here\n{UNKNOWN_OPTICS}"
    write_product(tmp_path / "p.h5", back)
    assert read_product(tmp_path / "p.h5").comments == back.comments


def foreign(path: Path, probe: np.ndarray[Any, Any], picture: np.ndarray[Any, Any], energy: str, **attrs: Any) -> None:
    """Write a product with only what ptychodus requires."""
    with h5py.File(path, "w") as file:
        file.attrs["detector_object_distance_m"] = 2.0
        file.attrs[energy] = 9000.0
        file["probe_position_indexes"] = np.array([4, 1])
        file["probe_position_x_m"] = np.array([1e-6, 2e-6])
        file["probe_position_y_m"] = np.array([3e-6, 4e-6])
        file["probe"] = probe
        file["object"] = picture
        file["object"].attrs.update(
            {"center_x_m": 10e-8, "center_y_m": 20e-8, "pixel_width_m": 2e-8, "pixel_height_m": 2e-8, **attrs}
        )


@pytest.mark.parametrize("energy", ["photon_energy_eV", "probe_energy_eV"])
@pytest.mark.parametrize("leading", [(), (2,), (1, 2)])
def test_all_spellings_are_read(tmp_path: Path, energy: str, leading: tuple[int, ...]) -> None:
    wave = np.ones((*leading, 8, 8), dtype=np.complex128) * 1j
    foreign(tmp_path / "p.h5", wave, np.ones(((1,) if leading else ()) + (33, 41), dtype=np.complex64), energy)
    product = read_product(tmp_path / "p.h5")
    assert product.probe.shape == (leading[-1] if leading else 1, 8, 8)
    assert (product.name, product.photon_energy_eV, product.detector_distance_m) == ("Unnamed", 9000.0, 2.0)
    assert product.object.shape == (33, 41)
    assert product.object_origin_px == pytest.approx((10 - 16, 5 - 20))
    np.testing.assert_array_equal(product.positions_m, [[3e-6, 1e-6], [4e-6, 2e-6]])
    probe = read_probe(tmp_path / "p.h5")
    assert probe.pixel_size_m == pytest.approx(2e-8)
    np.testing.assert_array_equal(probe.probe, product.probe)


def test_what_cannot_be_used_is_refused_in_words(tmp_path: Path) -> None:
    path, wave = tmp_path / "p.h5", np.ones((8, 8), dtype=np.complex64)
    picture = np.ones((9, 9), dtype=np.complex64)
    foreign(path, wave.real, picture, "photon_energy_eV")
    with pytest.raises(FileFormatError, match="not complex"):
        read_product(path)
    foreign(path, wave, np.stack([picture, picture]), "photon_energy_eV")
    with pytest.raises(FileFormatError, match="one complex layer"):
        read_product(path)
    foreign(path, wave, picture, "photon_energy_eV", pixel_width_m=4e-8)
    with pytest.raises(FileFormatError, match="resample to square"):
        read_product(path)
    foreign(path, wave, picture, "photon_energy_eV")
    with h5py.File(path, "a") as file:
        del file["object"].attrs["center_x_m"]
    with pytest.raises(FileFormatError, match="lacks center_x_m"):
        read_product(path)
    with pytest.raises(FileFormatError, match=r"is a product .*give the scan"):
        read_scan(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"indexes": np.array([1, 2, 2, 3, 4])},
        {"positions_m": np.zeros((4, 2))},
        {"object": np.zeros((1, 4, 4), dtype=np.complex64)},
        {"object": np.zeros((4, 4), dtype=np.complex64)},
    ],
)
def test_a_product_that_does_not_fit_together_is_not_written(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(GeometryError):
        write_product(tmp_path / "p.h5", make_product(**changes))
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = make_product(seed=1)
    write_product(tmp_path / "p.h5", old)

    def full_disk(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_product(tmp_path / "p.h5", make_product(seed=2))
    assert [p.name for p in tmp_path.iterdir()] == ["p.h5"]
    assert_same(old, read_product(tmp_path / "p.h5"))


def test_a_reader_of_the_old_file_keeps_it_while_a_new_one_takes_its_name(tmp_path: Path) -> None:
    first, second = make_product(seed=1, live=None), make_product(seed=2, live=None)
    write_product(tmp_path / "p.h5", first)
    with h5py.File(tmp_path / "p.h5") as open_before:
        write_product(tmp_path / "p.h5", second)
        np.testing.assert_array_equal(open_before["object"][0], first.object)
    assert_same(second, read_product(tmp_path / "p.h5"))


@settings(max_examples=40, deadline=None)
@given(cut=st.floats(0, 0.999), name=st.sampled_from(["p.h5", "p.npz"]))
def test_a_truncated_product_is_refused_wherever_it_ends(
    tmp_path_factory: pytest.TempPathFactory, cut: float, name: str
) -> None:
    directory = tmp_path_factory.mktemp("cut")
    write_product(directory / "whole.h5", make_product(shape=(8, 8)))
    whole = (directory / "whole.h5").read_bytes()
    (directory / name).write_bytes(whole[: int(len(whole) * cut)])
    with pytest.raises(FileFormatError, match=name):
        read_product(directory / name)
