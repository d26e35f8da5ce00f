"""The freedoms between probe and object: a common scale, phase, shift and ramp that no pattern shows."""

from __future__ import annotations

import torch
from torch import Tensor

from ptychopinn.physics.diffraction import slopes


class Gauge:
    """Fixes these freedoms: a change of the probe never has a part along its scale, phase, shift and ramp."""

    def __init__(self, probe: Tensor) -> None:
        size = probe.shape[-1]
        along = torch.arange(size, device=probe.device) - size / 2
        free = [probe, 1j * probe, 1j * along[:, None] * probe, 1j * along * probe, *slopes(probe)]
        flat = torch.stack([torch.view_as_real(part).flatten() for part in free], dim=1)
        self._free = torch.linalg.qr(flat)[0]

    def without_free(self, change: Tensor) -> Tensor:
        """Return a change of the probe ``(modes, N, N)`` without what is free."""
        flat = torch.view_as_real(change).flatten()
        kept = torch.addmv(flat, self._free, self._free.T @ flat, alpha=-1)
        return torch.view_as_complex(kept.view(*change.shape, 2))
