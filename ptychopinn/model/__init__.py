"""The model family: one registry of architectures, one signature, ``predict(group) -> complex patches (B, C, N, N)``."""

from ptychopinn.model.architectures import ARCHITECTURES
from ptychopinn.model.base import Model, Network
from ptychopinn.model.lift import Lift

__all__ = ["ARCHITECTURES", "Lift", "Model", "Network"]
