"""What is free between a probe and the object it lights."""

from __future__ import annotations

import torch
from torch import Tensor

from ptychopinn.physics.diffraction import slopes


class Gauge:
    """Holds what is free between probe and object: the probe does not change along its scale, phase, place and ramp."""

    def __init__(self, probe: Tensor) -> None:
        size = probe.shape[-1]
        along = torch.arange(size, device=probe.device) - size / 2
        free = [probe, 1j * probe, 1j * along[:, None] * probe, 1j * along * probe, *slopes(probe)]
        flat = torch.stack([torch.view_as_real(part).flatten() for part in free], dim=1)
        self._free = torch.linalg.qr(flat)[0]

    def without_free(self, change: Tensor) -> Tensor:
        """Return a change of the probe ``(modes, N, N)`` without what is free."""
        flat = torch.view_as_real(change).flatten()
        kept = flat - self._free @ (self._free.T @ flat)
        return torch.view_as_complex(kept.view(*change.shape, 2))
