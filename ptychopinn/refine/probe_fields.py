"""The probe of each frame: one for all, between the pixels, or one that changes in time or moves during the exposure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ptychopinn.device import is_batched
from ptychopinn.physics.diffraction import intensity
from ptychopinn.refine.frame_blocks import Kept
from ptychopinn.refine.scan_time import ScanTime
from ptychopinn.refine.subpixel_shifts import ProbeDescent, Shift, ShiftedProbes

FLOOR = 0.01
"""Least curvature, of the greatest: keeps steps short where hardly any light falls."""


class FrameProbes(NamedTuple):
    """The probes of some frames ``(B or 1, modes, N, N)``, their conjugates, and their intensities ``(B, N, N)``."""

    probe: Tensor
    back: Tensor
    intensity: Tensor


class ProbeFields:
    """Fields ``(fields * modes, N, N)`` that the probes of frames are made of: one in all frames, or one for each order of time.

    A frame whose stage moves during the exposure has the modes of several places on its way.
    """

    def __init__(self, fields: Tensor, modes: int, time: ScanTime | None = None) -> None:
        self.shifted = ShiftedProbes(fields)
        self.modes = modes
        self.time = time

    @property
    def fields(self) -> Tensor:
        """All fields ``(fields * modes, N, N)``."""
        return self.shifted.probe

    @property
    def mean(self) -> Tensor:
        """The probe in the mean of the scan ``(modes, N, N)``."""
        return self.shifted.probe[: self.modes]

    def of(self, frames: Sequence[Kept]) -> FrameProbes:
        """Return the probes of some frames."""
        shifts = [frame.shift for frame in frames]
        if self.time is None and not any(frame.path for frame in frames):
            shifted = self.shifted
            return FrameProbes(shifted.stack(shifts), shifted.back_stack(shifts), shifted.intensity_stack(shifts))
        probe = self.at(shifts, [frame.path for frame in frames], [frame.index for frame in frames])
        return FrameProbes(probe, probe.conj(), intensity(probe).sum(1).expand(len(frames), -1, -1))

    def at(self, shifts: Sequence[Shift], paths: Sequence[Sequence[Shift]], indexes: Sequence[int]) -> Tensor:
        """Return the probes ``(B or 1, modes, N, N)`` of frames; the mean where no numbers are given."""
        if not indexes:
            return self.shifted.stack(shifts)[:, : self.modes]
        if self.time is None and not any(paths):
            return self.shifted.stack(shifts)
        stacks = [self.shifted.stack(moves) for moves in zip(*_places(shifts, paths), strict=True)]
        parts = [self._in_time(stack, indexes).expand(len(shifts), -1, -1, -1) for stack in stacks]
        found: Tensor = torch.cat(parts, dim=1) / len(parts) ** 0.5
        return found

    def _in_time(self, probes: Tensor, indexes: Sequence[int]) -> Tensor:
        if self.time is None:
            return probes
        weights = torch.from_numpy(self.time.weights(indexes)).to(probes.device)
        parts = probes.view(len(probes), -1, self.modes, *probes.shape[-2:])
        found: Tensor = (parts * weights[:, :, None, None, None]).sum(1)
        return found


def _places(shifts: Sequence[Shift], paths: Sequence[Sequence[Shift]]) -> list[list[Shift]]:
    """Return the moves of each frame at all places of its way, as many for each."""
    most = max(map(len, paths))
    return [
        [(y + dy, x + dx) for dy, dx in (path if len(path) == most else [(0, 0)] * most)] if most else [(y, x)]
        for (y, x), path in zip(shifts, paths, strict=True)
    ]


class FieldDescent:
    """What the frames of a pass say about the fields: the sum of their descents, and its curvature."""

    def __init__(self) -> None:
        self._descent = ProbeDescent()
        self._curvature: Tensor | None = None

    def add(self, fields: ProbeFields, frames: Sequence[Kept], parts: Tensor, patches: Tensor) -> None:
        """Take frames: parts ``(B, modes of all places, N, N)``, and their patches ``(B, N, N)``."""
        places = list(zip(*_places([f.shift for f in frames], [f.path for f in frames]), strict=True))
        if fields.time is not None:
            weights = torch.from_numpy(fields.time.weights([f.index for f in frames])).to(parts.device)
            lit = torch.einsum("bk,bij->kij", weights.square(), intensity(patches))
            lit = lit.repeat_interleave(fields.modes, dim=0)
        elif is_batched(patches.device):
            lit = torch.linalg.vector_norm(patches, dim=0).square()
        else:
            lit = intensity(patches).sum(0)
        for place, part in zip(places, torch.split(parts, fields.modes, dim=1), strict=True):
            if fields.time is not None:
                part = (weights[:, :, None, None, None] * part[:, None]).flatten(1, 2)
            self._descent.add(place, part / len(places) ** 0.5 if len(places) > 1 else part)
        self._curvature = lit if self._curvature is None else self._curvature + lit

    @property
    def step(self) -> Tensor | None:
        """The whole step of the fields ``(fields * modes, N, N)``, without sign; None without frames."""
        if self._curvature is None:
            return None
        return self._descent.total() / torch.add(self._curvature, self._curvature.max(), alpha=FLOOR)
