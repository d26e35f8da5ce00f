"""Conversion to the configuration of Ptychodus and of older PtychoPINN: three configurations, and ``params.cfg``.

What is called otherwise there: ``grid_size`` gridsize (square only), ``mode`` model_type (pinn, supervised), ``silu``
swish, ``epochs`` nepochs, ``K`` neighbor_count, ``nll`` nll_weight (1.0, 0.0). Where the defaults differ, a value is
asked for or the difference stands in :data:`DIFFERENT_DEFAULTS`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, MutableMapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from ptychopinn.config import params
from ptychopinn.config.manager import ConfigManager
from ptychopinn.config.section import Sections
from ptychopinn.config.sections import DataConfig, InferenceConfig, ModelConfig, TrainingConfig
from ptychopinn.errors import ConfigurationError

MODEL_TYPES = {"Unsupervised": "pinn", "Supervised": "supervised"}
ACTIVATIONS = {
    "silu": "swish",
    "SiLU": "swish",
    "swish": "swish",
    "sigmoid": "sigmoid",
    "softplus": "softplus",
    "relu": "relu",
}
DIFFERENT_DEFAULTS: dict[str, tuple[Any, Any]] = {
    "gridsize": (2, 1),
    "amp_activation": ("swish", "sigmoid"),
    "nphotons": (1e5, 1e9),
    "neighbor_count": (6, 4),
    "intensity_scale_trainable": (False, True),
}
"""Defaults that differ: ours and that of the older code, by the older name."""
KEYS = {
    "object_big": "object.big",
    "probe_big": "probe.big",
    "probe_mask": "probe.mask",
    "probe_trainable": "probe.trainable",
    "intensity_scale_trainable": "intensity_scale.trainable",
    "positions_provided": "positions.provided",
    "output_dir": "output_prefix",
    "train_data_file": "train_data_file_path",
    "test_data_file": "test_data_file_path",
}
"""Fields whose key in ``params.cfg`` differs from their name."""


NOT_FOLLOWED: dict[str, bool | float] = {
    "pad_object": True,
    "gaussian_smoothing_sigma": 0.0,
    "realspace_mae_weight": 0.0,
    "realspace_weight": 0.0,
    "probe.trainable": False,
}
"""Keys of ``params.cfg`` without a counterpart here; another value than this default is refused."""


@dataclass(frozen=True, kw_only=True)
class LegacyModelConfig:
    """The older code's ModelConfig."""

    N: int = 64
    gridsize: int = 1
    n_filters_scale: int = 2
    model_type: str = "pinn"
    amp_activation: str = "sigmoid"
    object_big: bool = True
    probe_big: bool = True
    probe_mask: bool = False
    probe_mask_sigma: float = 1.0
    pad_object: bool = True
    probe_scale: float = 4.0
    gaussian_smoothing_sigma: float = 0.0


@dataclass(frozen=True, kw_only=True)
class LegacyTrainingConfig:
    """The older code's TrainingConfig."""

    model: LegacyModelConfig
    train_data_file: Path | None = None
    test_data_file: Path | None = None
    batch_size: int = 16
    nepochs: int = 50
    mae_weight: float = 0.0
    nll_weight: float = 1.0
    realspace_mae_weight: float = 0.0
    realspace_weight: float = 0.0
    nphotons: float = 1e9
    n_groups: int | None = None
    n_subsample: int | None = None
    subsample_seed: int | None = None
    neighbor_count: int = 4
    positions_provided: bool = True
    probe_trainable: bool = False
    intensity_scale_trainable: bool = True
    output_dir: Path = Path("training_outputs")
    sequential_sampling: bool = False
    backend: str = "pytorch"


@dataclass(frozen=True, kw_only=True)
class LegacyInferenceConfig:
    """The older code's InferenceConfig."""

    model: LegacyModelConfig
    model_path: Path | None = None
    test_data_file: Path | None = None
    n_groups: int | None = None
    n_subsample: int | None = None
    subsample_seed: int | None = None
    neighbor_count: int = 4
    debug: bool = False
    output_dir: Path = Path("inference_outputs")
    backend: str = "pytorch"


LegacyConfig = LegacyModelConfig | LegacyTrainingConfig | LegacyInferenceConfig
_L = TypeVar("_L", LegacyModelConfig, LegacyTrainingConfig, LegacyInferenceConfig)
_PATHS = ("train_data_file", "test_data_file", "model_path", "output_dir")


def to_model_config(
    data: DataConfig, model: ModelConfig, overrides: Mapping[str, Any] | None = None
) -> LegacyModelConfig:
    """Return the older ModelConfig; ``overrides``, under the older names, replace other values.

    Raises
    ------
    ConfigurationError
        If groups are not square, or an override has a name that is not there.
    """
    rows, columns = data.grid_size
    if rows != columns:
        raise ConfigurationError(
            f"DataConfig.grid_size is {data.grid_size} but the older code has only square groups; set a square"
        )
    values = {
        "N": data.N,
        "gridsize": rows,
        "n_filters_scale": model.n_filters_scale,
        "model_type": MODEL_TYPES[model.mode],
        "amp_activation": ACTIVATIONS[model.amp_activation],
        "object_big": model.object_big,
        "probe_big": model.probe_big,
        "probe_mask": bool(model.probe_mask),
        "probe_mask_sigma": model.probe_mask_sigma,
        "probe_scale": data.probe_scale,
    }
    return _made(LegacyModelConfig, values, overrides)


def to_training_config(
    legacy_model: LegacyModelConfig,
    data: DataConfig,
    model: ModelConfig,
    training: TrainingConfig,
    overrides: Mapping[str, Any] | None = None,
) -> LegacyTrainingConfig:
    """Return the older TrainingConfig.

    Raises
    ------
    ConfigurationError
        If neither the configurations nor ``overrides`` state the training file, ``n_groups`` and ``nphotons``.
    """
    made = _training(legacy_model, data, model, training, overrides)
    faults = _missing(made, ("train_data_file", "n_groups"))
    ours, theirs = DIFFERENT_DEFAULTS["nphotons"]
    if data.nphotons == ours and "nphotons" not in (overrides or {}):
        faults.append(f"nphotons is the default {ours:g}, which is {theirs:g} in the older code; give it in overrides")
    if faults:
        raise ConfigurationError("; ".join(faults))
    return made


def to_inference_config(
    legacy_model: LegacyModelConfig,
    data: DataConfig,
    inference: InferenceConfig,
    overrides: Mapping[str, Any] | None = None,
) -> LegacyInferenceConfig:
    """Return the older InferenceConfig.

    Raises
    ------
    ConfigurationError
        If neither the configurations nor ``overrides`` state the model, the test file and ``n_groups``.
    """
    made = _inference(legacy_model, data, inference, overrides)
    faults = _missing(made, ("model_path", "test_data_file", "n_groups"))
    if faults:
        raise ConfigurationError("; ".join(faults))
    return made


def update_legacy_dict(cfg: MutableMapping[str, Any], config: LegacyConfig) -> None:
    """Write a configuration into ``params.cfg`` under the older key names; values that are None stay unchanged."""
    values = asdict(config)
    values |= values.pop("model", {})
    for name, value in values.items():
        if value is not None:
            cfg[KEYS.get(name, name)] = str(value) if isinstance(value, Path) else value


def read_legacy_dict(cfg: Mapping[str, Any]) -> ConfigManager:
    """Return the configurations in ``params.cfg``; missing values have our defaults."""
    in_use = [f"{name} is {cfg[name]!r}" for name, default in NOT_FOLLOWED.items() if cfg.get(name, default) != default]
    if in_use:
        raise ConfigurationError(f"params.cfg: {', '.join(in_use)}, which this program cannot follow; leave it out")
    named = {name: cfg.get(KEYS.get(name, name)) for name in _LEGACY_NAMES}
    told = {name: value for name, value in named.items() if value is not None}
    sections: Sections = {"data": {}, "model": {}, "training": {}, "inference": {}}
    for name, (section, field) in _SAME_MEANING.items():
        if name in told:
            sections[section][field] = told[name]
    if "gridsize" in told:
        sections["data"]["grid_size"] = (told["gridsize"],) * 2
    if "model_type" in told:
        sections["model"]["mode"] = _reverse(MODEL_TYPES, "model_type", told["model_type"])
    if "amp_activation" in told:
        sections["model"]["amp_activation"] = _reverse(ACTIVATIONS, "amp_activation", told["amp_activation"])
    if "nll_weight" in told:
        sections["training"]["nll"] = told["nll_weight"] > 0
    return ConfigManager.from_dict(sections)


def update_params(configs: ConfigManager, *, is_inference: bool = False) -> None:
    """Fill ``params.cfg``, and that of PtychoPINN's older code if it is loaded. Every entry point calls this.

    Where both have a key, as ``output_prefix``, it is the inference's with ``is_inference``, else the training's.
    """
    legacy_model = to_model_config(configs.data_config, configs.model_config)
    inference = _inference(legacy_model, configs.data_config, configs.inference_config, None)
    training = _training(legacy_model, configs.data_config, configs.model_config, configs.training_config, None)
    theirs = getattr(sys.modules.get("ptycho.params"), "cfg", None)
    for cfg in (params.cfg, theirs):
        if isinstance(cfg, MutableMapping):
            for config in (training, inference) if is_inference else (inference, training):
                update_legacy_dict(cfg, config)


def _training(
    legacy_model: LegacyModelConfig,
    data: DataConfig,
    model: ModelConfig,
    training: TrainingConfig,
    overrides: Mapping[str, Any] | None,
) -> LegacyTrainingConfig:
    values = {
        "model": legacy_model,
        "train_data_file": training.train_data_file,
        "test_data_file": training.test_data_file,
        "batch_size": training.batch_size,
        "nepochs": training.epochs,
        "nll_weight": 1.0 if training.nll else 0.0,
        "nphotons": data.nphotons,
        "n_groups": training.n_groups,
        "subsample_seed": data.subsample_seed,
        "neighbor_count": data.K,
        "intensity_scale_trainable": model.intensity_scale_trainable,
        "output_dir": training.output_dir,
    }
    return _made(LegacyTrainingConfig, values, overrides)


def _inference(
    legacy_model: LegacyModelConfig,
    data: DataConfig,
    inference: InferenceConfig,
    overrides: Mapping[str, Any] | None,
) -> LegacyInferenceConfig:
    values = {
        "model": legacy_model,
        "model_path": inference.model_path,
        "test_data_file": inference.test_data_file,
        "subsample_seed": data.subsample_seed,
        "neighbor_count": data.K,
        "output_dir": inference.output_dir,
    }
    return _made(LegacyInferenceConfig, values, overrides)


def _made(kind: type[_L], values: Mapping[str, Any], overrides: Mapping[str, Any] | None) -> _L:
    told = {**values, **(overrides or {})}
    unknown = set(told) - {field.name for field in fields(kind)}
    if unknown:
        raise ConfigurationError(f"overrides: {kind.__name__} has no {', '.join(sorted(unknown))}; leave it out")
    made: dict[str, Any] = {k: Path(v) if k in _PATHS and v is not None else v for k, v in told.items()}
    return kind(**made)


def _missing(made: LegacyTrainingConfig | LegacyInferenceConfig, names: tuple[str, ...]) -> list[str]:
    kind = type(made).__name__.removeprefix("Legacy")
    return [f"{kind} needs {name}; give it in overrides" for name in names if getattr(made, name) is None]


def _reverse(table: Mapping[str, str], name: str, value: Any) -> str:
    for ours, theirs in table.items():
        if theirs == value:
            return ours
    raise ConfigurationError(f"{name} is {value!r}; it is one of {', '.join(dict.fromkeys(table.values()))}")


_SAME_MEANING = {
    "N": ("data", "N"),
    "nphotons": ("data", "nphotons"),
    "probe_scale": ("data", "probe_scale"),
    "neighbor_count": ("data", "K"),
    "subsample_seed": ("data", "subsample_seed"),
    "n_filters_scale": ("model", "n_filters_scale"),
    "object_big": ("model", "object_big"),
    "probe_big": ("model", "probe_big"),
    "probe_mask": ("model", "probe_mask"),
    "probe_mask_sigma": ("model", "probe_mask_sigma"),
    "intensity_scale_trainable": ("model", "intensity_scale_trainable"),
    "train_data_file": ("training", "train_data_file"),
    "test_data_file": ("training", "test_data_file"),
    "output_dir": ("training", "output_dir"),
    "batch_size": ("training", "batch_size"),
    "nepochs": ("training", "epochs"),
    "n_groups": ("training", "n_groups"),
    "model_path": ("inference", "model_path"),
}
"""Older field and our section and field, for those with equal values."""
_LEGACY_NAMES = (*_SAME_MEANING, "gridsize", "model_type", "amp_activation", "nll_weight")
