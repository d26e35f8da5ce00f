"""Parameters and patterns that depend on nothing but names and shapes, for comparing two programs' networks."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import torch
from torch import Tensor

CASES = {
    "64 px, C 4": {"size_px": 64, "members": 4},
    "64 px, C 1, cartesian": {"size_px": 64, "members": 1, "output": "cartesian"},
    "64 px, C 4, batch norm": {"size_px": 64, "members": 4, "has_batch_norm": True},
    "64 px, C 1, no border, no attention": {"size_px": 64, "members": 1, "has_border": False, "has_attention": False},
    "128 px, C 1": {"size_px": 128, "members": 1},
    "256 px, C 4, f 2": {"size_px": 256, "members": 4, "width_factor": 2},
}
"""Forms compared, of width factor 1 unless said."""


def filled(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state_dict with the same names and shapes and values drawn from the names."""
    return {name: _values(name.removeprefix("model."), value) for name, value in state.items()}


def _values(name: str, like: Tensor) -> Tensor:
    if not like.is_floating_point():
        return like
    drawn = torch.randn(like.shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
    if name.endswith("running_var"):
        return drawn.abs() + 0.5
    if name.endswith("bias") or like.ndim == 1:
        return 0.1 * drawn + (1.0 if ".bn" in name and name.endswith("weight") else 0.0)
    return drawn * (2.0 / like[0].numel()) ** 0.5


def patterns(size_px: int, members: int) -> Tensor:
    """Return patterns ``(2, C, N, N)`` between 0 and 1."""
    return torch.rand(2, members, size_px, size_px, generator=torch.Generator().manual_seed(size_px + members))


def sampled(patches: Tensor) -> list[list[float]]:
    """Return 40 values spread over the patches, as pairs."""
    flat = torch.view_as_real(patches.to(torch.complex64)).reshape(-1, 2)
    places = torch.randperm(len(flat), generator=torch.Generator().manual_seed(1))[:40]
    return [[float(a), float(b)] for a, b in flat[places]]
