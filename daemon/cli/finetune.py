"""``finetune``: train the decoders of a model on scans; the encoder stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from pathlib import Path

from daemon.cli.training_run import TrainingOptions, configured, first_side_px, run_training, scan_paths, stated_data
from daemon.errors import ConfigError
from ptychopinn.config.section import Sections
from ptychopinn.model.bundle import find_bundle
from ptychopinn.model.ptycho_model import PtychoModel

LIFT: Sections = {
    "model_config": {"architecture": "lift"},
    "training_config": {
        "framework": "Default",
        "batch_size": 1,
        "epochs": 3,
        "learning_rate": 1e-3,
        "fine_tune_gamma": 0.3,
        "scheduler": "WarmupCosine",
        "gradient_clip_val": 1.0,
    },
}
"""Defaults for the network of the lift, which is already trained."""


def run_finetune(bundle: str, data: Sequence[Path], output: Path, options: TrainingOptions, as_json: bool) -> None:
    """Fine-tune a bundle on scans and write a new one."""
    path = find_bundle(bundle)
    if path is None:
        raise ConfigError('"none" is the lift without a network, which cannot be trained; give a bundle')
    model = PtychoModel.load(path)
    paths = scan_paths(data or stated_data(options))
    configs = configured(options, _base(model), first_side_px(paths, options, output))
    run_training(
        paths,
        output,
        options,
        configs,
        lambda t, p: t.finetune(model, p, is_resumed=options.is_resumed),
        as_json=as_json,
    )


def _base(model: PtychoModel) -> Sections:
    """Return the configuration that a model was trained with, or one that suits it."""
    if model.size_px is None:
        return {name: dict(values) for name, values in LIFT.items()}
    stated = model.stated_configs()
    base = {} if stated is None else stated.to_dict()
    side = isqrt(model.members)
    base.setdefault("data_config", {})["grid_size"] = [side, side]
    base.setdefault("training_config", {}).update(framework="Default", n_devices=1)
    return base
