"""The physics loss that sees the overlap: the patches of a neighbourhood are stitched, cut out again, and propagated.

One pattern alone does not determine its patch, so a loss of single frames lets a network fall back to what fits each of
them; the stitched object must fit all.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ptychopinn.model.optics import Optics
from ptychopinn.model.overlap import Overlap

FLOOR = 1e-8
CONTRAST_FLOOR = 0.03


class Neighbourhood(NamedTuple):
    """Neighbouring frames of G scans, M of each: ``amplitude (G, M, N, N)``, -1 = no data, zero frequency at the corner."""

    amplitude: Tensor
    optics: Optics
    overlap: Overlap

    @classmethod
    def of(cls, images: Tensor, positions_px: Tensor, probe: Tensor) -> Neighbourhood:
        """Return the neighbourhood of ``images (G, M, N, N)``, zero frequency in the middle.

        Parameters
        ----------
        positions_px : (G, M, 2)
            [y, x], rounded to whole pixels here.
        probe : (G, modes, N, N) complex64
            In photon units.
        """
        corners = positions_px.round().long()
        corners = corners - corners.amin(dim=1, keepdim=True)
        amplitude = torch.fft.ifftshift(images, dim=(-2, -1))
        return cls(amplitude, Optics(probe), Overlap(corners, images.shape[-1]))


def overlap_losses(patches: Tensor, seen: Neighbourhood) -> dict[str, Tensor]:
    """Return the mean over scans of each loss of patches ``(G, M, N, N)``.

    With w = |P|^2, O the patches and S those cut from the stitched O: ``physics`` is the rms of |F(P S)| - a over the rms of
    a, valid pixels; ``agreement`` the rms of O - S under w over that of S's contrast.
    """
    optics, weight = seen.optics, seen.optics.weight
    cut = seen.overlap.cut(seen.overlap.stitch(patches, weight)[0])
    valid = seen.amplitude >= 0
    misfit = torch.where(valid, optics.magnitude(cut) - seen.amplitude, 0.0).square().sum((1, 2, 3))
    whole = torch.where(valid, seen.amplitude, 0.0).square().sum((1, 2, 3)).clamp_min(1.0)
    share = weight / (weight.sum((-2, -1), keepdim=True) * patches.shape[1])
    with torch.no_grad():
        mean = (cut * share).sum((1, 2, 3), keepdim=True)
        contrast = _power(cut - mean, share) + CONTRAST_FLOOR**2
    agreement = (_power(patches - cut, share) / contrast).clamp_min(FLOOR).sqrt()
    return {"physics": (misfit / whole).clamp_min(FLOOR).sqrt().mean(), "agreement": agreement.mean()}


def _power(wave: Tensor, share: Tensor) -> Tensor:
    return (torch.view_as_real(wave).square().sum(-1) * share).sum((1, 2, 3))
