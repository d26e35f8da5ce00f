"""Modes of a probe: orthogonal and ordered by energy, fewer or more of them."""

from __future__ import annotations

import torch
from torch import Tensor

from ptychopinn.physics.diffraction import centroid_px

NEW_SHARE = 0.01
"""Share of the probe's energy that a new mode begins with: enough to break the symmetry, and below what a beam usually has."""
LEAST_SHARE = 1e-12
"""Energy of a mode, of the greatest, that float32 still resolves."""


def orthogonal_modes(probe: Tensor) -> Tensor:
    """Return the probe ``(modes, N, N)`` with modes that are orthogonal, the brightest first; patterns stay the same."""
    count = probe.shape[0]
    if count == 1:
        return probe
    flat = probe.reshape(count, -1)
    products = (flat @ flat.mH).to("cpu", torch.complex128)
    if not bool(torch.isfinite(products.abs()).all()):
        return probe
    _, vectors = torch.linalg.eigh(products)  # the least first
    mixing = vectors.flip(1).mH
    largest = mixing.gather(1, mixing.abs().argmax(dim=1, keepdim=True))
    mixing = mixing * (largest.conj() / largest.abs())
    found: Tensor = (mixing.to(flat) @ flat).reshape(probe.shape)
    return found


def with_mode_count(probe: Tensor, count: int, share: float = NEW_SHARE) -> Tensor:
    """Return the probe with this many orthogonal modes and the same energy.

    Modes too many are the weakest. New ones are the brightest mode times x, y, and their powers, made orthogonal; each gets
    ``share`` of the energy.
    """
    if count == probe.shape[0]:
        return probe
    energy = probe.abs().square().sum()
    modes = list(orthogonal_modes(probe)[:count])
    for waves in _powers(count):
        if len(modes) == count:
            break
        new = _without(_tilted(modes[0], probe, waves), modes)
        modes.append(new * (share * energy / new.abs().square().sum().clamp_min(LEAST_SHARE)).sqrt())
    found = torch.stack(modes)
    return found * (energy / found.abs().square().sum()).sqrt()


def _powers(count: int) -> list[tuple[int, int]]:
    """Return powers of (y, x), the lowest first: at least as many as modes are wanted."""
    return sorted(((b, a) for b in range(count + 1) for a in range(count + 1) if a + b > 0), key=lambda p: (sum(p), p))


def _tilted(mode: Tensor, probe: Tensor, powers: tuple[int, int]) -> Tensor:
    """Return a mode times powers of (y, x), pixels from the probe's centroid over N."""
    size = mode.shape[-1]
    y, x = (
        ((torch.arange(size, device=mode.device) - size // 2 - centre) / size) ** power
        for centre, power in zip(centroid_px(probe), powers, strict=True)
    )
    return mode * y[:, None] * x


def _without(field: Tensor, modes: list[Tensor]) -> Tensor:
    """Return a field without its parts along modes, which are orthogonal."""
    for mode in modes:
        energy = mode.abs().square().sum()
        if float(energy) > 0:
            field = field - mode * ((mode.conj() * field).sum() / energy)
    return field
