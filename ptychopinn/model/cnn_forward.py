r"""Forward model of PtychoPINN's training, from patches to patterns: overlap within a group, then one of two far fields.

Offsets are ``offsets_px (B, C, 1, 2)`` = position - group mean, ``(y, x)``. PtychoPINN's ``coords_relative`` are ``(x, y)``
with the opposite sign (:func:`upstream_offsets`). Probes are normalised (:mod:`ptychopinn.model.cnn_scaling`) and of
rank 5, ``(B or 1, C or 1, modes, N, N)``.

With ``object_big`` the patches of a group are merged to one region and cut out again, so they must agree where they
overlap. Shifts by fractions of a pixel use bilinear interpolation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ptychopinn.errors import GeometryError
from ptychopinn.model.cnn_options import CnnOptions, PhysicsOptions
from ptychopinn.model.cnn_scaling import soft_probe_mask
from ptychopinn.physics.diffraction import propagate

MASK_DAMPING = 1e-3
"""Added to the number of overlapping masks, so that the average is 0 where none lies."""
WEIGHT_THRESHOLD = 1e-6
"""Lowest sum of weights where patches are merged by |P|^2; below it there is no object."""
WEIGHT_FLOOR = 1e-12
"""Lowest divisor of merged patches; avoids 0 / 0."""


def upstream_offsets(coords_relative: Tensor) -> Tensor:
    """Convert PtychoPINN's ``coords_relative (B, C, 1, 2)`` to our offsets, or back."""
    return -coords_relative.flip(-1)


def translate(images: Tensor, shift_px: Tensor) -> Tensor:
    """Return images ``(n, H, W)``, real or complex, moved by ``shift_px (n, 2)`` (y, x): bilinear, zero outside."""
    planes = torch.view_as_real(images).movedim(-1, 1) if images.is_complex() else images[:, None]
    height, width = images.shape[-2:]
    y = torch.linspace(-1, 1, height, device=images.device) - 2 * shift_px[:, :1] / (height - 1)
    x = torch.linspace(-1, 1, width, device=images.device) - 2 * shift_px[:, 1:] / (width - 1)
    shape = (len(images), height, width)
    grid = torch.stack((x[:, None, :].expand(shape), y[:, :, None].expand(shape)), dim=-1)
    moved = functional.grid_sample(planes, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
    return torch.view_as_complex(moved.movedim(1, -1).contiguous()) if images.is_complex() else moved[:, 0]


def _pad_to(images: Tensor, side_px: int) -> Tensor:
    margin = (side_px - images.shape[-1]) // 2
    return functional.pad(images, (margin,) * 4)


def _move_each(images: Tensor, offsets_px: Tensor) -> Tensor:
    """Return images ``(B, C, H, W)``, each moved by its offset."""
    moved = translate(images.flatten(0, 1), offsets_px.flatten(0, 2).to(images.device))
    return moved.view(images.shape)


def central_mask(size_px: int, device: torch.device) -> Tensor:
    """Return 1 in the central N/2 square and 0 around it, ``(N, N)`` float32."""
    quarter = size_px // 4
    return _pad_to(torch.ones(size_px - 2 * quarter, size_px - 2 * quarter, device=device), size_px)


def merge(patches: Tensor, offsets_px: Tensor, region_px: int, weight: Tensor | None = None) -> Tensor:
    """Return each group's region ``(B, M, M)`` complex from its patches ``(B, C, N, N)``.

    Without a weight the patches' central halves are averaged, slightly damped. With ``weight (B or 1, C or 1, N, N)``
    they are averaged by it where it exceeds a millionth of its greatest value. The region is 0 elsewhere.
    """
    shape = patches.shape
    mask = central_mask(shape[-1], patches.device) if weight is None else weight
    moved = _move_each(_pad_to(patches, region_px), offsets_px)
    weights = _move_each(_pad_to(mask.expand(shape), region_px), offsets_px)
    total = weights.sum(1)
    value = (moved * weights).sum(1)
    if weight is None:
        return value / (total + MASK_DAMPING)
    lit = total > WEIGHT_THRESHOLD * total.amax((-2, -1), keepdim=True)
    return torch.where(lit, value / total.clamp_min(WEIGHT_FLOOR), 0)


def extract(region: Tensor, offsets_px: Tensor, size_px: int) -> Tensor:
    """Return the patches ``(B, C, N, N)`` of regions ``(B, M, M)`` at the members' places."""
    members = offsets_px.shape[1]
    moved = _move_each(region[:, None].expand(-1, members, -1, -1), -offsets_px)
    margin = (region.shape[-1] - size_px) // 2
    return moved[..., margin : margin + size_px, margin : margin + size_px]


class RectangularScaler(nn.Module):
    """Trained scales of the real and imaginary part, one pair for each data set."""

    def __init__(self, datasets: int) -> None:
        super().__init__()
        self.s1 = nn.Parameter(torch.ones(datasets))
        self.s2 = nn.Parameter(torch.ones(datasets))

    def forward(self, patches: Tensor, datasets: Tensor) -> Tensor:
        """Return scaled patches ``(B, C, N, N)``; ``datasets (B,)`` int64."""
        s1, s2 = (s[datasets][:, None, None, None] for s in (self.s1, self.s2))
        return torch.complex(s1 * patches.real, s2 * patches.imag)


class ForwardModel(nn.Module):
    """Object patches to patterns."""

    def __init__(self, network: CnnOptions, physics: PhysicsOptions) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(physics.datasets))
        self.beta = nn.Parameter(torch.zeros(physics.datasets))
        self.rect_scaler = RectangularScaler(physics.datasets)
        self.options = physics
        self._size_px = network.size_px
        self._region_px = physics.region_px(network)
        self._merges = network.members > 1 if physics.object_big is None else physics.object_big
        mask = soft_probe_mask(network.size_px, physics.probe_mask_sigma_px) if physics.has_probe_mask else None
        self.probe_mask: Tensor | None
        self.register_buffer("probe_mask", mask, persistent=False)

    def constrain(self, patches: Tensor, offsets_px: Tensor, probe: Tensor) -> Tensor:
        """Return the patches cut from their group's merged region; unchanged without ``object_big``."""
        if not self._merges:
            return patches
        weight = None
        if self.options.patch_weighting == "probe":
            weight = probe.abs().square().sum(2)
        elif self.options.patch_weighting == "uniform":
            weight = central_mask(self._size_px, patches.device)[None, None]
        return extract(merge(patches, offsets_px, self._region_px, weight), offsets_px, self._size_px)

    def amplitude(
        self, patches: Tensor, offsets_px: Tensor, probe: Tensor, input_scale_factor: Tensor, datasets: Tensor
    ) -> Tensor:
        """Return amplitudes ``(B, C, N, N)`` in the units of the measured ones; modes are added coherently."""
        exits = self._masked(probe) * self.constrain(patches, offsets_px, probe)[:, :, None]
        out: Tensor = propagate(exits.sum(2)).abs() / self.options.probe_scale
        out = out * self.options.amplitude_gain / input_scale_factor
        if self.options.has_trained_scale:
            alpha, beta = (v[datasets][:, None, None, None] for v in (self.alpha, self.beta))
            out = out * alpha + beta
        return out

    def intensity(self, patches: Tensor, offsets_px: Tensor, probe: Tensor, q: Tensor, datasets: Tensor) -> Tensor:
        """Return expected counts ``(B, C, N, N)``; modes are added incoherently. ``q (B or 1, 1, 1, 1)`` is that of the probe."""
        scaled = self.rect_scaler(self.constrain(patches, offsets_px, probe), datasets)
        far = propagate(self._masked(probe) * scaled[:, :, None] / q[:, None])
        return (far.real.square() + far.imag.square()).sum(2)

    @torch.no_grad()
    def rescale(self, factor: float) -> None:
        """Multiply all further predictions by a factor."""
        scales = self.rect_scaler.parameters() if self.options.regime == "counts" else (self.alpha, self.beta)
        for scale in scales:
            scale.mul_(factor)

    def _masked(self, probe: Tensor) -> Tensor:
        if probe.ndim != 5:
            raise GeometryError(f"the probe has rank {probe.ndim}; give (B or 1, C or 1, modes, N, N)")
        return probe if self.probe_mask is None else probe * self.probe_mask
