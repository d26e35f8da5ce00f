"""A ``cnn`` with an arbitrary scale of the object, for one probe.

After a training as in PtychoPINN the scale of the object depends on the normalised probe and on the rms of the frames, so an
empty object is not 1. This model brings each patch to photon units: the pattern of the patch and the probe has as many
photons as the frame. In the count regime the real and imaginary part also have trained scales.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ptychopinn.model.cnn import Cnn
from ptychopinn.model.cnn_options import CnnOptions
from ptychopinn.physics.diffraction import expected_counts
from ptychopinn.tensor_dict import TensorDict

FEW_PHOTONS = 1e-6
"""Expected photons of a frame below which its patch is not scaled; avoids 0 / 0."""


class ScaledCnn:
    """The model for a probe ``(modes, N, N)`` complex64 in photon units; ``parts`` are the scales of the two parts."""

    name = "cnn"
    can_look_again = False
    is_learned = True
    castable = None

    def __init__(self, network: Cnn, probe: Tensor, parts: tuple[float, float] = (1.0, 1.0)) -> None:
        self._network, self._probe, self._parts = network, probe, parts

    @property
    def members(self) -> int:
        """Number of frames of a group that the network predicts together."""
        return self._network.members

    @property
    def options(self) -> CnnOptions:
        """Form of the network."""
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
