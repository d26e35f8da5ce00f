"""A ``cnn`` whose object has a scale of its own, made for one probe.

Trained as PtychoPINN trains, the brightness of an object is a matter of the normalised probe and of the frames' rms, so an
empty object is some other number than 1. Here each patch is brought to photon units: its pattern under the probe holds as
many photons as its frame. In the count regime real and imaginary part have trained scales besides.
"""

from __future__ import annotations

import torch
from tensordict import TensorDict
from torch import Tensor

from ptychopinn.model.cnn import Cnn
from ptychopinn.model.cnn_options import CnnOptions
from ptychopinn.physics.diffraction import expected_counts

FEW_PHOTONS = 1e-6
"""Expected photons of a frame below which its patch is not scaled; avoids 0 / 0."""


class ScaledCnn:
    """The model for a probe ``(modes, N, N)`` complex64 in photon units; ``parts`` scales real and imaginary part."""

    name = "cnn"
    can_look_again = False
    is_learned = True
    castable = None

    def __init__(self, network: Cnn, probe: Tensor, parts: tuple[float, float] = (1.0, 1.0)) -> None:
        self._network, self._probe, self._parts = network, probe, parts

    @property
    def members(self) -> int:
        """Frames of a group that it sees together."""
        return self._network.members

    @property
    def options(self) -> CnnOptions:
        """The network's form."""
        return self._network.options

    def predict(self, group: TensorDict, start: Tensor | None = None, support: Tensor | None = None) -> Tensor:
        """Return patches ``(B, C, N, N)`` complex64 for ``images (B, C, N, N)``, amplitudes, -1 = no data."""
        del start, support  # it cannot look again
        images: Tensor = group["images"]
        with torch.inference_mode():
            patches = self._network.predict(group)
            real, imaginary = self._parts
            if (real, imaginary) != (1.0, 1.0):
                patches = torch.complex(real * patches.real, imaginary * patches.imag)
            known = images >= 0
            measured = torch.where(known, images, 0.0).square().sum((-2, -1))
            found = torch.where(known, expected_counts(self._probe, patches), 0.0).sum((-2, -1))
            factor = torch.where(found > FEW_PHOTONS, measured / found.clamp_min(FEW_PHOTONS), 1.0).sqrt()
            return patches * factor[..., None, None]
