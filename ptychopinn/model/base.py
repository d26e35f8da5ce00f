"""The interfaces of the model family: a network with weights, and a model made of it for one probe."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ptychopinn.tensor_dict import TensorDict


class Model(Protocol):
    """A model for one probe, as the engine and batch inference use it."""

    name: str

    @property
    def members(self) -> int:
        """Number of frames of a group that the model predicts together."""
        ...

    @property
    def can_look_again(self) -> bool:
        """Whether :meth:`predict` uses ``start`` and ``support`` (a second look)."""
        ...

    @property
    def is_learned(self) -> bool:
        """Whether the model has trained weights, which fine-tuning can replace."""
        ...

    @property
    def castable(self) -> CastableModel | None:
        """The model itself if its network can run in half precision; None: it runs in float32 only."""
        ...

    def predict(self, group: TensorDict, start: Tensor | None = None, support: Tensor | None = None) -> Tensor:
        """Return complex object patches ``(B, C, N, N)`` for a DiffractionGroup.

        ``start`` complex64 and ``support`` float32 ``(B, C, N, N)`` are the stitched neighbours and the weight of the
        other frames there. They are given only to a model that can look again.
        """
        ...


class CastableModel(Model, Protocol):
    """A model whose network can run in another number type."""

    probe: Tensor
    """The probe ``(modes, N, N)`` complex64 in photon units."""

    def with_dtype(self, dtype: torch.dtype) -> CastableModel:
        """Return the model with a copy of its network in ``dtype``."""
        ...

    def with_probe(self, probe: Tensor) -> CastableModel:
        """Return the model for another probe ``(modes, N, N)`` complex64."""
        ...


class Network(nn.Module):
    """A network with weights, as bundles store it."""

    architecture_name: str
    """Key in :data:`ptychopinn.model.ARCHITECTURES` and in manifests."""
    architecture: Any
    """Options as plain data."""
    uses_projections: bool = False
    """Whether the network needs to know with how many projections of a look it was trained."""

    @property
    def size_px(self) -> int | None:
        """Side N of the patterns that the network accepts; None: any."""
        return None

    @property
    def members(self) -> int:
        """Number of frames of a group that the network predicts together."""
        return 1

    @property
    @abstractmethod
    def main_part(self) -> nn.Module:
        """The part whose graph is compiled."""

    @abstractmethod
    def encoder_parts(self) -> list[nn.Module]:
        """Return the parts of the encoder."""

    def use_acting_weights_only(self, *, has_trained_scales: bool = True) -> None:
        """Switch off the gradients of weights that the network stores but does not use."""

    def without_physics(self) -> Network:
        """Return the network without its forward model, as bundles store it; the weights are shared."""
        return self

    def trained_scaling(self) -> dict[str, list[float]]:
        """Return the trained scaling constants that a bundle stores beside the weights."""
        return {}

    def use_scaling(self, scaling: Mapping[str, Any]) -> None:
        """Set the scaling constants that the bundle stores."""
