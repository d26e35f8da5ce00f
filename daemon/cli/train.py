"""``train``: train a new model on scans."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from daemon.cli.training_run import TrainingOptions, configured, first_side_px, run_training, scan_paths, stated_data

DEFAULTS: dict[str, dict[str, dict[str, Any]]] = {
    "cnn": {"training_config": {"framework": "Default"}},
    "lift": {
        "training_config": {"framework": "Default", "batch_size": 1, "optimizer": "adamw", "gradient_clip_val": 1.0}
    },
}
"""Defaults of each architecture that differ from those of the configuration."""


def run_train(
    data: Sequence[Path], output: Path, model: Literal["cnn", "lift"] | None, options: TrainingOptions, as_json: bool
) -> None:
    """Train a new model on scans."""
    paths = scan_paths(data or stated_data(options))
    base = dict(DEFAULTS[model or "cnn"])
    if model is not None:
        base["model_config"] = {"architecture": model}
    configs = configured(options, base, first_side_px(paths, options))
    run_training(paths, output, options, configs, lambda t, p: t.fit(p, is_resumed=options.is_resumed), as_json=as_json)
