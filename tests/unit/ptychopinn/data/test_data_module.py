"""The data set on disk: what groups hold, how much it takes, who builds it; and the loaders over it."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from ptychopinn.config.sections import DataConfig, TrainingConfig
from ptychopinn.data import (
    Experiment,
    GroupSampler,
    PtychoDataset,
    StreamDataset,
    TensorDictLoader,
    WorkerRank,
    build_store,
    read_training_file,
    share_store,
    torch_loader,
    training_files,
)
from ptychopinn.data.shared import RANKS
from ptychopinn.errors import FileFormatError, ProbeMismatchError, ReconstructionError
from ptychopinn.mosaic.groups import GroupFrame
from tests.support.training_scenes import grid_experiment

KEYS = {
    "images", "coords_global", "coords_center", "coords_relative", "coords_start_center", "coords_start_relative",
    "nn_indices", "experiment_id", "scan_index", "label_amp", "label_phase", "rms_scaling_constant",
    "physics_scaling_constant", "rms_input_scale", "mean_measured_intensity",
}  # fmt: skip


def data(**changes: object) -> DataConfig:
    return DataConfig.of({"n_subsample": 2, **changes})


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    build_store(folder, [grid_experiment("a"), grid_experiment("b", 10, modes=2)], data(), TrainingConfig())
    return folder


def test_groups_hold_what_they_say(store: Path) -> None:
    whole = PtychoDataset(store, "all")
    numbers = [0, len(whole) - 1, 5]
    group, probe, scaling = whole[numbers]
    assert set(group.keys()) == KEYS
    assert group.batch_size == torch.Size([3])
    assert group["experiment_id"].tolist() == [0, 1, 0]
    assert group["experiment_id"].dtype == torch.int32  # as in PtychoPINN
    members = group["nn_indices"]
    assert (group["images"][:, :, 5, 5] == members + 1).all()  # frame k is k + 1 everywhere
    assert (group["images"][:, :, 0, 0] == -1).all()
    side = torch.tensor([12, 10, 12])[:, None]
    where = 40 + 2.0 * torch.stack([members // side, members % side], dim=-1)
    torch.testing.assert_close(group["coords_global"][:, :, 0], where)
    torch.testing.assert_close(group["coords_center"][:, 0, 0], where.mean(1))
    torch.testing.assert_close(group["coords_relative"], group["coords_global"] - group["coords_center"])
    torch.testing.assert_close(group["coords_start_relative"], group["coords_relative"])
    assert probe.shape == (3, 1, 2, 64, 64)
    assert (probe[0, 0, 1] == 0).all()  # the first experiment has one mode
    assert scaling.shape == (3, 1, 1, 1)
    torch.testing.assert_close(probe[0, 0, 0].abs().mean(), torch.tensor(0.25))


def test_labels_are_the_truth_under_the_frame(store: Path) -> None:
    group = PtychoDataset(store, "all")[3].group
    y, x = group["coords_global"][0, 1, 0].long().tolist()
    truth = torch.from_numpy(grid_experiment().object[y - 32 : y + 32, x - 32 : x + 32]).angle()
    torch.testing.assert_close(group["label_phase"][0, 1], truth - truth.mean())
    torch.testing.assert_close(group["label_amp"][0, 1], torch.ones(64, 64))


def test_labels_are_left_out_where_nobody_learns_from_them(store: Path) -> None:
    group = PtychoDataset(store, has_labels=False)[0].group
    assert KEYS - set(group.keys()) == {"label_amp", "label_phase"}


def test_scaling_constants_are_those_of_the_whole_experiment(store: Path) -> None:
    group = PtychoDataset(store, "all")[0].group
    amplitude = grid_experiment().amplitude.clip(0)
    assert float(group["rms_scaling_constant"]) == pytest.approx(64 / np.square(amplitude).sum((1, 2)).mean() ** 0.5)
    assert float(group["physics_scaling_constant"]) == pytest.approx(1 / amplitude.sum((1, 2)).mean(), rel=1e-5)


def test_group_normalisation_follows_each_group(tmp_path: Path) -> None:
    build_store(tmp_path / "s", [grid_experiment()], data(normalize="Group"), TrainingConfig())
    group = PtychoDataset(tmp_path / "s")[[0, 40]].group
    scaled = group["images"].clamp_min(0) * group["rms_scaling_constant"]
    torch.testing.assert_close(scaled.square().sum((-2, -1)).mean(1), torch.full((2,), 64.0**2))


def test_validation_is_held_out_by_position_and_seed(store: Path, tmp_path: Path) -> None:
    facts = json.loads((store / "store.json").read_text())["experiments"]
    training, validation, whole = (PtychoDataset(store, part) for part in ("training", "validation", "all"))
    assert len(training) + len(validation) == len(whole)
    assert len(validation) == sum(one["held_out"] for one in facts)
    assert 0.03 < len(validation) / len(whole) < 0.07
    build_store(tmp_path / "other", [grid_experiment("a"), grid_experiment("b", 10)], data(), TrainingConfig(seed=1))
    assert not torch.equal(
        PtychoDataset(tmp_path / "other", "validation")[:5].group["nn_indices"], validation[:5].group["nn_indices"]
    )


def test_scans_in_one_file_are_never_grouped(tmp_path: Path) -> None:
    scan = grid_experiment()
    halves = np.repeat([3, 8], 72)
    mixed = Experiment("two", scan.amplitude, scan.positions_px, scan.probe, scan_index=halves)
    build_store(tmp_path / "s", [mixed], data(), TrainingConfig(n_groups=50))
    group = PtychoDataset(tmp_path / "s", "all")[:].group
    assert len(group) == 50
    assert (torch.from_numpy(halves)[group["nn_indices"]] == group["scan_index"][:, None]).all()
    assert set(group["scan_index"].tolist()) == {3, 8}


def test_two_thousand_frames_are_stored_once(tmp_path: Path) -> None:
    scan = grid_experiment(side=45)
    np.savez(
        tmp_path / "scan.npz",
        diffraction=scan.amplitude[:2000] / 1000,
        xcoords=scan.positions_px[:2000, 1],
        ycoords=scan.positions_px[:2000, 0],
        probeGuess=scan.probe[0],
    )
    begun = time.thread_time()
    build_store(tmp_path / "s", [read_training_file(tmp_path / "scan.npz")], DataConfig(), TrainingConfig())
    assert time.thread_time() - begun < 3.0  # 0.2 s on an idle core
    assert len(PtychoDataset(tmp_path / "s", "all")) == 7 * len(set(kept(scan.positions_px[:2000])))
    assert sum(f.stat().st_size for f in (tmp_path / "s").rglob("*") if f.is_file()) < 40e6


def kept(positions_px: np.ndarray) -> list[int]:
    from ptychopinn.data.grouping import kept_positions

    return kept_positions(positions_px, DataConfig()).tolist()


def test_the_last_build_stands_and_a_failed_one_leaves_nothing(store: Path, tmp_path: Path) -> None:
    with pytest.raises(ProbeMismatchError, match="64 px but N is 128"):
        build_store(store, [grid_experiment()], data(N=128), TrainingConfig())
    assert [p.name for p in tmp_path.iterdir()] == ["store"]
    assert len(PtychoDataset(store, "all").facts) == 2
    build_store(store, [grid_experiment()], data(), TrainingConfig())
    assert len(PtychoDataset(store, "all").facts) == 1
    (store / "store.json").write_text('{"schema_version": 99}')
    with pytest.raises(FileFormatError, match="schema 99"):
        PtychoDataset(store)


def test_others_wait_for_the_first_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in RANKS:
        monkeypatch.delenv(name, raising=False)
    sources = [grid_experiment()]
    found: list[str] = []
    settings = (data(), TrainingConfig())
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(ReconstructionError, match="did not build"):
        share_store(tmp_path / "s", sources, read_training_file, *settings, wait_s=0.0)
    waiting = threading.Thread(
        target=lambda: found.append(share_store(tmp_path / "s", sources, read_training_file, *settings))
    )
    waiting.start()
    build_store(tmp_path / "s", sources, *settings, identity="of something else")
    assert not found
    build_store(tmp_path / "s", sources, *settings, identity=identity_of(tmp_path, sources, settings, monkeypatch))
    waiting.join(60)
    assert len(found) == 1


def identity_of(tmp_path: Path, sources: list, settings: tuple, monkeypatch: pytest.MonkeyPatch) -> str:
    with monkeypatch.context() as first:
        first.setenv("RANK", "0")
        return share_store(tmp_path / "first", sources, read_training_file, *settings)


class TestLoaders:
    def test_every_group_comes_once_an_epoch_in_an_order_of_its_own(self, store: Path) -> None:
        loader = TensorDictLoader(PtychoDataset(store), 16, seed=3)
        orders = []
        for epoch in (0, 1, 0):
            loader.set_epoch(epoch)
            batches = [batch.group for batch in loader]
            orders.append(torch.cat([torch.cat([b["experiment_id"][:, None], b["nn_indices"]], 1) for b in batches]))
        assert len(orders[0]) == len(loader.dataset)
        assert torch.equal(orders[0], orders[2])
        assert not torch.equal(orders[0], orders[1])
        assert torch.equal(orders[0].sort(0).values, orders[1].sort(0).values)

    def test_an_epoch_can_be_entered_anywhere(self, store: Path) -> None:
        dataset = PtychoDataset(store)
        loader = TensorDictLoader(dataset, 16, seed=3)
        loader.set_epoch(2)
        taken = iter(loader)
        for _ in range(3):
            next(taken)
        state = loader.state_dict()
        again = TensorDictLoader(dataset, 16, seed=3)
        again.load_state_dict(state)
        for one, other in zip(taken, again, strict=True):
            assert torch.equal(one.group["nn_indices"], other.group["nn_indices"])
        assert len(list(again)) == len(loader)  # the next epoch is whole again

    def test_processes_share_an_epoch(self) -> None:
        shares = [list(GroupSampler(43, 4, seed=1, worker=WorkerRank(rank, 3))) for rank in range(3)]
        assert [len(batch) for batch in shares[0]] == [len(batch) for batch in shares[2]] == [4, 4, 4, 3]
        together = [index for batches in shares for batch in batches for index in batch]
        assert set(together) == set(range(43))
        assert len(together) == 45  # two are seen twice, so that none waits

    def test_a_plain_loader_gives_the_same_batches(self, store: Path) -> None:
        dataset = PtychoDataset(store)
        ours = next(iter(TensorDictLoader(dataset, 8, seed=5)))
        plain = next(iter(torch_loader(dataset, 8, seed=5)))
        assert torch.equal(ours.group["images"], plain.group["images"])
        assert torch.equal(ours.probe, plain.probe)

    def test_a_stream_gives_groups_around_its_newest_frames(self) -> None:
        scan = grid_experiment(side=10)
        frames = (
            GroupFrame(100 + k, scan.amplitude[k], (float(y), float(x)))
            for k, (y, x) in enumerate(scan.positions_px.tolist())
        )
        config = data(n_subsample=1, x_bounds=(0, 1), y_bounds=(0, 1))
        probe = torch.from_numpy(scan.probe)
        stream = StreamDataset(frames, probe, config, batch_size=8, seed=0, chunk_frames=40)
        batches = list(stream)
        members = torch.cat([batch.group["nn_indices"] for batch in batches])
        assert len(members) == 100
        assert (torch.cat([b.group["images"] for b in batches])[:, :, 5, 5] == members - 99).all()
        assert batches[0].group["nn_indices"].max() < 140
        assert batches[0].probe.shape == (8, 1, 1, 64, 64)


class TestTrainingFiles:
    def write(self, path: Path, **changes: object) -> Path:
        scan = grid_experiment(side=6)
        keys: dict[str, object] = {
            "diff3d": np.square(scan.amplitude),
            "xcoords": scan.positions_px[:, 1],
            "ycoords": scan.positions_px[:, 0],
            "probeGuess": scan.probe[0],
            "objectGuess": scan.object,
        }
        np.savez(path, **{k: v for k, v in {**keys, **changes}.items() if v is not None})
        return path

    def test_counts_and_truth_are_read(self, tmp_path: Path) -> None:
        found = read_training_file(self.write(tmp_path / "a.npz"))
        np.testing.assert_allclose(found.amplitude[4, 9, 9], 5.0)
        assert found.positions_px[7].tolist() == [42.0, 42.0]  # [y, x]
        assert found.object is not None

    def test_normalised_amplitudes_get_their_photons(self, tmp_path: Path) -> None:
        scan = grid_experiment(side=6)
        path = self.write(tmp_path / "a.npz", diff3d=None, diffraction=scan.amplitude.clip(0) * 1e-3)
        found = read_training_file(path, nphotons=2e4)
        assert float(np.square(found.amplitude).sum((1, 2)).mean()) == pytest.approx(2e4, rel=1e-3)

    def test_a_truth_of_ones_is_none(self, tmp_path: Path) -> None:
        assert read_training_file(self.write(tmp_path / "a.npz", objectGuess=np.ones((80, 80)))).object is None

    def test_frames_last_and_start_positions_and_bad_pixels_are_understood(self, tmp_path: Path) -> None:
        scan = grid_experiment(side=6)
        bad = np.zeros((64, 64), dtype=bool)
        bad[7, 7] = True
        path = self.write(
            tmp_path / "a.npz",
            diff3d=np.moveaxis(np.square(scan.amplitude), 0, -1),
            xcoords_start=scan.positions_px[:, 1] + 1,
            ycoords_start=scan.positions_px[:, 0],
            bad_pixels=bad,
        )
        found = read_training_file(path)
        assert found.amplitude.shape == (36, 64, 64)
        assert (found.amplitude[:, 7, 7] == -1).all()
        assert found.start_px is not None
        assert found.start_px[0].tolist() == [40.0, 41.0]

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"probeGuess": None}, "probeGuess missing"),
            ({"diff3d": None}, "diff3d or diffraction missing"),
            ({"xcoords": np.zeros(3)}, "3 xcoords and 36 ycoords"),
            ({"diff3d": np.zeros((36, 64), dtype=np.float32)}, r"write real \(n, N, N\)"),
        ],
    )
    def test_what_is_missing_is_said(self, tmp_path: Path, changes: dict[str, object], words: str) -> None:
        with pytest.raises(FileFormatError, match=words):
            read_training_file(self.write(tmp_path / "a.npz", **changes))

    def test_other_faults_are_said(self, tmp_path: Path) -> None:
        path = self.write(tmp_path / "a.npz", xcoords=np.full(36, np.nan))
        with pytest.raises(FileFormatError, match="no frame has a position"):
            read_training_file(path)
        path.write_bytes(path.read_bytes()[:5000])
        with pytest.raises(FileFormatError, match="damaged"):
            read_training_file(path)
        with pytest.raises(FileFormatError, match="no such file"):
            training_files([tmp_path / "nothing"])
        assert training_files([tmp_path]) == [path]
        (tmp_path / "empty").mkdir()
        with pytest.raises(FileFormatError, match="no NPZ"):
            training_files([tmp_path / "empty"])
