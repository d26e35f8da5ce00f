"""The frames that the refiner keeps: bounded in bytes, laid on the canvas when they are admitted, chosen for blocks."""

from __future__ import annotations

import math
from array import array
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.frame_store import FrameStore, Pattern, StoredPattern
from ptychopinn.mosaic.canvas import Box, Canvas
from ptychopinn.mosaic.placement import scatter_add
from ptychopinn.physics.scan_check import MOST_BRIGHT
from ptychopinn.refine.frame_blocks import Kept
from ptychopinn.refine.subpixel_shifts import split

ADMITTED_FRAMES = 64
"""Frames admitted at once: few rectangles of the canvas, little memory."""
BLOCK_FRAMES = 1024
"""Frames worked on together; a pass over them costs the same in a scan of any length."""
NEW_SHARE = 10.0
"""Weight of what is there already when the start is blended in under a new frame."""

Start = Callable[[Box], Tensor]
Place = tuple[float, float]
"""Position (y, x), object pixels."""


class FrameBuffer:
    """Frames of one scan, the object's canvas under them, and their misfits at the last visit.

    Attributes
    ----------
    start
        Gives the picture that the object begins with on a rectangle.
    is_displaced
        Whether frames have moved off the pixels that they lie on.
    left_out
        Frames that are not worked on, since their amplitudes cannot be true.
    """

    def __init__(
        self, canvas: Canvas, weight: Tensor, start: Start, *, buffer_bytes: int, is_subpixel: bool, bound_px: float
    ) -> None:
        self.canvas = canvas
        self.weight = weight
        self.start = start
        self._is_subpixel = is_subpixel
        self._bound_px = bound_px
        self.size_px = weight.shape[-1]
        self._frames: OrderedDict[int, Kept] = OrderedDict()
        self._visits: Counter[int] = Counter()
        self._frame_bytes = 4 * self.size_px**2
        self._most_frames = max(1, buffer_bytes // self._frame_bytes)
        self._new: list[int] = []
        self._gone, self._gone_px = array("q"), array("f")
        self._misfit = self._total = 0.0
        self._random = np.random.default_rng(0)
        self._store = FrameStore()
        self.is_displaced = False
        self.left_out: set[int] = set()

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def has_new(self) -> bool:
        """Whether frames wait to be admitted."""
        return bool(self._new)

    @property
    def admitted(self) -> list[Kept]:
        """The frames that lie on the canvas."""
        return [frame for frame in self._frames.values() if frame.is_admitted]

    def next_block(self) -> tuple[list[Kept], bool]:
        """Admit what is new; return the frames to work on next, without impossible ones, and whether frames had moved."""
        seed = next((self._frames[i] for i in reversed(self._new) if i in self._frames), None)
        self.admit_all()
        have_moved = self._move_to_pixels()
        return self._believable(_block(list(self._frames.values()), seed)), have_moved

    def add(self, index: int, pattern: Pattern, position_px: Place, monitor: float | None = None) -> None:
        """Take a frame."""
        self._frames[index] = Kept(pattern, position_px, index, monitor=monitor)
        self._visits[0] += 1
        self._new.append(index)
        if len(self._frames) > self._most_frames:
            self._let_go(next(iter(self._frames)))

    @property
    def kept_bytes(self) -> int:
        """Memory of the patterns in the buffer."""
        return len(self._frames) * self._frame_bytes

    def give_back(self, size_bytes: int) -> None:
        """Let go of the oldest frames until so much memory is free; the newest one is always kept."""
        for _ in range(min(len(self._frames) - 1, -(-size_bytes // self._frame_bytes))):
            self._let_go(next(iter(self._frames)))

    def _let_go(self, index: int) -> None:
        self._admit([index])
        if index in self._frames:
            self._forget(index)

    def _forget(self, index: int) -> None:
        frame = self._frames.pop(index)
        if frame.offset.moves:
            self._gone_px.extend(frame.offset.known_px)  # before its index: other threads read both
            self._gone.append(index)
        self._visits[frame.visits] -= 1
        if frame.visits > 0:
            self._misfit -= frame.misfit
            self._total -= frame.total

    def admit_all(self) -> None:
        """Lay the start under every frame that is new, so that the object covers all of them."""
        new, self._new = self._new, []
        for begin in range(0, len(new), ADMITTED_FRAMES):
            self._admit(new[begin : begin + ADMITTED_FRAMES])

    def _admit(self, indexes: Sequence[int]) -> None:
        """Blend the start into the object under frames that are new; forget those that would grow the canvas too far."""
        frames = []
        new = {i: frame for i in indexes if (frame := self._frames.get(i)) is not None and not frame.is_admitted}
        self._keep_patterns(list(new.values()))
        for index, frame in new.items():
            if not all(map(math.isfinite, (frame.total, *frame.position_px))):
                self.left_out.add(index)
                self._forget(index)
            elif self._place(frame):
                frames.append(frame)
            else:
                self._forget(index)
        if not frames:
            return
        here = around([frame.corner for frame in frames], self.size_px)
        is_dense = here.h * here.w <= len(frames) * self.size_px**2
        for some, box in [(frames, here)] if is_dense else [([f], Box(*f.corner, *self.weight.shape)) for f in frames]:
            self._blend(some, box)

    def _keep_patterns(self, frames: list[Kept]) -> None:
        """Store the patterns of new frames, those that are not, and enter the sum of each frame's amplitudes."""
        own = [(frame, frame.pattern) for frame in frames if isinstance(frame.pattern, Tensor)]
        if own:
            stored = self._store.put(torch.stack([pattern for _, pattern in own]))
            for (frame, _), pattern in zip(own, stored, strict=True):
                frame.pattern = pattern
        sums = [frame.pattern.sums for frame in frames if isinstance(frame.pattern, StoredPattern)]
        for frame, total in zip(frames, torch.stack(sums).tolist() if sums else [], strict=True):
            frame.total = total

    def _place(self, frame: Kept) -> bool:
        """Find a frame's place on the canvas; False if that would grow too large."""
        n = self.size_px
        (y, x), shift = split(frame.position_px)
        top, left, rim = y - n // 2, x - n // 2, math.ceil(self._bound_px)
        if not self.canvas.ensure(top - rim, left - rim, top + n + rim, left + n + rim):
            return False
        frame.corner = frame.start_corner = (top, left)
        if self._is_subpixel:
            frame.shift = shift
        frame.is_admitted = True
        return True

    def _blend(self, frames: list[Kept], here: Box) -> None:
        """Blend the start into the object under frames, in proportion to how little is covered there."""
        box = self.canvas.place(here)
        weight = torch.zeros(here.h, here.w, device=self.weight.device)
        corners = np.array([frame.corner for frame in frames]) - np.array([here.y, here.x])
        scatter_add(weight, corners, self.weight.expand(len(frames), -1, -1))
        for frame in frames:
            self.canvas.touch(*self.box(frame))
        coverage, target = (self.canvas.planes[name][box.window] for name in ("coverage", "object"))
        share = weight / (weight + NEW_SHARE * coverage).clamp_min(1e-12)
        target += share * (self.start(here) - target)
        coverage += weight

    def box(self, frame: Kept) -> Box:
        """Return where a frame lies on the canvas."""
        return self.canvas.place(Box(*frame.corner, self.size_px, self.size_px))

    def _believable(self, frames: list[Kept]) -> list[Kept]:
        """Return the frames without those that are far brighter than the others, which are forgotten."""
        limit = MOST_BRIGHT * float(np.median([frame.total for frame in frames])) if frames else 0.0
        odd = {id(frame) for frame in frames if frame.total > limit > 0}
        if not odd:
            return frames
        for index, frame in list(self._frames.items()):
            if id(frame) in odd:
                self.canvas.planes["coverage"][self.box(frame).window].sub_(self.weight).clamp_min_(0.0)
                self.left_out.add(index)
                self._forget(index)
        return [frame for frame in frames if id(frame) not in odd]

    def _move_to_pixels(self) -> bool:
        """Lay frames that have moved on the pixels nearest to them; False if none had moved so far."""
        if not self.is_displaced:
            return False
        self.is_displaced = False
        n = self.size_px
        for frame in self._frames.values():
            (y, x), shift = split(moved(frame.position_px, frame.offset.ahead_px))
            top, left = y - n // 2, x - n // 2
            if (top, left) != frame.corner:  # on the canvas, which has a rim as wide as the bound
                coverage = self.canvas.planes["coverage"]
                coverage[self.box(frame).window].sub_(self.weight).clamp_min_(0.0)
                frame.corner, frame.shift = (top, left), shift
                coverage[self.box(frame).window] += self.weight
        return True

    def note(self, frames: list[Kept], misfits: list[float]) -> None:
        """Enter a visit of frames, with the misfits that it found."""
        for frame, misfit in zip(frames, misfits, strict=True):
            if frame.visits == 0:
                self._total += frame.total
            self._visits[frame.visits] -= 1
            frame.visits += 1
            self._visits[frame.visits] += 1
            self._misfit += misfit - frame.misfit
            frame.misfit = misfit
            frame.least_misfit = min(frame.least_misfit, misfit)

    @property
    def rfactor(self) -> float | None:
        """R-factor over the buffered frames, each as it was at its last visit; None before the first."""
        rfactor = self._misfit / self._total if self._total > 0 else math.nan
        return rfactor if math.isfinite(rfactor) else None

    @property
    def least_visits(self) -> int:
        """Visits of the least visited frame in the buffer (0 when empty)."""
        return min((visits for visits, count in self._visits.items() if count > 0), default=0)

    def visits(self, index: int) -> int | None:
        """Return the visits of a frame; None where it is not kept."""
        frame = self._frames.get(index)
        return None if frame is None else frame.visits

    def kept(self, index: int) -> Kept | None:
        """Return a frame; None where it is not kept."""
        return self._frames.get(index)

    def settled(self, most: int, least_visits: int) -> list[tuple[int, Tensor]]:
        """Return some of the frames visited often enough, with the object ``(N, N)`` at their place."""
        keys = list(self._frames)
        some = self._random.choice(len(keys), min(most, len(keys)), replace=False).tolist() if keys else []
        frames = [(keys[i], self._frames[keys[i]]) for i in some]
        planes = self.canvas.planes["object"]
        return [(key, planes[self.box(f).window].clone()) for key, f in frames if f.visits >= least_visits]

    def frame_rfactors(self) -> dict[int, float]:
        """Return R of each frame at its last visit, by index; frames without a visit are left out."""
        found = {index: (frame.visits, frame.misfit, frame.total) for index, frame in list(self._frames.items())}
        return {i: misfit / total for i, (visits, misfit, total) in found.items() if visits > 0 and total > 0}

    def patterns(self) -> list[tuple[int, Pattern]]:
        """Return index and pattern of each frame."""
        return [(index, frame.pattern) for index, frame in self._frames.items()]

    def places(self) -> dict[int, tuple[float, float]]:
        """Return the positions of the frames as they are now, pixels, by index."""
        return {index: moved(frame.position_px, frame.offset.known_px) for index, frame in self._frames.items()}

    def offsets_px(self, indexes: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float64]:
        """Return by how much the positions of frames are corrected ``(n, 2)``; 0 where they are not."""
        known = self._gone[:]  # a copy: the engine's thread may append meanwhile
        places = self._gone_px[: 2 * len(known)]
        gone = dict(zip(known, zip(places[::2], places[1::2], strict=True), strict=True))
        found = [
            frame.offset.known_px if (frame := self._frames.get(int(index))) else gone.get(int(index), (0.0, 0.0))
            for index in indexes
        ]
        return np.array(found, dtype=np.float64).reshape(-1, 2)


def _block(frames: list[Kept], seed: Kept | None) -> list[Kept]:
    """Return the frames nearest to the seed, or to the one that was visited least; all of them where they are few."""
    if len(frames) <= BLOCK_FRAMES:
        return frames
    if seed is None or not seed.is_admitted:
        seed = min(frames, key=lambda f: f.visits)
    corners = np.array([f.corner for f in frames])
    distance = np.square(corners - np.array(seed.corner)).sum(axis=1)
    nearest = np.argpartition(distance, BLOCK_FRAMES)[:BLOCK_FRAMES]
    return [frames[i] for i in nearest.tolist()]


def around(corners: Sequence[tuple[int, int]], size_px: int) -> Box:
    """Return the rectangle around patches with these corners."""
    (top, left), (bottom, right) = np.min(corners, axis=0).tolist(), np.max(corners, axis=0).tolist()
    return Box(top, left, bottom - top + size_px, right - left + size_px)


def moved(position_px: tuple[float, float], offset_px: tuple[float, float]) -> tuple[float, float]:
    """Return a position with its offset, pixels."""
    return position_px[0] + offset_px[0], position_px[1] + offset_px[1]
