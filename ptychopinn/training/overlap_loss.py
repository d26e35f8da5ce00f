"""The physics loss that uses the overlap: patches of a neighbourhood are stitched, cut out again and propagated.

A single pattern does not determine its patch. The stitched object must explain all patterns, so a network cannot satisfy
this loss by fitting each pattern alone.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ptychopinn.model.optics import ProbeOptics
from ptychopinn.model.overlap import Overlap

FLOOR = 1e-8
"""Lowest squared relative misfit; keeps the gradient of its square root finite at 0."""
CONTRAST_FLOOR = 0.03
"""Contrast (rms of O - mean O) below which a scan counts less: weaker samples are mostly noise."""


class Neighbourhood(NamedTuple):
    """Neighbouring frames of G scans, M of each: ``amplitude (G, M, N, N)``, -1 = no data, zero frequency at the corner."""

    amplitude: Tensor
    optics: ProbeOptics
    overlap: Overlap

    @classmethod
    def of(cls, images: Tensor, positions_px: Tensor, probe: Tensor) -> Neighbourhood:
        """Return the neighbourhood of ``images (G, M, N, N)``, zero frequency in the middle.

        Parameters
        ----------
        positions_px : (G, M, 2)
            [y, x]; rounded to whole pixels.
        probe : (G, modes, N, N) complex64
            In photon units.
        """
        corners = positions_px.round().long()
        corners = corners - corners.amin(dim=1, keepdim=True)
        amplitude = torch.fft.ifftshift(images, dim=(-2, -1))
        return cls(amplitude, ProbeOptics(probe), Overlap(corners, images.shape[-1]))

    def merged(self, patches: Tensor) -> Tensor:
        """Return the patches ``(G, M, N, N)`` cut from the stitched object."""
        return self.overlap.cut(self.overlap.stitch(patches, self.optics.weight)[0])

    def misfit(self, merged: Tensor) -> Tensor:
        """Return the mean over scans of the rms of |F(P S)| - a over the rms of a, over valid pixels.

        ``merged`` is S ``(G, M, N, N)``.
        """
        valid = self.amplitude >= 0
        misfit = torch.where(valid, self.optics.magnitude(merged) - self.amplitude, 0.0).square().sum((1, 2, 3))
        whole = torch.where(valid, self.amplitude, 0.0).square().sum((1, 2, 3)).clamp_min(1.0)
        return (misfit / whole).clamp_min(FLOOR).sqrt().mean()


def overlap_losses(patches: Tensor, seen: Neighbourhood) -> dict[str, Tensor]:
    """Return the losses (scalars, means over scans) of patches ``(G, M, N, N)``.

    With w = |P|^2, O the patches and S the patches cut from the stitched O: ``physics`` is :meth:`Neighbourhood.misfit`
    of S; ``agreement`` is the rms of O - S under w, divided by the rms contrast of S.
    """
    weight = seen.optics.weight
    merged = seen.merged(patches)
    physics = seen.misfit(merged)
    share = weight / (weight.sum((-2, -1), keepdim=True) * patches.shape[1])
    with torch.no_grad():
        mean = (merged * share).sum((1, 2, 3), keepdim=True)
        contrast = _power(merged - mean, share) + CONTRAST_FLOOR**2
    agreement = (_power(patches - merged, share) / contrast).clamp_min(FLOOR).sqrt()
    return {"physics": physics, "agreement": agreement.mean()}


def _power(wave: Tensor, share: Tensor) -> Tensor:
    return (torch.view_as_real(wave).square().sum(-1) * share).sum((1, 2, 3))
