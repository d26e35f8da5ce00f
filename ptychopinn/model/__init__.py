"""The model family: one registry, one signature, ``predict(group) -> complex patches (B, C, N, N)``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from tensordict import TensorDict
from torch import Tensor

from ptychopinn.errors import ReconstructionError
from ptychopinn.model.cnn import Cnn, CnnOptions
from ptychopinn.model.lift import Lift


class Model(Protocol):
    """What the engine needs of a model."""

    name: str

    def predict(self, group: TensorDict) -> Tensor:
        """Return complex object patches ``(B, C, N, N)`` for a DiffractionGroup."""
        ...


def _untrained_cnn(probe: Tensor, **options: Any) -> Cnn:
    return Cnn(CnnOptions(**{"size_px": probe.shape[-1], **options})).to(probe.device).eval()


MODELS: dict[str, Callable[..., Model]] = {"lift": Lift, "cnn": _untrained_cnn}
"""Model constructors by name; each takes the probe ``(modes, N, N)`` and its own options."""


def build_model(name: str, probe: Tensor, **options: Any) -> Model:
    """Return the model called ``name`` for ``probe``."""
    if name not in MODELS:
        raise ReconstructionError(f'model "{name}" is not known; use one of {", ".join(MODELS)}')
    return MODELS[name](probe, **options)
