"""The model ``lift``: projections through the known probe, corrected by a network if there is one.

:func:`ptychopinn.model.network.predict_look` computes one look.
"""

from __future__ import annotations

import copy
from functools import partial

import torch
from torch import Tensor, nn

from ptychopinn.device import Replayed, frames_at_once
from ptychopinn.model.network import predict_look, stitched_start
from ptychopinn.model.optics import ProbeOptics
from ptychopinn.model.overlap import Overlap
from ptychopinn.tensor_dict import TensorDict


class Lift:
    """The lift for one probe ``(modes, N, N)`` complex64 in photon units.

    Parameters
    ----------
    network
        A :class:`ptychopinn.model.network.CorrectionNet`; None: the projections alone.
    projections
        Number of projections of a look.
    """

    name = "lift"
    members = 1
    can_look_again = True

    def __init__(self, probe: Tensor, network: nn.Module | None = None, projections: int = 2) -> None:
        self.probe = probe
        self.optics = ProbeOptics(probe[None])
        self.network = network
        self.projections = projections
        self._at_once = frames_at_once(probe[0])
        self._look_at = Replayed(partial(predict_look, network, self.optics, projections=projections))
        self._lifted = Replayed(partial(self.optics.lifted, projections=projections))

    @property
    def is_learned(self) -> bool:
        """Whether there is a network."""
        return self.network is not None

    @property
    def castable(self) -> Lift | None:
        """The model itself if it has a network, which can run in half precision."""
        return self if self.is_learned else None

    def with_dtype(self, dtype: torch.dtype) -> Lift:
        """Return the model with a copy of its network in another number type; the projections stay complex64."""
        network = None if self.network is None else copy.deepcopy(self.network).to(dtype)
        return Lift(self.probe, network, self.projections)

    def with_probe(self, probe: Tensor) -> Lift:
        """Return the model for another probe ``(modes, N, N)``."""
        return Lift(probe, self.network, self.projections)

    def predict(self, group: TensorDict, start: Tensor | None = None, support: Tensor | None = None) -> Tensor:
        """Return patches ``(B, C, N, N)`` complex64 for ``images`` ``(B, C, N, N)``, amplitudes, -1 = no data.

        With ``start`` and ``support`` ``(B, C, N, N)`` (the stitched neighbours, see
        :func:`ptychopinn.model.network.predict_look`) it is a second look. In a group of several frames the members see each
        other: a first look at each, then a second at all.
        """
        images: Tensor = group["images"]
        with torch.inference_mode():
            patches = self._look(images, start, support)
            if images.shape[1] > 1 and start is None:
                corners = group["coords_relative"][:, :, 0].round().long()
                corners = corners - corners.amin(dim=1, keepdim=True)
                patches = self._look(images, *stitched_start(patches, Overlap(corners, images.shape[-1]), self.optics))
        return patches

    def _look(self, images: Tensor, start: Tensor | None, support: Tensor | None) -> Tensor:
        amplitude = torch.fft.ifftshift(images, dim=(-2, -1)).flatten(0, 1)[None]
        if start is None and self.network is None:
            return self._quick(amplitude[0]).view(images.shape)
        begun, around = (None if t is None else t.flatten(0, 1)[None] for t in (start, support))
        parts = []
        for begin in range(0, amplitude.shape[1], self._at_once):
            part = slice(begin, begin + self._at_once)
            some, near = (None if t is None else t[:, part] for t in (begun, around))
            parts.append(self._look_at(amplitude[:, part], some, near))
        return torch.cat(parts, dim=1)[0].view(images.shape)

    def _quick(self, amplitude: Tensor) -> Tensor:
        """Return the first look of the projections alone; amplitudes ``(M, N, N)``, zero frequency at the corner."""
        patches = torch.empty(amplitude.shape, dtype=torch.complex64, device=amplitude.device)
        for begin in range(0, len(amplitude), self._at_once):
            part = slice(begin, begin + self._at_once)
            patches[part] = self._lifted(amplitude[part])
        return patches
