"""``train``: train a new model on scans."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from daemon.cli.training_run import TrainingOptions, configured, first_side_px, run_training, scan_paths, stated_data
from daemon.errors import ConfigError
from ptychopinn.config.check import OF_BLOCKS
from ptychopinn.config.manager import ConfigManager
from ptychopinn.config.presets import PRESETS
from ptychopinn.config.section import Sections
from ptychopinn.errors import ConfigurationError

DEFAULTS: dict[str, Sections] = {
    "cnn": {"training_config": {"framework": "Default"}},
    "fno": {"training_config": {"framework": "Default"}},
    "lift": {
        "training_config": {"framework": "Default", "batch_size": 1, "optimizer": "adamw", "gradient_clip_val": 1.0}
    },
}
"""Defaults of each architecture that differ from those of the configuration."""


def run_train(
    data: Sequence[Path],
    output: Path,
    model: Literal["cnn", "lift", "fno"] | None,
    options: TrainingOptions,
    preset: str | None,
    *,
    as_json: bool,
) -> None:
    """Train a new model on scans."""
    if preset is not None and (preset not in PRESETS or model == "lift"):
        raise ConfigError(f"--preset {preset} is not known for this model; the cnn has {', '.join(PRESETS)}")
    paths = scan_paths(data or stated_data(options))
    configs = _configs(model, preset, options, first_side_px(paths, options, output))
    run_training(paths, output, options, configs, lambda t, p: t.fit(p, is_resumed=options.is_resumed), as_json=as_json)


def _configs(
    model: Literal["cnn", "lift", "fno"] | None, preset: str | None, options: TrainingOptions, side_px: int
) -> ConfigManager:
    """Return the configuration with the preset; a preset that was not asked for gives way if the settings contradict it."""
    base = _with(DEFAULTS[model or "cnn"], {} if model is None else {"model_config": {"architecture": model}})
    if preset is None and model not in ("cnn", "fno"):
        return configured(options, base, side_px)
    chosen = PRESETS[preset or "neighbourhoods"]
    if model == "fno":
        chosen = {
            **chosen,
            "model_config": {k: v for k, v in chosen.get("model_config", {}).items() if k not in OF_BLOCKS},
        }
    try:
        return configured(options, _with(base, chosen), side_px)
    except ConfigurationError:
        if preset is not None:
            raise
        return configured(options, base, side_px)


def _with(base: Sections, more: Sections) -> Sections:
    return {name: {**base.get(name, {}), **more.get(name, {})} for name in {*base, *more}}
