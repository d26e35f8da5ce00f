"""Frames of the refiner, and blocks of them with the sums of a pass."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ptychopinn.device import is_batched
from ptychopinn.frame_store import Pattern, StoredPattern, at_corner
from ptychopinn.mosaic.canvas import Box
from ptychopinn.mosaic.placement import Corners, Windows
from ptychopinn.physics.diffraction import differences
from ptychopinn.refine.no_data import mask_
from ptychopinn.refine.position_offsets import Offset, OffsetPulls
from ptychopinn.refine.subpixel_shifts import Shift


@dataclass(slots=True, eq=False)
class Kept:
    """A frame in the buffer. Once admitted, ``pattern`` is a stored one; before, it may be amplitudes ``(N, N)``.

    ``corner`` is where its patch lies now, the probe moved by ``shift`` on it; ``start_corner`` where the start was laid.
    ``light`` is a factor on the amplitudes that are computed for it, ``monitor`` the beam's light as it was measured. ``path``
    are the places of the probe during the exposure, relative to ``shift``, where the stage moves.
    """

    pattern: Pattern
    position_px: tuple[float, float]
    index: int = 0
    corner: tuple[int, int] = (0, 0)
    start_corner: tuple[int, int] = (0, 0)
    shift: Shift = (0, 0)
    offset: Offset = field(default_factory=Offset)
    is_admitted: bool = False
    visits: int = 0
    misfit: float = 0.0
    least_misfit: float = math.inf
    total: float = 0.0
    light: float = 1.0
    monitor: float | None = None
    path: tuple[Shift, ...] = ()


def patterns_of(frames: list[Kept]) -> Tensor:
    """Return the amplitudes ``(B, N, N)`` of admitted frames, zero frequency at the corner."""
    return at_corner([frame.pattern for frame in frames if isinstance(frame.pattern, StoredPattern)])


DIVERGED = 2.0
"""A pass has diverged when the misfit of its frames is this many times the least that they had. Convergence wavers by 1.2."""
USUAL_SHARE = 0.7
"""Share of the frames that have been visited so often, where a block's visits are told: new ones come while others are known."""
RISEN = 1.05
"""A pass has gone too far when the misfit has risen by this factor since the last; convergence of slow phase wavers by less."""


class Block:
    """Frames that are worked on together, and the sums of the pass over them. Places are relative to ``corner``.

    ``visits`` is how often most of the frames had been visited before the pass; ``passes`` counts those of this block.
    """

    def __init__(self, frames: list[Kept], corner: tuple[int, int], known: Tensor, size_px: int) -> None:
        self.frames = frames
        self.size_px = size_px
        self.corner = corner
        self.known = known
        self.ahead = known.clone()
        self.prior = known.clone()
        self.prior_weight = torch.zeros(known.shape, device=known.device)
        self.smoothness = torch.zeros((), device=known.device)
        self.descent = torch.zeros_like(known)
        self.curvature = torch.zeros_like(self.prior_weight)
        self.stiffness = self.prior_weight
        self.slow: Tensor | None = None
        self.gain: tuple[Tensor, Tensor] | None = None
        self.unseen: list[Kept] = []
        self.shift = torch.zeros(2, 2, device=known.device)
        self.pulls = OffsetPulls()
        self.unread: list[Tensor] = []
        self.misfit = math.inf
        self.place = 0
        self.passes = 0
        self.visits = _usual_visits(frames)
        self._windows: tuple[list[Kept], Windows] | None = None
        self._patterns: tuple[list[Kept], Tensor] | None = None
        self._beside: tuple[Tensor, Tensor] | None = None

    @property
    def has_diverged(self) -> bool:
        """Whether the misfit of the frames that were visited before has risen beyond what convergence does."""
        known = [frame for frame in self.frames if frame.visits > 1]
        return not sum(f.misfit for f in known) <= DIVERGED * sum(f.least_misfit for f in known)  # NaN counts as risen

    @property
    def has_risen(self) -> bool:
        """Whether the frames' misfit is clearly higher than at the end of the pass that this was last asked after."""
        last, self.misfit = self.misfit, sum(frame.misfit for frame in self.frames)
        return self.misfit > RISEN * last

    def next_pass(self) -> None:
        """Empty the sums for the next pass."""
        torch._foreach_zero_([self.descent, self.curvature, self.shift])
        self.passes, self.place = self.passes + 1, 0
        self.visits = _usual_visits(self.frames)

    def window(self, corner: tuple[int, int]) -> tuple[slice, slice]:
        """Return where a frame with this corner lies."""
        return Box(corner[0] - self.corner[0], corner[1] - self.corner[1], self.size_px, self.size_px).window

    def cut(self, picture: Tensor, frames: list[Kept]) -> Tensor:
        """Return the patches ``(B, N, N)`` of an object of the block under some of its frames."""
        return self.windows(frames).gather(picture)

    def windows(self, frames: list[Kept]) -> Windows:
        """Return where frames lie on the block, for its planes."""
        if self._windows is None or self._windows[0] != frames:  # often all frames of a block, pass after pass
            width, device = self.known.shape[1], self.known.device
            self._windows = frames, Windows(self.corners(frames), self.size_px, width, device)
        return self._windows[1]

    def patterns(self, frames: list[Kept]) -> Tensor:
        """Return the amplitudes ``(B, N, N)`` of some of the frames, zero frequency at the corner; nobody may change them."""
        if self._patterns is None or self._patterns[0] != frames:
            self._patterns = frames, patterns_of(frames)
        return self._patterns[1]

    def add_bend(self) -> None:
        """Add the descent of half the sum over |differences of neighbouring pixels|^2, times the smoothness, to the pass."""
        if not is_batched(self.known.device):
            add_bend(self.descent, self.ahead * self.smoothness)
            return
        if self._beside is None:
            self._beside = _five_points(self.known.shape[0], self.known.shape[1], self.smoothness)
        pixels, weights = self._beside
        self.descent.view(-1).addmv_(self.ahead.flatten()[pixels], weights)

    def corners(self, frames: list[Kept]) -> Corners:
        """Return where frames lie on the block, ``(B, 2)``."""
        places = np.array([frame.corner for frame in frames], dtype=np.int64).reshape(-1, 2)
        return places - np.array(self.corner, dtype=np.int64)

    def add_shift(self, magnitude: Tensor, amplitude: Tensor, mask: Tensor) -> None:
        """Take by how much computed patterns ``(B, N, N)`` lie beside the measured ones, but where those have no data.

        The sums are pull and stiffness ``(2, 2)``, each (y, x), of the common shift, in least squares, times 4.
        """
        excess = torch.addcmul(magnitude.square(), amplitude, amplitude, value=-1)
        excess.div_(magnitude.clamp_min(0.5))  # unbiased at few counts too
        felt = mask_(differences(magnitude), mask).flatten(1)
        length = torch.linalg.vector_norm(felt, dim=1)
        self.shift[0].addmv_(felt, excess.flatten())
        self.shift[1].addcmul_(length, length)

    def follow(self, last: Block) -> None:
        """Take the lead that the last block had over the object, and its step of slow phase, where both lie."""
        low = [max(a, b) for a, b in zip(last.corner, self.corner, strict=True)]
        ends = [
            min(a + s, b + t)
            for a, s, b, t in zip(last.corner, last.ahead.shape, self.corner, self.ahead.shape, strict=True)
        ]
        if any(e <= b for b, e in zip(low, ends, strict=True)):
            return
        old, new = (
            tuple(slice(b - o, e - o) for b, e, o in zip(low, ends, origin, strict=True))
            for origin in (last.corner, self.corner)
        )
        self.ahead[new] += last.ahead[old] - last.known[old]
        if last.slow is not None:
            self.slow = torch.zeros_like(self.prior_weight)
            self.slow[new] = last.slow[old]


def _usual_visits(frames: list[Kept]) -> int:
    """Return how often most of the frames have been visited."""
    visits = sorted(frame.visits for frame in frames)
    return visits[int((1 - USUAL_SHARE) * len(visits))] if visits else 0


def add_bend(descent: Tensor, picture: Tensor) -> None:
    """Add the descent of half the sum over |differences of neighbouring pixels|^2 of a picture; curvature 8 at most."""
    down, right = picture[1:] - picture[:-1], picture[:, 1:] - picture[:, :-1]
    descent[1:].add_(down)
    descent[:-1].sub_(down)
    descent[:, 1:].add_(right)
    descent[:, :-1].sub_(right)


def _five_points(height: int, width: int, strength: Tensor) -> tuple[Tensor, Tensor]:
    """Return each pixel and its four neighbours as flat indexes ``(height width, 5)``, and their weights ``(5,)`` complex.

    A neighbour beyond the rim is the pixel itself, which bends nothing.
    """
    y = torch.arange(height, device=strength.device)[:, None].expand(-1, width)
    x = torch.arange(width, device=strength.device).expand(height, -1)
    places = [
        (y + dy).clamp(0, height - 1) * width + (x + dx).clamp(0, width - 1)
        for dy, dx in ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))
    ]
    weights = torch.full((5,), -1.0, device=strength.device)
    weights[0] = 4.0
    return torch.stack(places, dim=-1).flatten(0, 1), (weights * strength).to(torch.complex64)


def steepness(picture: Tensor, coverage: Tensor) -> Tensor:
    """Return the mean over both axes' |differences of neighbouring pixels|^2, added, where coverage ``(H, W)`` lies."""
    total = torch.zeros((), device=coverage.device)
    for axis in (0, 1):
        lit = torch.minimum(
            coverage.narrow(axis, 1, coverage.shape[axis] - 1), coverage.narrow(axis, 0, coverage.shape[axis] - 1)
        )
        square = picture.diff(dim=axis).abs().square()
        total += (square * lit).sum() / lit.sum().clamp_min(1e-12)
    return total
