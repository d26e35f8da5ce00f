"""The two things that every model of the family is: a network with weights, and a model made of it for one probe."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from tensordict import TensorDict
from torch import Tensor, nn

if TYPE_CHECKING:
    from ptychopinn.model.lift import Lift


class Model(Protocol):
    """A model for one probe: what the engine and batch inference ask of it."""

    name: str

    @property
    def members(self) -> int:
        """Frames of a group that it sees together."""
        ...

    @property
    def can_look_again(self) -> bool:
        """Whether :meth:`predict` takes ``start`` and ``support``."""
        ...

    @property
    def is_learned(self) -> bool:
        """Whether it has weights, so that others may take their place."""
        ...

    @property
    def as_lift_network(self) -> Lift | None:
        """The model itself if it is a lift with a network, which alone knows half precision."""
        ...

    def predict(self, group: TensorDict, start: Tensor | None = None, support: Tensor | None = None) -> Tensor:
        """Return complex object patches ``(B, C, N, N)`` for a DiffractionGroup.

        ``start`` complex64 and ``support`` float32 ``(B, C, N, N)`` are the stitched neighbours and the weight of the
        other frames there; only a model that can look again gets them.
        """
        ...


class Network(nn.Module):
    """A network as bundles hold it."""

    architecture_name: str
    """Its key in :data:`ptychopinn.model.ARCHITECTURES` and in manifests."""
    architecture: Any
    """Its options as plain data."""
    uses_projections: bool = False
    """Whether a bundle says with how many projections of a look it was trained."""

    @property
    def size_px(self) -> int | None:
        """Side of the patterns that it takes; None: any."""
        return None

    @property
    def members(self) -> int:
        """Frames of a group that it sees together."""
        return 1

    @property
    @abstractmethod
    def main_part(self) -> nn.Module:
        """The part whose graph is compiled."""

    @abstractmethod
    def encoder_parts(self) -> list[nn.Module]:
        """Return the parts that make its encoder."""

    def use_acting_weights_only(self, *, has_trained_scales: bool = True) -> None:
        """Leave weights without gradients that nothing applies."""

    def without_physics(self) -> Network:
        """Return the network alone, as bundles hold it; it shares the weights."""
        return self

    def trained_scaling(self) -> dict[str, Any]:
        """Return the trained scaling constants that stand beside its weights in a bundle."""
        return {}

    def use_scaling(self, scaling: Mapping[str, Any]) -> None:
        """Take the scaling constants of its bundle."""
