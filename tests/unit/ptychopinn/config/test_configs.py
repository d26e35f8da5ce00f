"""The five configurations: defaults, checks, sources, changes, and the way to networks."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from ptychopinn.config.manager import SECTIONS, ConfigManager
from ptychopinn.config.mlflow_client import mlflow_client
from ptychopinn.config.sections import DataConfig, ModelConfig, TrainingConfig
from ptychopinn.errors import ConfigurationError, FileFormatError
from ptychopinn.model.cnn import TrainableCnn
from ptychopinn.model.cnn_config import cnn_options, physics_options

DEFAULTS: dict[str, dict[str, Any]] = {
    "data_config": {
        "N": 64,
        "grid_size": (2, 2),
        "K": 6,
        "K_quadrant": 30,
        "n_subsample": 7,
        "nphotons": 1e5,
        "normalize": "Batch",
        "probe_scale": 4.0,
        "data_scaling": "Parseval",
        "neighbor_function": "Nearest",
        "max_neighbor_distance": 3.0,
        "x_bounds": (0.1, 0.9),
    },
    "model_config": {
        "mode": "Unsupervised",
        "n_filters_scale": 2,
        "amp_activation": "silu",
        "intensity_scale_trainable": False,
        "probe_mask": False,
        "object_big": True,
        "probe_big": True,
        "loss_function": "Poisson",
        "batch_norm": False,
        "cbam_encoder": True,
        "physics_forward_mode": "amplitude",
    },
    "training_config": {
        "learning_rate": 1e-3,
        "epochs": 50,
        "batch_size": 16,
        "n_devices": 1,
        "strategy": "ddp",
        "stage_1_epochs": 0,
        "stage_2_epochs": 0,
        "stage_3_epochs": 0,
        "physics_weight_schedule": "cosine",
        "nll": True,
        "epochs_fine_tune": 0,
        "fine_tune_gamma": 0.1,
        "train_data_file": None,
        "output_dir": "training_outputs",
    },
    "inference_config": {"window": 20, "batch_size": 1000, "experiment_number": None, "model_path": None},
    "datagen_config": {"objects_per_probe": 4, "diff_per_object": 7000, "image_size": (250, 250)},
}


def test_names_and_defaults_are_those_of_the_field() -> None:
    manager = ConfigManager()
    for name, section in zip(SECTIONS, manager.to_tuple(), strict=True):
        for field, value in DEFAULTS[name].items():
            assert getattr(section, field) == value, field
    assert manager.data_config.C == 4


def test_every_field_has_a_description() -> None:
    for section in SECTIONS.values():
        schema = section.checking_model().model_json_schema()["properties"]
        assert [name for name, value in schema.items() if not value.get("description", "").endswith(".")] == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"data": {"N": "64"}}, "DataConfig.N is '64' but should be a valid integer"),
        ({"data": {"N": 100}}, "DataConfig.N is 100 but the cnn takes 64, 128 or 256"),
        ({"data": {"gridsize": 2}}, "DataConfig has no gridsize; did you mean grid_size?"),
        ({"data": {"K": 2}}, "DataConfig.K is 2, too few for groups of 4"),
        ({"data": {"x_bounds": [0.9, 0.1]}}, "x_bounds is (0.9, 0.1), an empty range"),
        ({"data": {"C": 9}, "model": {}}, "grid_size is (3, 3) but the cnn takes"),
        ({"data": {"C": 1, "grid_size": [2, 2]}}, "C is 1 but grid_size (2, 2) makes groups of 4"),
        ({"data": {"neighbor_function": "4_quadrant", "C": 1}}, "4_quadrant but grid_size (1, 1)"),
        (
            {"data": {"neighbor_function": "Min_dist", "min_neighbor_distance": 5.0}},
            "is not below max_neighbor_distance",
        ),
        ({"model": {"mode": "Both"}}, "ModelConfig.mode is 'Both' but should be 'Unsupervised' or 'Supervised'"),
        ({"model": {"amp_activation": "relu"}}, "the cnn has silu and sigmoid"),
        ({"model": {"physics_forward_mode": "rectangular_scaled"}}, "needs real_imag; set it"),
        ({"training": {"learning_rate": 0}}, "TrainingConfig.learning_rate is 0 but should be greater than 0"),
        ({"training": {"learning_rate": float("nan")}}, "TrainingConfig.learning_rate is nan"),
        ({"training": {"n_devices": 2, "strategy": None}}, "n_devices is 2 but strategy is None"),
        ({"date": {}}, "date is not a section"),
        ({"data": 3}, "data is not a table"),
    ],
)
def test_a_fault_is_one_sentence(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ConfigManager.from_dict(values)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        ConfigManager.from_dict({"data": {"N": 0, "K": "a"}, "model": {"mode": "x"}, "training": {"epoch": 1}})
    assert str(caught.value).count("; ") >= 3


def test_from_json_toml_dict_and_tuple(tmp_path: Path) -> None:
    values = {"data_config": {"N": 128, "grid_size": [1, 1]}, "training_config": {"epochs": 3, "notes": "ä"}}
    (tmp_path / "c.json").write_text(json.dumps(values))
    (tmp_path / "c.toml").write_text('[data]\nN = 128\ngrid_size = [1, 1]\n[training]\nepochs = 3\nnotes = "ä"\n')
    wanted = ConfigManager.from_dict(values)
    assert wanted.model_config.object_big is False  # single frames are not merged
    assert ConfigManager.from_json(tmp_path / "c.json") == wanted
    assert ConfigManager.from_file(tmp_path / "c.toml") == wanted
    assert ConfigManager.from_tuple(wanted.to_tuple()) == wanted
    assert ConfigManager.from_tuple([{"N": 128, "grid_size": (1, 1)}, None, {"epochs": 3, "notes": "ä"}]) == wanted
    assert ConfigManager.from_dict(json.loads(json.dumps(wanted.to_dict()))) == wanted
    changed = ConfigManager.from_file(tmp_path / "c.toml", ["data.N=64", "training.notes=plain text"])
    assert (changed.data_config.N, changed.training_config.notes) == (64, "plain text")
    assert ConfigManager.from_file(tmp_path / "c.json", {"data": {"N": 256}}).data_config.N == 256


def test_from_a_run_of_upstream(tmp_path: Path) -> None:
    folder = tmp_path / "configs"
    folder.mkdir()
    (folder / "data_config.json").write_text(json.dumps({"C": 1, "N": 128, "n_subsample": 1}))
    (folder / "model_config.json").write_text(json.dumps({"C_model": 1, "fno_modes": 12, "edge_pad": 10}))
    manager = ConfigManager.from_json(folder)
    assert (manager.data_config.C, manager.data_config.N) == (1, 128)
    (folder / "full_config.json").write_text(json.dumps({"data_config": {"N": 256}, "ci_statistics": {"a": 1}}))
    assert ConfigManager.from_json(folder).data_config.N == 256


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("c.json", "{", "c.json: not valid JSON"),
        ("c.toml", "a = ", "c.toml: not valid TOML"),
        ("c.json", "[1]", "has no sections"),
        ("c.json", '{"data": {"N": 1}}', "c.json: DataConfig.N is 1"),
    ],
)
def test_bad_files_are_named(name: str, content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises((ConfigurationError, FileFormatError), match=said):
        ConfigManager.from_file(tmp_path / name)
    with pytest.raises(FileFormatError, match="cannot be read"):
        ConfigManager.from_file(tmp_path / "none.json")


def test_an_update_is_whole_or_not_at_all() -> None:
    manager = ConfigManager()
    same = manager.update(data_config={"N": 128}, training_config={"epochs": 7})
    assert same is manager
    assert (manager.data_config.N, manager.training_config.epochs) == (128, 7)
    before = manager.to_tuple()
    with pytest.raises(ConfigurationError):
        manager.update(data_config={"N": 64}, model_config={"mode": "x"})
    assert manager.to_tuple() == before
    with pytest.raises(ConfigurationError, match="data2 is not a section"):
        manager.update(["data2.N=3"])
    assert manager.update(["data.C=1"]).data_config.grid_size == (1, 1)


def test_a_section_cannot_be_changed_in_place_nor_made_wrong() -> None:
    section = DataConfig()
    with pytest.raises(AttributeError):
        section.N = 3  # type: ignore[misc]
    with pytest.raises(ConfigurationError):
        replace(section, N=3)


def test_a_tracked_run_gives_its_configurations_back(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    client = mlflow_client(str(tmp_path))
    manager = ConfigManager.from_dict({"data": {"N": 128}, "training": {"epochs": 9}})
    run = client.create_run(client.create_experiment("e"))
    for name, value in manager.mlflow_parameters().items():
        client.log_param(run.info.run_id, name, value)
    assert ConfigManager.from_mlflow(run.info.run_id, str(tmp_path)) == manager
    assert ConfigManager.from_mlflow(run.info.run_id, str(tmp_path), ["data.N=64"]).data_config.N == 64
    with pytest.raises(ConfigurationError, match="mlflow run none: "):
        ConfigManager.from_mlflow("none", str(tmp_path))
    empty = client.create_run(run.info.experiment_id)
    with pytest.raises(ConfigurationError, match="has no configuration"):
        ConfigManager.from_mlflow(empty.info.run_id, str(tmp_path))


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"cnn_output_mode": "real_imag", "physics_forward_mode": "rectangular_scaled"},
        {"batch_norm": True, "cbam_bottleneck": True, "use_shared_decoder": True, "probe_big": False},
        {"amp_activation": "sigmoid", "eca_encoder": True, "cbam_decoder": True, "intensity_scale_trainable": True},
    ],
)
def test_configurations_make_networks(model: dict[str, Any]) -> None:
    manager = ConfigManager.from_dict({"model": {"n_filters_scale": 1, **model}})
    options = cnn_options(manager.data_config, manager.model_config)
    network = TrainableCnn(options, physics_options(manager.data_config, manager.model_config))
    assert (options.size_px, options.members, options.width_factor) == (64, 4, 1)
    assert network.options.sees_counts == (model.get("physics_forward_mode") == "rectangular_scaled")


def test_the_sections_hold_what_networks_and_trainers_read() -> None:
    names = {field.name for section in (DataConfig, ModelConfig, TrainingConfig) for field in fields(section)}
    assert {"validation_split", "seed", "stage_3_lr_factor", "accum_steps", "fine_tune_gamma", "scheduler"} <= names
