r"""Longer steps for slow phase, by how weakly the patterns depend on it.

A phase wave of spatial frequency q over the object changes the amplitudes of a frame by the share

    h(q) = sum_k |u*(k) Y(k - q) - u(k) Y*(k + q)|^2 / (4 sum_k |Y(k)|^2),   Y = F(P O),  u = Y / |Y|

of the greatest possible change: about 1/2 where patterns are speckle, and proportional to q^2 for waves longer than the probe. A
plain step is right for a share of 1; with h it takes about 1 / h passes, so slow phase comes last. Here the phase part of a step
is made (1/2 + p) / (h + p) times longer, at most LONGEST; p is the prior's share of the curvature, and more where there are few
photons, because their noise would come first. h is measured on a few frames, with the object as it is.

Where one part of the sample responds to slow phase more than another, such steps can be too long. They then turn back; they are
halved, and grow again slowly.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ptychopinn.device import is_batched
from ptychopinn.physics.diffraction import intensity
from ptychopinn.refine.frame_blocks import Block

LONGEST = 20.0
REACH = 8
"""Waves that are made faster, in periods over N pixels; the last half of them less and less."""

SAMPLE_FRAMES = 4
SAMPLE_AT_ONCE_PX = 4 * 64**2
SURE_SHARE = 0.9
LOOKED_AT = (0, 3, 10)
DARK_AMPLITUDE = 0.3
DOUBT = 20.0
SHRINK, GROW = 0.5, 1.1
REST_PASSES, AFRESH = 3, 0.3
"""After so many passes over more frames than ever, trust is at least this: while frames come, steps turn back because of them,
not because they are long. A scan of 196 frames had a trust of 2e-7 with its last frame, which takes 150 passes to grow again."""
UNSETTLED = 0.5
"""Share of the length while the probe still moves, since slow phase takes on a part of what the probe is wrong by."""


class SlowPhase:
    """How the passes over one object go on with its slow phase."""

    def __init__(self) -> None:
        self.trust = 1.0
        self._stiffness: Tensor | None = None
        self._seen: list[Tensor] = []
        self._longer: tuple[Tensor, Tensor, bool] | None = None
        self._passes = self._frames = self._rested = 0

    def is_due(self, frames: int) -> bool:
        """Whether a pass over this number of frames should look at patterns: at intervals, and when the frames have doubled."""
        if frames >= 2 * self._frames:
            self._frames, self._passes = frames, 0
        return self._passes in LOOKED_AT

    def look(self, far: Tensor, amplitude: Tensor) -> None:
        """Take frames' shares h / q^2 ``(B, 2 Q + 1, 2 Q + 1)`` from far fields ``(B, modes, N, N)`` and patterns."""
        n = far.shape[-1]
        reach = min(REACH, n // 4)
        around = torch.arange(-reach, n + reach, device=far.device) % n
        wide = far[..., around[:, None], around]  # views of it are the far fields moved, without a copy
        magnitude = intensity(far).sum(1, keepdim=True).sqrt()
        unit = (far / magnitude.clamp_min(DARK_AMPLITUDE)).conj() * (amplitude >= 0)[:, None]
        whole = 4 * magnitude.square().sum((1, 2, 3)).clamp_min(1e-12)
        found = torch.zeros(len(far), 2 * reach + 1, 2 * reach + 1, device=far.device)
        at_once = 2 * reach + 1 if is_batched(far.device) else 1
        for y in range(reach + 1):
            columns = range(-reach if y else 1, reach + 1)
            for begin in columns[::at_once]:
                xs = range(begin, min(begin + at_once, reach + 1))
                share = _shares(unit, wide, reach, y, xs)
                found[:, reach + y, reach + xs[0] : reach + xs[-1] + 1] = share
                found[:, reach - y, reach - xs[-1] : reach - xs[0] + 1] = share.flip(1)
        waves = torch.arange(-reach, reach + 1, device=far.device).square()
        found /= whole[:, None, None] * (waves[:, None] + waves).clamp_min(1)
        found[:, reach, reach] = (found[:, reach + 1, reach] + found[:, reach, reach + 1]) / 2
        self._seen.append(found)

    def settle(self) -> None:
        """Go by the frames looked at since the last call, if any."""
        if self._seen:
            self._stiffness = torch.quantile(torch.cat(self._seen), SURE_SHARE, dim=0)
            self._seen = []

    def seek(self, block: Block, step: Tensor, curvature: Tensor) -> Tensor | None:
        """Find the longer step of slow phase, from a pass's plain step ``(H, W)`` and the curvature that divided its descent.

        Return its product with the last one, below 0 where it turns back; None without a longer step.
        """
        self._passes += 1
        self._longer = None
        if block.passes == REST_PASSES and len(block.frames) > self._rested:
            self._rested, self.trust = len(block.frames), max(self.trust, AFRESH)
        if self._stiffness is None:
            return None
        if block.gain is None or block.gain[0] is not self._stiffness:
            block.gain = self._stiffness, _gain(block, self._stiffness)
        direction, root = torch.sgn(block.ahead), curvature.sqrt()
        pull = torch.fft.rfft2((step * root * direction.conj()).imag)
        slow = torch.fft.irfft2(pull * block.gain[1], s=step.shape)
        last, block.slow = block.slow, slow
        self._longer = direction, slow / root, last is not None
        return torch.dot(slow.flatten(), (slow if last is None else last).flatten())

    def lengthen(self, step: Tensor, product: float, *, is_settled: bool) -> None:
        """Add what :meth:`seek` found to the step, in place; ``product`` is what it returned, the probe may be settled."""
        if self._longer is None:
            return
        direction, more, has_last = self._longer
        self._longer = None
        if has_last:
            self.trust = self.trust * SHRINK if product < 0 else min(1.0, self.trust * GROW)
        step.addcmul_(direction, more, value=1j * self.trust * (1.0 if is_settled else UNSETTLED))


def _shares(unit: Tensor, wide: Tensor, reach: int, y: int, xs: range) -> Tensor:
    """Return sum |u*(k) Y(k - q) - u(k) Y*(k + q)|^2 ``(B, len(xs))`` for waves q = (y, x), x in a range.

    ``unit (B, modes, N, N)`` is u*; ``wide`` is Y with ``reach`` more pixels on each side.
    """
    n = unit.shape[-1]
    one, other = (
        (unit.unsqueeze(2) * _moved_along(wide, corner, n, step=-sign, count=len(xs))).sum(1)
        for sign in (1, -1)
        for corner in [(reach - sign * y, reach - sign * xs[0])]
    )
    return torch.view_as_real(one - other.conj()).square().sum((-3, -2, -1))


def _moved_along(wide: Tensor, corner: tuple[int, int], n: int, *, step: int, count: int) -> Tensor:
    """Return squares ``(B, modes, count, n, n)`` of fields: the first at a corner, each a pixel further along x; step 1 or -1."""
    top, left = corner
    rows = wide[..., top : top + n, :]
    if count == 1:
        return rows[..., None, :, left : left + n]
    first = left if step > 0 else left - count + 1
    views = rows.unfold(-1, n, 1).narrow(-2, first, count).movedim(-2, 2)
    return views if step > 0 else views.flip(2)


def _gain(block: Block, stiffness: Tensor) -> Tensor:
    """Return by how much more than once each frequency ``(H, W // 2 + 1)`` goes."""
    height, width = block.descent.shape
    reach, n = stiffness.shape[0] // 2, block.size_px
    y = torch.fft.fftfreq(height, device=stiffness.device)[:, None].expand(-1, width // 2 + 1) * n
    x = torch.fft.rfftfreq(width, device=stiffness.device)[None].expand(height, -1) * n
    square = y**2 + x**2
    places = torch.stack((x, y), dim=-1)[None] / reach
    near = functional.grid_sample(stiffness[None, None], places, align_corners=True, padding_mode="border")[0, 0]
    lit = block.curvature > 0.3 * block.curvature.max()
    count, light = lit.sum(), torch.where(lit, block.curvature, 0.0).sum()
    prior = torch.where(lit, block.prior_weight / block.curvature, 0.0).sum() / count + DOUBT * count / light
    longer = ((0.5 + prior) / (near * square + prior).clamp_min(1e-6)).clamp(1.0, LONGEST)
    gain: Tensor = (longer - 1) * (2 - 2 * square.sqrt() / reach).clamp(0.0, 1.0)
    return gain
