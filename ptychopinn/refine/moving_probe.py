"""The probe of the refined layer: its copies between the pixels, its freedoms, and its steps after a pass."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor

from ptychopinn.device import is_batched
from ptychopinn.physics.diffraction import intensity
from ptychopinn.refine.frame_blocks import Block, Kept, patterns_of
from ptychopinn.refine.probe_fields import FieldDescent, ProbeFields
from ptychopinn.refine.probe_gauge import Gauge
from ptychopinn.refine.scan_time import ScanTime

PROBE_FRAMES, PROBE_PASSES, PROBE_STEP = 100, 3, 0.5
"""The probe follows in blocks of at least this many frames, after this many visits of most, by this share of the whole step."""
SETTLED = 0.003
"""Change of a pass, of the probe, below which it is settled. A right probe is so two or three passes after it began to move."""
LEAST_ENERGY = 1e-12
"""Photons in a probe without light."""


class MovingProbe:
    """A probe ``(modes, N, N)`` that may follow the frames.

    Attributes
    ----------
    known, ahead
        The fields of the probe as it is now, and of the one that the next pass works with: momentum leads it on.
    last_step
        Length of the last pass' step; a tensor without dimensions, that a GPU is not waited for. See :meth:`change_of`.
    steps, taken
        How often it has moved by its own frames, and how many changes of :meth:`offer` it has taken.
    peak, weight
        Greatest intensity of the first probe, photons a pixel, and its intensity ``(N, N)`` as a share of that.
    """

    def __init__(self, probe: Tensor, *, may_follow: bool) -> None:
        self._first = probe
        self._offered: deque[Tensor] = deque()
        self.steps = self.taken = 0
        self.use(probe)
        lit = self.known.shifted.intensity_at((0, 0))
        self.peak = float(lit.max())
        self.weight = lit / self.peak
        self._may_follow = may_follow

    def use(self, fields: Tensor, modes: int | None = None, time: ScanTime | None = None) -> None:
        """Go on with other fields ``(fields * modes, N, N)``, from rest."""
        self.known = self.ahead = ProbeFields(fields, modes or len(fields), time)
        self._gauge = Gauge(self.now)
        self._root_energy = torch.linalg.vector_norm(self.now)
        self._step_unit = PROBE_STEP / max(float(self._root_energy), math.sqrt(LEAST_ENERGY))
        self._nothing = torch.zeros((), dtype=fields.dtype, device=fields.device)
        self._descent = FieldDescent()
        self.last_step = torch.zeros((), device=fields.device)

    def fork(self, fields: Tensor | None = None, modes: int | None = None, time: ScanTime | None = None) -> MovingProbe:
        """Return another probe of these fields, or of the same; both move apart from each other."""
        known = self.known
        other = MovingProbe(known.mean, may_follow=True)
        if fields is None:
            other.use(known.fields, known.modes, known.time)
        else:
            other.use(fields, modes, time)
        return other

    @property
    def size_px(self) -> int:
        """Side of the probe and of the patterns."""
        return self._first.shape[-1]

    def follows(self, block: Block) -> bool:
        """Whether the passes over a block move the probe."""
        return self._may_follow and len(block.frames) >= PROBE_FRAMES and block.visits >= PROBE_PASSES

    @property
    def now(self) -> Tensor:
        """The probe as it is now, in the mean of the scan."""
        return self.known.mean

    def learn(self, frames: Sequence[Kept], parts: Tensor, patches: Tensor) -> None:
        """Take what frames say about the probe: parts ``(B, modes, N, N)``, patches ``(B, N, N)``."""
        self._descent.add(self.ahead, frames, parts, patches)

    def offer(self, change: Tensor) -> None:
        """Have a change of the fields, found from the frames of others too, taken after the next pass; from any thread."""
        self._offered.append(change)

    def move(self, lead: Tensor) -> None:
        """Move by what the frames of a pass have said, if that is finite; ``lead`` is the momentum's share."""
        self._follow_frames(lead)
        while self._offered:
            change = self._offered.popleft()
            self.taken += 1
            if change.shape == self.known.fields.shape:
                modes, time = self.known.modes, self.known.time
                known, ahead = self.known.fields + change, self.ahead.fields + change
                self.known, self.ahead = ProbeFields(known, modes, time), ProbeFields(ahead, modes, time)

    def _follow_frames(self, lead: Tensor) -> None:
        step = self._descent.step
        if step is None:
            return
        self.steps += 1
        self._descent = FieldDescent()
        modes, time, now = self.ahead.modes, self.ahead.time, self.known.fields
        free = self._gauge.without_free(step[:modes])
        step = free if time is None else torch.cat([free, step[modes:]])
        length = torch.linalg.vector_norm(step)
        self.last_step = length
        known = torch.sub(self.ahead.fields, torch.where(length < math.inf, step, self._nothing), alpha=PROBE_STEP)
        known *= self._root_energy / torch.linalg.vector_norm(known[:modes]).clamp_min(math.sqrt(LEAST_ENERGY))
        ahead = torch.addcmul(known, known - now, lead)
        self.known, self.ahead = ProbeFields(known, modes, time), ProbeFields(ahead, modes, time)

    def change_of(self, step: float) -> float:
        """Return what a step of this length changes, of the probe."""
        return step * self._step_unit

    def take_back(self) -> None:
        """Return to the first probe, and stay there."""
        self.use(self._first)
        self._may_follow = False

    def far(self, frames: list[Kept], patches: Tensor) -> tuple[Tensor, Tensor]:
        """Return frames' far fields ``(..., B, modes, N, N)`` with patches ``(..., B, N, N)``, and patterns ``(B, N, N)``."""
        amplitude = patterns_of(frames)
        return torch.fft.fft2(patches.unsqueeze(-3) * self.known.of(frames).probe, norm="ortho"), amplitude


def magnitude_of(far: Tensor) -> Tensor:
    """Return the amplitudes ``(B, N, N)`` of far fields ``(B, modes, N, N)``."""
    if is_batched(far.device):
        found: Tensor = torch.linalg.vector_norm(far, dim=1)
        return found
    return over_modes(intensity(far)).sqrt()  # a modulus takes a CPU as long as a transform


def toward(far: Tensor, excess: Tensor, magnitude: Tensor) -> Tensor:
    """Return far fields ``(B, modes, N, N)`` with the excess ``(B, N, N)`` in place of their amplitudes."""
    if far.shape[1] == 1 and is_batched(far.device):
        found: Tensor = torch.sgn(far) * excess[:, None]
        return found
    return far * (excess / magnitude.clamp_min(1e-6))[:, None]


def over_modes(parts: Tensor) -> Tensor:
    """Return the sum ``(B, N, N)`` over the modes ``(B, modes, N, N)``."""
    return parts[:, 0] if parts.shape[1] == 1 else parts.sum(1)
