"""The bridge to the older configuration, field by field, and ``params.cfg`` filled by every entry point."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from ptychopinn.api import ConfigManager, Datagen, InferenceEngine, PtychoModel, Trainer
from ptychopinn.config import legacy, params
from ptychopinn.errors import ConfigurationError

CASES: list[tuple[str, str, Any, str, Any]] = [
    # section, field here, value, key of params.cfg, value there
    ("data", "N", 128, "N", 128),
    ("data", "grid_size", (1, 1), "gridsize", 1),
    ("data", "grid_size", (2, 2), "gridsize", 2),
    ("data", "nphotons", 1e7, "nphotons", 1e7),
    ("data", "probe_scale", 2.5, "probe_scale", 2.5),
    ("data", "K", 7, "neighbor_count", 7),
    ("data", "subsample_seed", 5, "subsample_seed", 5),
    ("model", "mode", "Supervised", "model_type", "supervised"),
    ("model", "mode", "Unsupervised", "model_type", "pinn"),
    ("model", "amp_activation", "silu", "amp_activation", "swish"),
    ("model", "amp_activation", "sigmoid", "amp_activation", "sigmoid"),
    ("model", "n_filters_scale", 1, "n_filters_scale", 1),
    ("model", "object_big", False, "object.big", False),
    ("model", "probe_big", False, "probe.big", False),
    ("model", "probe_mask", True, "probe.mask", True),
    ("model", "probe_mask_sigma", 2.0, "probe_mask_sigma", 2.0),
    ("model", "intensity_scale_trainable", True, "intensity_scale.trainable", True),
    ("training", "epochs", 9, "nepochs", 9),
    ("training", "batch_size", 4, "batch_size", 4),
    ("training", "nll", False, "nll_weight", 0.0),
    ("training", "nll", True, "nll_weight", 1.0),
    ("training", "n_groups", 512, "n_groups", 512),
    ("training", "train_data_file", "a.npz", "train_data_file_path", "a.npz"),
    ("training", "test_data_file", "b.npz", "test_data_file_path", "b.npz"),
    ("training", "output_dir", "out", "output_prefix", "out"),
    ("inference", "model_path", "m.zip", "model_path", "m.zip"),
]


@pytest.fixture(autouse=True)
def _own_dictionary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(params, "cfg", {})


@pytest.mark.parametrize(("section", "field", "value", "key", "theirs"), CASES)
def test_each_field_goes_there_and_back(section: str, field: str, value: Any, key: str, theirs: Any) -> None:
    manager = ConfigManager.from_dict({section: {field: value}})
    legacy.update_params(manager)
    assert params.cfg[key] == theirs
    back = legacy.read_legacy_dict(params.cfg)
    assert getattr(getattr(back, f"{section}_config"), field) == value
    assert back == manager


def test_what_is_not_stated_stays() -> None:
    params.cfg.update({"n_groups": 7, "h5_path": "wts.h5"})
    legacy.update_params(ConfigManager())
    assert (params.cfg["n_groups"], params.cfg["h5_path"]) == (7, "wts.h5")
    assert legacy.read_legacy_dict({}) == ConfigManager()


def test_paths_are_text_and_nested_fields_flat() -> None:
    manager = ConfigManager()
    model = legacy.to_model_config(manager.data_config, manager.model_config)
    overrides = {"train_data_file": Path("t.npz"), "n_groups": 10, "nphotons": 1e9, "mae_weight": 0.5}
    training = legacy.to_training_config(
        model, manager.data_config, manager.model_config, manager.training_config, overrides
    )
    cfg: dict[str, Any] = {}
    legacy.update_legacy_dict(cfg, training)
    assert cfg["train_data_file_path"] == "t.npz"
    assert (cfg["gridsize"], cfg["nphotons"], cfg["mae_weight"], cfg["backend"]) == (2, 1e9, 0.5, "pytorch")
    assert not any(isinstance(value, Path) for value in cfg.values())
    assert "model" not in cfg


def test_what_must_be_stated_is_named() -> None:
    manager = ConfigManager()
    model = legacy.to_model_config(manager.data_config, manager.model_config)
    with pytest.raises(ConfigurationError) as caught:
        legacy.to_training_config(model, manager.data_config, manager.model_config, manager.training_config)
    for said in ("train_data_file", "n_groups", "100000, which is 1e+09 in the older code"):
        assert said in str(caught.value)
    with pytest.raises(ConfigurationError, match="needs model_path; .* needs test_data_file; .* needs n_groups"):
        legacy.to_inference_config(model, manager.data_config, manager.inference_config)
    found = legacy.to_inference_config(
        model, manager.data_config, manager.inference_config, {"model_path": "m", "test_data_file": "t", "n_groups": 8}
    )
    assert (found.model_path, found.neighbor_count) == (Path("m"), 6)
    with pytest.raises(ConfigurationError, match="only square groups"):
        legacy.to_model_config(ConfigManager().data_config.of({"grid_size": (1, 2)}), manager.model_config)
    with pytest.raises(ConfigurationError, match="has no gridsise"):
        legacy.to_model_config(manager.data_config, manager.model_config, {"gridsise": 1})
    with pytest.raises(ConfigurationError, match="model_type is 'x'; it is one of pinn, supervised"):
        legacy.read_legacy_dict({"model_type": "x"})


def test_defaults_that_differ_are_the_listed_ones() -> None:
    manager = ConfigManager()
    ours = legacy.to_model_config(manager.data_config, manager.model_config)
    theirs = legacy.LegacyModelConfig()
    differing = {name for name in vars(theirs) if getattr(ours, name) != getattr(theirs, name)}
    assert differing == {"gridsize", "amp_activation"}
    for name, (here, there) in legacy.DIFFERENT_DEFAULTS.items():
        kind = legacy.LegacyModelConfig() if hasattr(theirs, name) else legacy.LegacyTrainingConfig(model=theirs)
        assert getattr(kind, name) == there
        legacy.update_params(manager)
        assert params.cfg[legacy.KEYS.get(name, name)] == here


def test_every_entry_point_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = ModuleType("ptycho.params")
    theirs.cfg = {"N": 1}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ptycho.params", theirs)
    small = ConfigManager.from_dict(
        {"data": {"C": 1}, "model": {"n_filters_scale": 1}, "datagen": {"object_class": "maze"}}
    )

    def told() -> int:
        assert theirs.cfg["N"] == params.cfg.get("N", 1)  # type: ignore[attr-defined]
        found = params.cfg.pop("N", 0)
        return int(found)

    model = PtychoModel.new(small)
    assert told() == 64
    model.save(tmp_path / "m.zip")
    params.cfg["N"] = theirs.cfg["N"] = 1  # type: ignore[attr-defined]
    PtychoModel.load(tmp_path / "m.zip")
    assert told() == 64
    InferenceEngine(model, small)
    assert told() == 64
    InferenceEngine(model)
    assert told() == 64
    Trainer(ConfigManager.from_dict({"training": {"framework": "Default", "output_dir": str(tmp_path)}}))
    assert told() == 64
    Datagen(small, probes=[np.ones((64, 64), np.complex64)])
    assert told() == 64
