"""The model in use. The engine alone replaces it, between two batches; results carry the identity of theirs."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ptychopinn.model import Model
from ptychopinn.model.bundle import Bundle
from ptychopinn.mosaic.second_look import MOST_LOOKS
from ptychopinn.tensor_dict import TensorDict


@dataclass(frozen=True, slots=True)
class Models:
    """``quick`` (the lift alone) always keeps up; ``sharp`` (the lift with its network, or a cnn) shows frames while it
    keeps up, and predicts the others in spare time.
    """

    quick: Model
    sharp: Model | None

    @property
    def is_learned(self) -> bool:
        """Whether there are weights, so that other weights may replace them."""
        return self.sharp is not None

    def most_looks(self, gridsize: int) -> int:
        """Return how many looks a frame gets at most: one where the model cannot start from the stitched neighbours."""
        return MOST_LOOKS if self.sharp is not None and self.sharp.can_look_again and gridsize == 1 else 1

    def look_again(self, group: TensorDict, start: torch.Tensor | None, support: torch.Tensor | None) -> torch.Tensor:
        """Return patches ``(B, C, N, N)`` of frames that have been shown."""
        model = self.quick if self.sharp is None else self.sharp
        return model.predict(group, start, support) if model.can_look_again else model.predict(group)


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which model made a result. It holds no weights, so a product that waits for the disk keeps none in memory."""

    name: str
    sha256: str
    """Of the bundle's weights; empty for the lift alone."""
    generation: int
    """How often the daemon had replaced its model."""


@dataclass(frozen=True, slots=True, eq=False)
class ActiveModel:
    """A model for one probe ``(modes, N, N)``; ``bundle`` is None for the lift alone. The engine gives the generation."""

    bundle: Bundle | None
    models: Models
    probe: torch.Tensor
    generation: int = 0

    @property
    def name(self) -> str:
        """Name for people."""
        return "lift" if self.bundle is None else f"{self.bundle.name} {self.bundle.sha256[:8]}"

    @property
    def identity(self) -> ModelIdentity:
        """Name, SHA-256 and generation."""
        return ModelIdentity(self.name, "" if self.bundle is None else self.bundle.sha256, self.generation)
