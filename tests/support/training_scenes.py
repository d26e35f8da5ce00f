"""Small scans to train on, and trainings of a small network that take a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ptychopinn.api import ConfigManager, PtychoModel, Trainer
from ptychopinn.data import Experiment
from ptychopinn.simulate import Recipe, simulate_scan


def experiment(name: str = "one", seed: int = 4, frames: int = 25, **recipe: Any) -> Experiment:
    scan = simulate_scan(Recipe(size_px=64, frames=frames, overlap_ratio=0.75, phase_rad=0.6, seed=seed, **recipe))
    return Experiment(name, scan.amplitude.numpy(), scan.positions_px, scan.probe.numpy(), object=scan.object.numpy())


def grid_experiment(name: str = "grid", side: int = 12, step: float = 2.0, modes: int = 1) -> Experiment:
    """Return a scan on a grid, frame k all of amplitude k + 1, of which a few pixels have no data."""
    rows, columns = np.divmod(np.arange(side**2), side)
    amplitude = (
        np.ones((side**2, 64, 64), dtype=np.float32) * np.arange(1, side**2 + 1, dtype=np.float32)[:, None, None]
    )
    amplitude[:, 0, :3] = -1
    probe = np.ones((modes, 64, 64), dtype=np.complex64)
    truth = np.exp(1j * np.linspace(0, 3, 200 * 200).reshape(200, 200)).astype(np.complex64)
    positions = 40 + step * np.stack([rows, columns], axis=1).astype(np.float64)
    return Experiment(name, amplitude, positions, probe, object=truth)


def small_configs(folder: Path, framework: str = "Default", **sections: dict[str, Any]) -> ConfigManager:
    base: dict[str, dict[str, Any]] = {
        "data": {"grid_size": (1, 1), "x_bounds": (0, 1), "y_bounds": (0, 1)},
        "model": {"n_filters_scale": 1, "object_big": False},
        "training": {
            "framework": framework,
            "output_dir": str(folder),
            "epochs": 2,
            "batch_size": 4,
            "device": "cpu",
            "validation_split": 0.1,
        },
    }
    return ConfigManager.from_dict({name: {**base.get(name, {}), **sections.get(name, {})} for name in base})


class StopAfter:
    """Says stop when it is asked for the n-th time."""

    def __init__(self, times: int) -> None:
        self._left = times

    def __call__(self) -> bool:
        self._left -= 1
        return self._left == 0


def fit(
    configs: ConfigManager,
    *scans: Experiment,
    should_stop: Callable[[], bool] = lambda: False,
    is_resumed: bool = False,
    **options: Any,
) -> tuple[PtychoModel, Trainer]:
    trainer = Trainer(configs, should_stop=should_stop, **options)
    return trainer.fit(list(scans), is_resumed=is_resumed), trainer


def same_weights(one: PtychoModel, other: PtychoModel) -> bool:
    a, b = one.bundle.weights, other.bundle.weights
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
