"""The small public interface of the workflow: configure, simulate, train, predict, export, compare, check.

Each name is imported when it is asked for. Conversion between file formats is :mod:`daemon.files.conversion`.
"""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ptychopinn.config.manager import ConfigManager
    from ptychopinn.config.sections import DataConfig, DatagenConfig, InferenceConfig, ModelConfig, TrainingConfig
    from ptychopinn.contract import contract_of, contracts, violations
    from ptychopinn.contract.training_export import TrainingScan, write_training_file
    from ptychopinn.data import (
        Experiment,
        PtychoDataset,
        StreamDataset,
        TensorDictLoader,
        build_store,
        read_training_file,
        torch_loader,
    )
    from ptychopinn.diagnosis.comparison import Comparison
    from ptychopinn.errors import (
        ConfigurationError,
        FileFormatError,
        GeometryError,
        ProbeMismatchError,
        ReconstructionError,
        TrainingInterruptedError,
    )
    from ptychopinn.model.ptycho_model import PtychoModel
    from ptychopinn.training import Trainer
    from ptychopinn.training.lightning_plugin import PtychoDataModule as PtychoDataModule
    from ptychopinn.training.lightning_plugin import PtychoLightningModule as PtychoLightningModule
    from ptychopinn.workflow.compare import compare
    from ptychopinn.workflow.datagen import Datagen
    from ptychopinn.workflow.export import save_hdf5, save_npz, save_plot
    from ptychopinn.workflow.inference_engine import InferenceEngine
    from ptychopinn.workflow.reassembly import Picture, stitch

__all__ = [
    "Comparison",
    "ConfigManager",
    "ConfigurationError",
    "DataConfig",
    "Datagen",
    "DatagenConfig",
    "Experiment",
    "FileFormatError",
    "GeometryError",
    "InferenceConfig",
    "InferenceEngine",
    "ModelConfig",
    "Picture",
    "ProbeMismatchError",
    "PtychoDataset",
    "PtychoModel",
    "ReconstructionError",
    "StreamDataset",
    "TensorDictLoader",
    "Trainer",
    "TrainingConfig",
    "TrainingInterruptedError",
    "TrainingScan",
    "build_store",
    "compare",
    "contract_of",
    "contracts",
    "read_training_file",
    "save_hdf5",
    "save_npz",
    "save_plot",
    "stitch",
    "torch_loader",
    "violations",
    "write_training_file",
]
_NEED_LIGHTNING = ("PtychoDataModule", "PtychoLightningModule")
"""Names that need the extra ``lightning``; they are not in ``__all__``, so that ``import *`` works without it."""
_PLACES = {
    "ptychopinn.config.manager": ("ConfigManager",),
    "ptychopinn.config.sections": (
        "DataConfig",
        "DatagenConfig",
        "InferenceConfig",
        "ModelConfig",
        "TrainingConfig",
    ),
    "ptychopinn.contract": (
        "contract_of",
        "contracts",
        "violations",
    ),
    "ptychopinn.contract.training_export": (
        "TrainingScan",
        "write_training_file",
    ),
    "ptychopinn.data": (
        "Experiment",
        "PtychoDataset",
        "StreamDataset",
        "TensorDictLoader",
        "build_store",
        "read_training_file",
        "torch_loader",
    ),
    "ptychopinn.diagnosis.comparison": ("Comparison",),
    "ptychopinn.errors": (
        "ConfigurationError",
        "FileFormatError",
        "GeometryError",
        "ProbeMismatchError",
        "ReconstructionError",
        "TrainingInterruptedError",
    ),
    "ptychopinn.model.ptycho_model": ("PtychoModel",),
    "ptychopinn.training": ("Trainer",),
    "ptychopinn.training.lightning_plugin": _NEED_LIGHTNING,
    "ptychopinn.workflow.compare": ("compare",),
    "ptychopinn.workflow.datagen": ("Datagen",),
    "ptychopinn.workflow.export": (
        "save_hdf5",
        "save_npz",
        "save_plot",
    ),
    "ptychopinn.workflow.inference_engine": ("InferenceEngine",),
    "ptychopinn.workflow.reassembly": (
        "Picture",
        "stitch",
    ),
}
"""Modules of the public names; each is imported when a name of it is asked for, since torch and TensorDict take seconds."""


def __getattr__(name: str) -> Any:
    place = next((module for module, names in _PLACES.items() if name in names), None)
    if place is not None:
        found = globals()[name] = getattr(importlib.import_module(place), name)
        return found
    near = difflib.get_close_matches(name, __dir__(), 1)
    advice = f"; did you mean {near[0]}?" if near else ""
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{advice}")


def __dir__() -> list[str]:
    return sorted((*__all__, *_NEED_LIGHTNING))
