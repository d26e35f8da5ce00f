"""The small public interface of the workflow: configure, simulate, train, predict, export.

``Trainer`` is imported when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ptychopinn.config_manager import ConfigManager
from ptychopinn.datagen import Datagen
from ptychopinn.export import save_hdf5, save_npz, save_plot
from ptychopinn.inference_engine import InferenceEngine
from ptychopinn.ptycho_model import PtychoModel
from ptychopinn.reassembly import Picture, stitch

if TYPE_CHECKING:
    from ptychopinn.trainer import Trainer

__all__ = [
    "ConfigManager",
    "Datagen",
    "InferenceEngine",
    "Picture",
    "PtychoModel",
    "Trainer",
    "save_hdf5",
    "save_npz",
    "save_plot",
    "stitch",
]


def __getattr__(name: str) -> Any:
    if name == "Trainer":
        from ptychopinn.trainer import Trainer

        return Trainer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
