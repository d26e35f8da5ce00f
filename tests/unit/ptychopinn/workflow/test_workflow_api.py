"""Models new, saved, loaded and tracked; inference over scans, files and streams; pictures exported; scans generated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ptychopinn import api
from ptychopinn.api import (
    ConfigManager,
    Datagen,
    InferenceEngine,
    Picture,
    PtychoModel,
    TrainingScan,
    save_hdf5,
    save_npz,
    save_plot,
    stitch,
)
from ptychopinn.config.mlflow_client import mlflow_client
from ptychopinn.contract.training_export import write_training_file
from ptychopinn.errors import ConfigurationError, FileFormatError, GeometryError, ProbeMismatchError
from ptychopinn.model.cnn import Cnn
from ptychopinn.simulate import Recipe, SimulatedScan, simulate_scan
from ptychopinn.tensor_dict import TensorDict
from ptychopinn.training.heldout import phase_correlation
from ptychopinn.workflow import inference_engine
from ptychopinn.workflow.datagen import training_scan
from ptychopinn.workflow.export import covered, load_picture, plotted_part, truth_beside
from ptychopinn.workflow.inference import companions
from ptychopinn.workflow.reassembly import patch_weight

SMALL = {"model": {"n_filters_scale": 1}}


@pytest.fixture(scope="module")
def scan() -> SimulatedScan:
    return simulate_scan(Recipe(size_px=64, frames=49, counts=1e5, phase_rad=0.6, overlap_ratio=0.75, seed=4))


@pytest.fixture(scope="module")
def shipped() -> PtychoModel:
    from ptychopinn.model.bundle import SHIPPED

    return PtychoModel.load(SHIPPED)


@pytest.fixture(scope="module")
def picture(scan: SimulatedScan, shipped: PtychoModel) -> Picture:
    return InferenceEngine(shipped).predict_and_stitch(scan.amplitude, scan.positions_px, probe=scan.probe, looks=2)


def small_cnn(members: int = 1) -> PtychoModel:
    return PtychoModel.new(ConfigManager.from_dict({**SMALL, "data": {"C": members}}), seed=1)


def test_public_names_are_there() -> None:
    assert len(set(api.__all__)) == len(api.__all__)
    for name in api.__all__:
        assert getattr(api, name) is not None
    sections = {type(section).__name__ for section in ConfigManager().to_tuple()}
    needed = {
        "ConfigManager",
        "Datagen",
        "InferenceEngine",
        "PtychoModel",
        "Trainer",
        "PtychoDataset",
        "TensorDictLoader",
    }
    assert needed | sections | {"violations", "write_training_file", "read_training_file"} <= set(api.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        api.Nothing  # noqa: B018


def test_a_new_model_is_its_seeds_and_comes_back_whole(tmp_path: Path) -> None:
    model, same = small_cnn(4), small_cnn(4)
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, same.network.state_dict()[name])
    digest = model.save(tmp_path / "m.zip")
    back = PtychoModel.load(tmp_path / "m.zip")
    assert back.bundle.sha256 == digest
    assert (back.members, back.size_px) == (4, 64)
    stated = back.stated_configs()
    assert stated is not None
    assert (stated.model_config.n_filters_scale, stated.data_config.C) == (1, 4)
    images = torch.rand(2, 4, 64, 64)
    ones = torch.ones(1, 1, 1, 1)
    torch.testing.assert_close(
        back.forward_predict(images, ones, ones, ones), model.forward_predict(images, ones, ones, ones)
    )


def test_a_new_lift_has_a_network_without_effect_yet(scan: SimulatedScan) -> None:
    model = PtychoModel.new(ConfigManager.from_dict({"model": {"architecture": "lift"}}))
    assert (model.size_px, model.members, model.stated_configs()) == (None, 1, None)
    patches = InferenceEngine(model).predict(scan.amplitude[:4], probe=scan.probe)
    assert np.isfinite(patches).all()


def test_training_changes_what_is_saved(tmp_path: Path) -> None:
    model = small_cnn()
    before = model.save(tmp_path / "a.zip")
    with torch.no_grad():
        next(model.network.parameters()).add_(1)
    assert model.save(tmp_path / "b.zip") != before


def test_models_in_directories_and_runs(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    with pytest.raises(FileFormatError, match="has neither a bundle"):
        PtychoModel.load(tmp_path / "run")
    model = small_cnn()
    state = {f"model.{name}": value for name, value in model.network.state_dict().items()}
    configs = {"data_config": {"C": 1, "N": 64, "foreign": 3}, "model_config": {"n_filters_scale": 1, "C_model": 1}}
    torch.save({"state_dict": state, "hyper_parameters": configs}, folder / "best.ckpt")
    found = PtychoModel.load(tmp_path / "run")
    assert found.path.name == "best.ckpt"
    stated = found.stated_configs()
    assert stated is not None
    assert (stated.data_config.C, stated.model_config.n_filters_scale) == (1, 1)
    pytest.importorskip("mlflow")
    client = mlflow_client(str(tmp_path / "store"))
    run = client.create_run(client.create_experiment("e", str(tmp_path / "artefacts"))).info.run_id
    with pytest.raises(FileFormatError, match="has nothing, but no bundle"):
        PtychoModel.from_mlflow(run, str(tmp_path / "store"))
    model.save(tmp_path / "m.zip")
    client.log_artifact(run, str(tmp_path / "m.zip"), "models")
    tracked = PtychoModel.from_mlflow(run, str(tmp_path / "store"))
    assert tracked.bundle.sha256 == PtychoModel.load(tmp_path / "m.zip").bundle.sha256
    with pytest.raises(ConfigurationError, match="mlflow run nothing"):
        PtychoModel.from_mlflow("nothing", str(tmp_path / "store"))


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "bad.ckpt").write_bytes(b"PK\x03\x04 hello")
    for path in (tmp_path / "none.zip", tmp_path / "bad.ckpt"):
        with pytest.raises(FileFormatError, match=path.name):
            PtychoModel.load(path)
    with pytest.raises(ProbeMismatchError, match="takes patterns of 64 px but the probe is 32 px"):
        small_cnn().for_probe(torch.ones(32, 32))
    with pytest.raises(ConfigurationError, match="device nonsense"):
        InferenceEngine(small_cnn(), device="nonsense")


def test_groups_go_in_whole_and_frames_get_companions(scan: SimulatedScan) -> None:
    model = small_cnn(4)
    engine = InferenceEngine(model)
    images = scan.amplitude[:8].clamp_min(0)
    groups = images.reshape(2, 4, 64, 64)
    patches = engine.predict(groups, probe=scan.probe, batch=1)
    again = engine.predict(groups, probe=scan.probe, batch=2)
    np.testing.assert_allclose(patches, again, rtol=1e-4, atol=1e-5)
    index = companions(scan.positions_px, scan.positions_px, 4)
    assert (index[:, 0] == np.arange(49)).all()
    assert all(len(set(row)) == 4 for row in index.tolist())
    gaps = np.linalg.norm(scan.positions_px[index] - scan.positions_px[:, None], axis=2)
    everywhere = np.linalg.norm(scan.positions_px[None] - scan.positions_px[:, None], axis=2)
    np.testing.assert_allclose(np.sort(gaps, axis=1), np.sort(everywhere, axis=1)[:, :4])
    shown = engine.predict_and_stitch(scan.amplitude, scan.positions_px, probe=scan.probe)
    assert shown.frames == 49


def test_companions_of_few_lost_and_double_places() -> None:
    places = np.array([[0.0, 0], [0, 0], [0, 0], [np.nan, 0], [5, 5]])
    index = companions(places, places, 2)
    assert index[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert index[3].tolist() == [3, 3]
    assert companions(places[:2], places[1:2], 4).tolist() == [[1, 1, 1, 1]]


def test_a_scan_looks_like_the_truth_whatever_way_it_comes(
    scan: SimulatedScan, shipped: PtychoModel, picture: Picture, tmp_path: Path
) -> None:
    truth = scan.object.numpy()
    beside = truth_beside(picture, truth)
    known = covered(picture, beside)
    fields = [torch.from_numpy(array) for array in (picture.object, beside, known)]
    found = phase_correlation(*fields)
    assert found > 0.7
    assert phase_correlation(fields[0], fields[1].roll((5, 5), (0, 1)), fields[2]) < found - 0.2
    assert picture.rfactors[1] < 0.3

    engine = InferenceEngine(shipped)
    once = engine.predict_and_stitch(scan.amplitude, scan.positions_px, probe=scan.probe)
    frames = ((a.numpy(), p) for a, p in zip(scan.amplitude, scan.positions_px.tolist(), strict=True))
    grown = list(engine.predict_stream(frames, probe=scan.probe, every=20))
    assert [one.frames for one in grown] == [20, 40, 49]
    assert grown[-1].origin_px == once.origin_px
    np.testing.assert_allclose(grown[-1].object, once.object, atol=2e-3)

    path = tmp_path / "s.npz"
    write_training_file(path, training_scan(scan, 1e-8), "diff3d")
    ((read, from_file),) = engine.predict_files([path])
    assert read.name == "s.npz"
    np.testing.assert_allclose(from_file.object, once.object, atol=2e-3)


def test_the_engine_takes_model_scan_and_batch_from_the_configuration(scan: SimulatedScan, tmp_path: Path) -> None:
    small_cnn().save(tmp_path / "m.zip")
    twice = np.concatenate([scan.amplitude.numpy()[:20]] * 2)
    two = TrainingScan(
        counts=np.rint(np.square(twice)).astype(np.uint32),
        positions_px=np.concatenate([scan.positions_px[:20], 512 + scan.positions_px[:20]]),
        probe=scan.probe.numpy(),
        scan_index=np.repeat([3, 7], 20),
    )
    write_training_file(tmp_path / "two.npz", two, "diff3d")
    named = {"model_path": tmp_path / "m.zip", "test_data_file": tmp_path / "two.npz", "batch_size": 3}
    seen = []
    for number in (0, 1):
        configs = ConfigManager.from_dict({"inference": {**named, "experiment_number": number}})
        ((read, found),) = InferenceEngine(configs=configs).predict_files()
        seen.append(found)
        assert set(read.scan_index.tolist()) == {(3, 7)[number]}
        assert found.frames == 20
    each = list(InferenceEngine(configs=configs.update({"inference": {"experiment_number": None}})).predict_files())
    assert [read.name for read, _ in each] == ["two-scan0.npz", "two-scan1.npz"]
    for (_, found), alone in zip(each, seen, strict=True):
        np.testing.assert_array_equal(found.object, alone.object)
    np.testing.assert_allclose(seen[0].object, seen[1].object, atol=1e-3)
    assert seen[1].origin_px[0] - seen[0].origin_px[0] == 512
    with pytest.raises(GeometryError, match=r"there is no scan 2 of 2 .from 0.; set experiment_number"):
        list(InferenceEngine(configs=configs.update({"inference": {"experiment_number": 2}})).predict_files())
    with pytest.raises(ConfigurationError, match="no model is given"):
        InferenceEngine()
    with pytest.raises(ConfigurationError, match="no scan is given"):
        next(InferenceEngine(small_cnn()).predict_files())


def test_batches_are_no_larger_than_configured(scan: SimulatedScan, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    predict = Cnn.predict

    def counted(self: Cnn, group: TensorDict) -> torch.Tensor:
        sizes.append(len(group))
        return predict(self, group)

    monkeypatch.setattr(inference_engine, "choose_batch", lambda *about: 64)
    monkeypatch.setattr(Cnn, "predict", counted)
    configs = ConfigManager.from_dict({"inference": {"batch_size": 5}})
    InferenceEngine(small_cnn(), configs).predict(scan.amplitude[:12], probe=scan.probe)
    assert sizes == [5, 5, 2]


def test_a_border_is_taken_off(picture: Picture) -> None:
    inner = picture.cropped(20)
    assert inner.object.shape == tuple(side - 40 for side in picture.object.shape)
    np.testing.assert_array_equal(inner.object, picture.object[20:-20, 20:-20])
    np.testing.assert_array_equal(inner.weight, picture.weight[20:-20, 20:-20])
    assert inner.origin_px == tuple(place + 20 for place in picture.origin_px)
    with pytest.raises(GeometryError, match="leaves nothing"):
        picture.cropped(500)


def test_streams_for_networks_of_groups_and_bad_frames(scan: SimulatedScan) -> None:
    engine = InferenceEngine(small_cnn(4))

    def frames() -> Iterator[tuple[np.ndarray, list[float]]]:  # type: ignore[type-arg]
        for image, place in zip(scan.amplitude[:9], scan.positions_px.tolist(), strict=False):
            yield image.numpy(), place
        yield np.ones((64, 64), np.float32), [np.nan, 0.0]

    last = list(engine.predict_stream(frames(), probe=scan.probe, every=4))[-1]
    assert (last.frames, last.refused) == (9, {9: "bad_position"})
    with pytest.raises(GeometryError, match="frames of the stream are"):
        list(engine.predict_stream([(np.ones((8, 8)), (0, 0))], probe=scan.probe))


def test_reassembly_needs_no_model() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(40, 50)) + 1j * rng.normal(size=(40, 50))
    corners = [(y, x) for y in range(0, 25, 4) for x in range(0, 35, 4)]
    patches = np.stack([truth[y : y + 16, x : x + 16] for y, x in corners])
    places = np.array(corners) + 8.0
    found = stitch(patches, places)
    height, width = found.object.shape
    seen = found.weight > 0
    np.testing.assert_allclose(found.object[seen], truth[:height, :width][seen[:40, :50]][: seen.sum()], atol=1e-5)
    groups = stitch(patches[:8].reshape(2, 4, 16, 16), places[:8].reshape(2, 4, 2))
    np.testing.assert_array_equal(groups.object, stitch(patches[:8], places[:8]).object)
    with pytest.raises(GeometryError, match="none of the 1 patches can be stitched"):
        stitch(np.full((1, 16, 16), np.nan), [[0, 0]])
    with pytest.raises(GeometryError, match="do not fit together"):
        stitch(patches, places[:3])


def test_weights_follow_the_configuration(scan: SimulatedScan) -> None:
    probe = scan.probe
    assert patch_weight(probe).shape == (64, 64)
    even = patch_weight(probe, "uniform", 32)
    assert even.sum() == 32 * 32
    assert even[32, 32] == 1
    with pytest.raises(GeometryError, match="is not within patches"):
        patch_weight(probe, trim_px=65)
    configs = ConfigManager.from_dict({**SMALL, "data": {"C": 1}, "inference": {"patch_weighting": "uniform"}})
    engine = InferenceEngine(PtychoModel.new(configs), configs)
    trimmed = engine.predict_and_stitch(scan.amplitude[:1], scan.positions_px[:1], probe=probe)
    assert 32 * 32 <= (trimmed.weight > 0).sum() <= 33 * 33


@pytest.mark.parametrize("name", ["p.npz", "p.h5"])
def test_pictures_come_back(picture: Picture, scan: SimulatedScan, name: str, tmp_path: Path) -> None:
    (save_npz if name.endswith("npz") else save_hdf5)(tmp_path / name, picture, scan.object.numpy())
    back = load_picture(tmp_path / name)
    np.testing.assert_array_equal(back.object, picture.object)
    np.testing.assert_array_equal(back.weight, picture.weight)
    assert (back.origin_px, back.frames, back.rfactors) == (picture.origin_px, picture.frames, picture.rfactors)
    (tmp_path / name).write_bytes(b"PK\x03\x04 no")
    with pytest.raises(FileFormatError, match="not a saved picture"):
        load_picture(tmp_path / name)


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_plots_show_the_truth_beside(picture: Picture, scan: SimulatedScan, ending: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    alone, both = tmp_path / f"a.{ending}", tmp_path / f"b.{ending}"
    save_plot(alone, picture)
    save_plot(both, picture, scan.object.numpy(), title="scan 4")
    if ending == "svg":
        assert "<svg" in both.read_text()
    else:
        from PIL import Image

        with Image.open(alone) as one, Image.open(both) as two:
            assert two.height > 1.5 * one.height
    with pytest.raises(ConfigurationError, match="written as png, svg or pdf"):
        save_plot(tmp_path / "a.xyz", picture)
    assert sorted(p.name for p in tmp_path.iterdir()) == [alone.name, both.name]


def test_plots_leave_out_what_is_not_covered() -> None:
    weight = np.zeros((40, 50), np.float32)
    weight[5:30, 10:45] = 1.0
    whole = Picture(weight.astype(np.complex64), weight, (3, -2), 9)
    shown = plotted_part(whole)
    assert (shown.object.shape, shown.origin_px) == ((25, 35), (8, 8))
    shown = plotted_part(replace(whole, window_px=12))
    assert (shown.object.shape, shown.origin_px) == ((16, 26), (15, 10))
    assert plotted_part(replace(whole, window_px=30)).origin_px == (8, 8)


def test_generated_scans_are_training_files(tmp_path: Path) -> None:
    configs = ConfigManager.from_dict(
        {
            "datagen": {"objects_per_probe": 2, "diff_per_object": 12, "object_class": "dead_leaves"},
            "data": {"nphotons": 1e4},
        }
    )
    maker = Datagen(configs)
    paths = list(maker.write(tmp_path))
    assert [path.name for path in paths] == ["scan-0000.npz", "scan-0001.npz"]
    again = next(Datagen(configs).scans())
    ((first, shown), _) = InferenceEngine(small_cnn()).predict_files(paths)
    assert shown.frames == 12
    np.testing.assert_allclose(first.amplitude, again.amplitude.numpy(), rtol=1e-6)
    assert first.object is not None
    probe = again.probe.numpy()
    given = next(Datagen(configs, probes=[probe]).scans())
    torch.testing.assert_close(given.probe / given.probe.norm(), again.probe / again.probe.norm(), rtol=1e-4, atol=1e-5)
    with pytest.raises(ConfigurationError, match="object_class is cats; use one of"):
        Datagen(ConfigManager.from_dict({"datagen": {"object_class": "cats"}}))
    with pytest.raises(FileFormatError, match=r"no.npz: there is no such file"):
        Datagen(ConfigManager.from_dict({"datagen": {"probe_paths": [str(tmp_path / "no.npz")]}}))
