"""The data set under PtychoPINN's names: grouped dictionary, one experiment, export, labels between pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ptychopinn.config.sections import DataConfig, TrainingConfig
from ptychopinn.contract import contracts
from ptychopinn.contract.keys import file_keys, group_keys, group_violations
from ptychopinn.contract.training_export import TrainingScan, write_training_file
from ptychopinn.data import PtychoDataset, build_store, gather, read_training_file
from ptychopinn.data.gather import cut_patches
from ptychopinn.errors import GeometryError
from tests.support.training_scenes import grid_experiment

SHAPES = {
    "diffraction": (64, 64, 4), "X_full": (64, 64, 4), "Y": (64, 64, 4), "nn_indices": (4,),
    "coords_offsets": (1, 2, 1), "coords_relative": (1, 2, 4), "coords_nn": (1, 2, 4),
    "coords_start_offsets": (1, 2, 1), "coords_start_relative": (1, 2, 4), "coords_start_nn": (1, 2, 4),
}  # fmt: skip
"""Axes behind the groups, recorded from ``generate_grouped_data`` of hoidn/PtychoPINN 712c23f3."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PtychoDataset:
    folder = tmp_path_factory.mktemp("grouped") / "store"
    scans = [grid_experiment("a", 5), replace(grid_experiment("b", 6), object=None)]
    build_store(folder, scans, DataConfig(n_subsample=2, x_bounds=(0, 1), y_bounds=(0, 1)), TrainingConfig())
    return PtychoDataset(folder, "all")


def test_the_grouped_dictionary_is_that_of_ptychopinn(dataset: PtychoDataset) -> None:
    found = dataset.grouped(0)
    groups = len(dataset.experiment_subset(0))
    for key, axes in SHAPES.items():
        assert found[key].shape == (groups, *axes), key  # type: ignore[literal-required]
    members = found["nn_indices"]
    assert members.dtype == np.int32
    assert (found["diffraction"][:, 5, 5] == members + 1).all()  # frame k is k + 1 everywhere
    y, x = np.array(np.divmod(members, 5)) * 2.0 + 40
    np.testing.assert_array_equal(found["coords_nn"][:, 0], np.stack([x, y], axis=1))
    np.testing.assert_allclose(found["coords_relative"], found["coords_offsets"] - found["coords_nn"])
    assert np.square(found["X_full"]).sum((1, 2)).mean() == pytest.approx(32.0**2, rel=1e-5)
    truth = grid_experiment().object
    assert truth is not None
    row, column = int(y[3, 1]) - 32, int(x[3, 1]) - 32
    np.testing.assert_allclose(found["Y"][3, :, :, 1], truth[row : row + 64, column : column + 64], atol=1e-6)
    assert "Y" not in dataset.grouped(1)


def test_the_table_of_keys_is_whole_and_checks_a_data_set(dataset: PtychoDataset) -> None:
    group = dataset[[0, len(dataset) - 1]].group
    assert set(group_keys()) == set(group.keys())
    assert list(group_violations(group)) == []
    files = {rule.name for kind, found in contracts().items() if kind[:8] == "npz-diff" for rule in found.rules}
    assert set(file_keys()) == files
    turned = group.clone()
    turned["coords_relative"] = -turned["coords_relative"]
    turned["experiment_id"] = turned["experiment_id"].long()
    turned["nn_indices"] = turned["nn_indices"][:, :1]
    assert list(group_violations(turned)) == [
        "nn_indices has the shape (2, 1); write (B, C)",
        "experiment_id is int64; write int32",
        "coords_relative is not position minus centre; write it so",
    ]


def test_one_experiment_is_a_part_of_the_data_set(dataset: PtychoDataset) -> None:
    second = dataset.experiment_subset(1)
    group, probe, _ = second[:]
    assert set(group["experiment_id"].tolist()) == {1}
    assert len(second) + len(dataset.experiment_subset(0)) == len(dataset)
    assert len(probe) == len(second)
    assert second.farthest_px() <= dataset.farthest_px()
    with pytest.raises(GeometryError, match=r"no experiment 2 of 2 \(from 0\)"):
        dataset.experiment_subset(2)


def test_an_exported_experiment_is_read_back(dataset: PtychoDataset, tmp_path: Path) -> None:
    dataset.export_npz(tmp_path / "a.npz", 0)
    back, scan = read_training_file(tmp_path / "a.npz"), grid_experiment("a", 5)
    np.testing.assert_array_equal(back.amplitude, scan.amplitude)
    np.testing.assert_allclose(back.positions_px, scan.positions_px)
    np.testing.assert_array_equal(back.probe, scan.probe)
    np.testing.assert_array_equal(back.object, scan.object)  # type: ignore[arg-type]
    with np.load(tmp_path / "a.npz") as archive:
        np.testing.assert_array_equal(archive["nn_indices"], dataset.grouped(0)["nn_indices"])


def test_labels_are_cut_between_pixels() -> None:
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(30.0), indexing="ij")
    ramp = torch.complex(1 + 0.25 * y, 0.5 * x)  # linear: interpolation is exact
    where = torch.tensor([[10.25, 12.5], [8.0, 9.0]], dtype=torch.float64)
    found = cut_patches(ramp, where, 8)
    for patch, (row, column) in zip(found, where.tolist(), strict=True):
        rows, columns = row - 4 + torch.arange(8.0), column - 4 + torch.arange(8.0)
        torch.testing.assert_close(patch.real, (1 + 0.25 * rows)[:, None].expand(8, 8))
        torch.testing.assert_close(patch.imag, (0.5 * columns)[None].expand(8, 8))
    assert (cut_patches(ramp, torch.tensor([[-30.0, 0.0]]), 8) == 1).all()


def test_a_file_s_own_labels_are_used(tmp_path: Path) -> None:
    scan = grid_experiment("a", 5)
    counts = np.square(np.maximum(scan.amplitude, 0)).astype(np.int32)
    labels = np.full(scan.amplitude.shape, 1j, np.complex64) * np.arange(1, 26)[:, None, None]
    extras = {"label": labels.astype(np.complex64)}
    write_training_file(tmp_path / "s.npz", TrainingScan(counts, scan.positions_px, scan.probe, extras=extras))
    read = read_training_file(tmp_path / "s.npz")
    build_store(tmp_path / "store", [read], DataConfig(grid_size=(1, 1)), TrainingConfig())
    group = PtychoDataset(tmp_path / "store", "all")[:].group
    torch.testing.assert_close(group["label_amp"][:, 0, 3, 3], group["nn_indices"][:, 0] + 1.0)
    assert float(group["label_phase"].abs().max()) < 1e-6  # its mean is subtracted


@pytest.mark.parametrize("changes", [{}, {"data_scaling": "Max"}, {"normalize": "None"}])
def test_constants_are_the_same_in_chunks(changes: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.rand(23, 64, 64, generator=torch.Generator().manual_seed(1)) * 9 - 1
    config, frames = DataConfig.of(changes), np.arange(0, 23, 2)
    whole = gather.scaling_constants(images, config, frames)
    monkeypatch.setattr(gather, "CHUNK_FRAMES", 5)
    assert gather.scaling_constants(images, config, frames) == pytest.approx(whole, rel=1e-6)
