"""Diffraction: propagation, the incoherent sum over probe modes, the centroid of a probe, the R-factor.

Patterns have the zero frequency in the middle (pixel N/2). Transforms are orthonormal, so a probe's energy
``sum |P|^2`` (over pixels and modes) is the expected count of a frame without a sample. A unit object is 1 + 0i.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ptychopinn.device import is_batched

CHUNK_FRAMES = 64
"""Number of frames that are summed together: 8 MiB of 128 px in float64, so that no copy of a scan is made."""
NO_DATA = -1.0
"""Amplitude that marks a pixel without data (mask, saturation)."""


def propagate(exit_waves: Tensor) -> Tensor:
    """Return the far field ``(..., N, N)`` complex of exit waves, zero frequency in the middle."""
    far: Tensor = torch.fft.fftshift(torch.fft.fft2(exit_waves, norm="ortho"), dim=(-2, -1))
    return far


def intensity(field: Tensor) -> Tensor:
    """Return |field|^2 of a complex field, a few times as fast as by its modulus."""
    return torch.addcmul(field.real.square(), field.imag, field.imag)


def expected_counts(probe: Tensor, patches: Tensor) -> Tensor:
    """Return the expected counts ``(..., N, N)`` of patches ``(..., N, N)`` under a probe ``(modes, N, N)``."""
    return propagate(probe * patches.unsqueeze(-3)).abs().square().sum(-3)


def rfactor_parts(probe: Tensor, patches: Tensor, amplitude: Tensor) -> tuple[float, float]:
    """Return numerator and denominator of the R-factor over frames.

    R = sum | |F(P O)| - sqrt(counts) | / sum sqrt(counts), valid pixels only.

    Parameters
    ----------
    probe : (modes, N, N) complex, or one for each frame (B, modes, N, N)
    patches : (B, N, N) complex, cut from the stitched object
    amplitude : (B, N, N) float, sqrt(counts), :data:`NO_DATA` where invalid
    """
    valid = amplitude >= 0
    model = intensity(propagate(probe * patches.unsqueeze(-3))).sum(-3).sqrt()
    misfit = torch.where(valid, (model - amplitude).abs(), 0.0)
    return float(misfit.sum()), float(torch.where(valid, amplitude, 0.0).sum())


def shift_subpixel(field: Tensor, shift_px: tuple[float, float]) -> Tensor:
    """Return ``field`` ``(..., N, N)`` moved by ``(dy, dx)`` pixels (content towards larger indexes), periodic, by phase ramp."""
    moved: Tensor = torch.fft.ifft2(torch.fft.fft2(field) * shift_ramp(field, shift_px))
    return moved


def shift_ramp(field: Tensor, shift_px: tuple[float, float]) -> Tensor:
    """Return the factor ``(N, N)`` on the spectrum of a field ``(..., N, N)`` that moves it by ``(dy, dx)`` pixels."""
    y, x = (
        torch.exp(-2j * torch.pi * shift * torch.fft.fftfreq(field.shape[d], device=field.device))
        for d, shift in zip((-2, -1), shift_px, strict=True)
    )
    return y[:, None] * x


def slopes(field: Tensor) -> tuple[Tensor, Tensor]:
    """Return the central differences of a field ``(..., N, N)`` along y and x, periodic."""
    y, x = differences(field).div_(2)
    return y, x


def differences(field: Tensor) -> Tensor:
    """Return next minus previous pixel of a field ``(..., N, N)`` along y and x ``(2, ..., N, N)``, periodic."""
    out = torch.empty((2, *field.shape), dtype=field.dtype, device=field.device)
    if is_batched(field.device):  # few launches; a CPU does without the copy
        size = field.shape[-1]
        rows = torch.cat((field[..., -1:, :], field, field[..., :1, :]), dim=-2)
        columns = torch.cat((field[..., -1:], field, field[..., :1]), dim=-1)
        torch.sub(rows[..., 2:, :], rows[..., :-2, :], out=out[0])
        torch.sub(columns[..., 2:], columns[..., :size], out=out[1])
        return out
    for axis, slope in zip((-2, -1), out, strict=True):
        inner = field.shape[axis] - 2
        torch.sub(field.narrow(axis, 2, inner), field.narrow(axis, 0, inner), out=slope.narrow(axis, 1, inner))
        torch.sub(field.select(axis, 1), field.select(axis, -1), out=slope.select(axis, 0))
        torch.sub(field.select(axis, 0), field.select(axis, -2), out=slope.select(axis, -1))
    return out


def centroid_px(probe: Tensor) -> tuple[float, float]:
    """Return the intensity centroid ``(y, x)`` of a probe ``(modes, N, N)``, relative to pixel N/2."""
    intensity = probe.abs().square().sum(0).double()
    total = intensity.sum()
    n_y, n_x = intensity.shape
    y = float((intensity.sum(1) * (torch.arange(n_y, device=probe.device) - n_y // 2)).sum() / total)
    x = float((intensity.sum(0) * (torch.arange(n_x, device=probe.device) - n_x // 2)).sum() / total)
    return y, x


def vacuum_counts(amplitude: Tensor) -> float:
    """Return an estimate of the counts of a frame without sample: the largest total of frames ``(B, N, N)``."""
    parts = [part.clamp_min(0.0).double().square().sum((-2, -1)).max() for part in torch.split(amplitude, CHUNK_FRAMES)]
    return float(torch.stack(parts).max())
