r"""Lift: plain projections that start from an empty object, the probe given as data.

From the measured amplitude a and the probe modes :math:`P_m`, repeat

    Y_m = F(P_m O);   O <- O + sum_m P_m^* (F^-1(a Y_m / sqrt(sum |Y|^2)) - P_m O) / (sum_m |P_m|^2 + eps max)

The first Y is F(P): it does not depend on the frame, so k projections cost 2k - 1 transforms. Pixels without data keep
their computed amplitude. In a group of several frames the patches are merged by their |P|^2 on the group's common
region after each projection but the last, which is the overlap constraint within the group.
"""

from __future__ import annotations

import torch
from tensordict import TensorDict
from torch import Tensor

from ptychopinn.device import frames_at_once


class Lift:
    """The lift for one probe ``(modes, N, N)`` complex64, photon units."""

    name = "lift"

    def __init__(self, probe: Tensor, projections: int = 2, epsilon: float = 0.02) -> None:
        self.probe = probe
        self.projections = projections
        self.weight = probe.abs().square().sum(0)
        self._step = probe.conj() / (self.weight + epsilon * self.weight.max())
        far = torch.fft.fft2(probe, norm="ortho")
        self._far_of_probe = far
        self._direction_of_probe = far / far.abs().square().sum(0).sqrt().clamp_min(1e-12)
        self._magnitude_of_probe = far.abs().square().sum(0).sqrt()

    def predict(self, group: TensorDict) -> Tensor:
        """Return patches ``(B, C, N, N)`` complex64 for ``images`` ``(B, C, N, N)``, amplitudes, -1 = no data."""
        images: Tensor = group["images"]
        groups, members = images.shape[:2]
        patches = torch.empty(images.shape, dtype=torch.complex64, device=images.device)
        at_once = max(1, frames_at_once(self.probe[0]) // members)
        for begin in range(0, groups, at_once):
            part = slice(begin, begin + at_once)
            patches[part] = self._predict(images[part], group["coords_relative"][part] if members > 1 else None)
        return patches

    def _predict(self, images: Tensor, relative_px: Tensor | None) -> Tensor:
        amplitude = torch.fft.ifftshift(images, dim=(-2, -1)).flatten(0, 1)
        patches = self._first(amplitude)
        for _ in range(self.projections - 1):
            if relative_px is not None:
                patches = self._share(patches, relative_px)
            patches = self._project(patches, amplitude)
        return patches.view(images.shape)

    def _first(self, amplitude: Tensor) -> Tensor:
        """Project the empty object: one inverse transform a mode."""
        valid_amplitude = torch.where(amplitude < 0, self._magnitude_of_probe, amplitude)
        patches = torch.ones(amplitude.shape, dtype=torch.complex64, device=amplitude.device)
        for mode, direction, step in zip(self.probe, self._direction_of_probe, self._step, strict=True):
            wave = torch.fft.ifft2(direction * valid_amplitude, norm="ortho")
            patches += wave.sub_(mode).mul_(step)
        return patches

    def _project(self, patches: Tensor, amplitude: Tensor) -> Tensor:
        exits = [mode * patches for mode in self.probe]
        fars = [torch.fft.fft2(wave, norm="ortho") for wave in exits]
        magnitude = fars[0].abs() if len(fars) == 1 else torch.stack([f.abs().square() for f in fars]).sum(0).sqrt()
        ratio = torch.where(amplitude < 0, 1.0, amplitude / magnitude.clamp_min(1e-6))
        for far, wave, step in zip(fars, exits, self._step, strict=True):
            patches = patches + torch.fft.ifft2(far.mul_(ratio), norm="ortho").sub_(wave).mul_(step)
        return patches

    def _share(self, patches: Tensor, relative_px: Tensor) -> Tensor:
        """Merge each group's patches on its common region, whole pixels, and cut them out again."""
        n = patches.shape[-1]
        groups, members = relative_px.shape[:2]
        corner = relative_px[:, :, 0].round().long().cpu()
        corner = corner - corner.amin(dim=(0, 1))
        side_y, side_x = (int(v) + n for v in corner.amax(dim=(0, 1)))
        merged = torch.zeros(groups, side_y, side_x, dtype=patches.dtype, device=patches.device)
        weight = torch.zeros(groups, side_y, side_x, device=patches.device)
        out = torch.empty_like(patches)
        for phase in ("add", "cut"):
            for g in range(groups):
                for c in range(members):
                    y, x = (int(v) for v in corner[g, c])
                    window = (g, slice(y, y + n), slice(x, x + n))
                    if phase == "add":
                        merged[window] += self.weight * patches[g * members + c]
                        weight[window] += self.weight
                    else:
                        out[g * members + c] = merged[window] / weight[window].clamp_min(1e-12)
        return out
