r"""The refined layer: an iterative reconstruction of all frames so far, updated in idle time.

A pass over a block of frames minimises the amplitude misfit sum (|F(P O)| - a)^2 with two priors,

    sum_px lambda |O - O_net|^2 + mu sum |grad O|^2,

where O_net is the network's mosaic. The step is the gradient divided by its diagonal curvature sum |P|^2 + lambda + 8 mu,
lengthened for slow phase (:mod:`ptychopinn.refine.slow_phase`), with Nesterov momentum that restarts when the gradient turns
against it. Slow phase settles in about five passes; updates frame by frame need a hundred. A phase ramp over the whole object
is the slowest of all; it is found from the common shift of the patterns (:mod:`ptychopinn.refine.phase_ramp`).

Counts are photons, so lambda is in photons a pixel: amplitudes of Poisson counts have the variance 1/4, and a network error of
standard deviation s gives lambda = 1 / (4 s^2). See :func:`ptychopinn.refine.prior.prior_strength`.

A block holds all frames while they are few, else the newest frame and those nearest to it, so a pass costs the same in a scan
of any length. The curvature of frames outside the block, sum |P|^2, keeps what they have found. Frames live in a buffer bounded
in bytes (:mod:`ptychopinn.refine.frame_buffer`); the oldest are dropped first, and their result is kept in the same way. The
probe is updated once there are enough frames. A pass that diverges is taken back (:attr:`Refiner.setbacks`).

Frames lie on whole pixels or, with ``is_subpixel``, between them (:mod:`ptychopinn.refine.subpixel_shifts`); their positions may
be corrected (:mod:`ptychopinn.refine.position_offsets`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.device import MOST_AT_ONCE, is_batched
from ptychopinn.frame_store import Pattern
from ptychopinn.mosaic.canvas import Box, Canvas
from ptychopinn.mosaic.memory_bound import MemoryBound
from ptychopinn.mosaic.placement import gather_boxes
from ptychopinn.refine.certainty import Certainty, certainty
from ptychopinn.refine.frame_blocks import Block
from ptychopinn.refine.frame_buffer import FrameBuffer, Place, Start
from ptychopinn.refine.frame_light import FrameLight
from ptychopinn.refine.moving_probe import MovingProbe, magnitude_of
from ptychopinn.refine.passes import Passes, evenly
from ptychopinn.refine.probe_growth import ProbeGrowth
from ptychopinn.refine.probe_modes import orthogonal_modes
from ptychopinn.refine.subpixel_shifts import split

BLOCK_PASSES = 6
"""Passes over a block of a scan that is larger than one, before the next block."""
CHUNK_FRAMES = 8
"""Frames in a step on a CPU: small enough to give way to new frames within a millisecond, large enough for the FFTs."""
CERTAINTY_FRAMES = 8
"""Frames that the certainty is taken from."""
MOST_SETBACKS = 3
"""Times that the refinement is begun again after it diverged."""


class Refiner:
    """A live object estimate for one scan.

    Parameters
    ----------
    probe : (modes, N, N) complex64
        Its energy is the expected counts of a frame without sample.
    start
        Gives the network's mosaic ``(h, w)`` on a rectangle of the object's own frame; without it the start is the empty object.
    max_side_px, buffer_bytes
        Frames that would grow the canvas beyond this are not taken; bound on the patterns kept.
    update_probe, finds_modes, follows_drift
        Whether the probe follows; whether it may get more modes, or change during the scan, where frames held out fit better.
    finds_light, has_monitor
        Whether a factor for the beam's intensity in each frame is found, or measured.
    exposure_share
        Share of the time from frame to frame that is exposed while the stage moves; 0 = it stands.
    is_subpixel
        Whether frames lie between the pixels; else positions are rounded.
    bound
        Bound on the memory of the object on a CPU; beyond it the object lies in a file.
    position_bound_px
        How far a position may be corrected along y and x; 0 = not at all, else frames lie between the pixels.
    """

    def __init__(
        self,
        probe: Tensor,
        start: Start | None = None,
        max_side_px: int = 32768,
        buffer_bytes: int = 512 << 20,
        *,
        update_probe: bool = False,
        finds_light: bool = False,
        has_monitor: bool = False,
        finds_modes: bool = False,
        follows_drift: bool = False,
        exposure_share: float = 0.0,
        is_subpixel: bool = False,
        position_bound_px: float = 0.0,
        bound: MemoryBound | None = None,
    ) -> None:
        self.size_px = probe.shape[-1]
        self.moving_probe = self._probe = MovingProbe(probe, may_follow=update_probe)
        """The probe as it moves; another thread may read its fields, and offer it a change."""
        self._bound_px = position_bound_px
        self._is_subpixel = is_subpixel or position_bound_px > 0
        self.has_light = finds_light or has_monitor
        planes = {"object": ((), torch.complex64, 1.0), "coverage": ((), torch.float32, 0.0)}
        self._canvas = Canvas(planes, max_side_px, probe.device, bound)
        self.folder = self._canvas.folder
        self._buffer = FrameBuffer(
            self._canvas,
            self._probe.weight,
            start or (lambda box: torch.ones(box.h, box.w, dtype=torch.complex64, device=probe.device)),
            buffer_bytes=buffer_bytes,
            is_subpixel=self._is_subpixel,
            bound_px=position_bound_px,
        )
        grows = update_probe and (finds_modes or follows_drift)
        self._passes = Passes(
            self._buffer,
            self._probe,
            position_bound_px,
            light=FrameLight(is_measured=has_monitor) if self.has_light else None,
            growth=ProbeGrowth(self._probe, modes=finds_modes, drift=follows_drift) if grows else None,
            exposure_share=exposure_share,
        )
        self._block: Block | None = None
        self.block_passes = BLOCK_PASSES
        """Passes over a block of a scan that is larger than one; fewer where each frame is to be visited soon."""
        self.updates = 0
        self.setbacks = 0
        """How often it diverged and was begun again from the start."""

    def reserve(self, first_px: tuple[float, float], last_px: tuple[float, float]) -> bool:
        """Grow the canvas for frames at positions from the first to the last corner; False if it would be too large."""
        half, rim = self.size_px // 2, math.ceil(self._bound_px)
        top, left = (math.floor(side) - half - rim for side in first_px)
        bottom, right = (math.ceil(side) + half + rim for side in last_px)
        return self._canvas.ensure(top, left, bottom, right)

    @property
    def probe(self) -> Tensor:
        """The probe as it is now, its modes orthogonal and ordered."""
        return orthogonal_modes(self._probe.now)

    @property
    def trials(self) -> list[tuple[str, float, float]]:
        """Trials of a richer probe: kind, mean gain of the frames held out of their squared misfit, and its standard error."""
        return [] if self._passes.growth is None else self._passes.growth.gains

    @property
    def shape(self) -> tuple[int, int]:
        """Canvas size ``(H, W)``."""
        return self._canvas.shape

    @property
    def origin_px(self) -> tuple[int, int]:
        """Place of canvas pixel (0, 0) in the object's own frame."""
        return self._canvas.origin_px

    @property
    def left_out(self) -> set[int]:
        """Frames that are not worked on, since their amplitudes cannot be true."""
        return self._buffer.left_out

    @property
    def kept_bytes(self) -> int:
        """Memory of the patterns in the buffer."""
        return self._buffer.kept_bytes

    @property
    def rfactor(self) -> float | None:
        """R-factor over the buffered frames, each as it was at its last visit; None before the first."""
        return self._buffer.rfactor

    @property
    def least_visits(self) -> int:
        """Visits of the least visited frame in the buffer (0 when empty)."""
        return self._buffer.least_visits

    def visits(self, index: int) -> int | None:
        """Return the visits of a frame; None where it is not in the buffer."""
        return self._buffer.visits(index)

    def add(self, index: int, pattern: Pattern, position_px: Place, monitor: float | None = None) -> None:
        """Take a frame, and the beam monitor's value."""
        self._buffer.add(index, pattern, position_px, monitor)

    def give_back(self, size_bytes: int) -> None:
        """Free this much memory of the oldest frames; the newest one is always kept."""
        self._buffer.give_back(size_bytes)

    def admit_all(self) -> None:
        """Lay the start under every frame that is new, so that the object covers all of them."""
        self._buffer.admit_all()

    def light(self, index: int) -> float:
        """Return the factor on a frame's amplitudes that was found for the beam's intensity; 1 where there is none."""
        frame = self._buffer.kept(index)
        return 1.0 if frame is None else frame.light

    def settled(self, most: int, least_visits: int) -> list[tuple[int, Tensor]]:
        """Return some of the frames visited often enough, with the object ``(N, N)`` at their place."""
        return self._buffer.settled(most, least_visits)

    def patterns(self) -> list[tuple[int, Pattern]]:
        """Return index and pattern of the frames in the buffer, for another refiner or :func:`at_middle`."""
        return self._buffer.patterns()

    def places(self) -> dict[int, tuple[float, float]]:
        """Return the positions of the kept frames as they are now, pixels, by index."""
        return self._buffer.places()

    def pattern(self, index: int) -> Pattern | None:
        """Return the pattern of a kept frame, else None."""
        frame = self._buffer.kept(index)
        return None if frame is None else frame.pattern

    def offsets_px(self, indexes: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float64]:
        """Return by how much the positions of frames are corrected ``(n, 2)``; 0 where they are not."""
        return self._buffer.offsets_px(indexes)

    def frame_rfactors(self) -> dict[int, float]:
        """Return R of each buffered frame at its last visit, by index; safe from any thread."""
        return self._buffer.frame_rfactors()

    def step(self) -> int:
        """Work on the next few frames of the pass; return how many. 0 if there is none."""
        block = self._block
        if self.has_given_up:
            return 0
        if block is None or (block.place == 0 and self._is_spent(block)):
            block = self._block = self._passes.begin(block)
            if block is None:
                return 0
        most = MOST_AT_ONCE if is_batched(block.known.device) else CHUNK_FRAMES
        count = self._passes.step(block, most)
        if block.place == len(block.frames):
            self._end_pass(block)
        self.updates += count
        return count

    def _is_spent(self, block: Block) -> bool:
        return (
            self._buffer.is_displaced
            or self._buffer.has_new
            or (block.passes >= self.block_passes and len(block.frames) < len(self._buffer))
        )

    def _end_pass(self, block: Block) -> None:
        if not self._passes.finish(block):
            self._passes.begin_again(block)
            self._block = None
            self.setbacks += 1

    @property
    def has_given_up(self) -> bool:
        """Whether it has diverged too often: the picture stays as it was begun."""
        return self.setbacks >= MOST_SETBACKS

    def certainty(self) -> Certainty | None:
        """Return how far the object can be believed, by some of the frames; None before there is one."""
        admitted = self._buffer.admitted
        if not admitted:
            return None
        frames = evenly(admitted, CERTAINTY_FRAMES)
        value, coverage = (self._canvas.planes[name] for name in ("object", "coverage"))
        patches = torch.stack([value[self._buffer.box(frame).window] for frame in frames])
        (far, amplitude), (far_empty, _) = (self._probe.far(frames, p) for p in (patches, torch.ones_like(patches)))
        return certainty(
            value, coverage, self._probe.peak, magnitude_of(far), magnitude_of(far_empty), amplitude=amplitude
        )

    def take_dirty(self) -> list[Box]:
        """Return the rectangles that changed since the last call."""
        return self._canvas.take_dirty()

    def read(self, box: Box | None = None) -> tuple[Tensor, Tensor]:
        """Return object ``(h, w)`` complex64 (0 where no frame lies) and coverage ``(h, w)`` float32."""
        window = (box or Box(0, 0, *self.shape)).window
        coverage = self._canvas.planes["coverage"][window]
        return torch.where(coverage > 0, self._canvas.planes["object"][window], 0), coverage.clone()

    def read_boxes(self, boxes: Sequence[Box]) -> list[tuple[Tensor, Tensor]]:
        """Return object and coverage of rectangles: ``(h, w)`` of each, on a GPU ``(P,)`` of all, one after another."""
        planes = self._canvas.planes
        if not is_batched(planes["object"].device):
            return [self.read(box) for box in boxes]
        value, coverage = (gather_boxes(planes[name], boxes) for name in ("object", "coverage"))
        return [(torch.where(coverage > 0, value, 0), coverage)]

    @property
    def corrects(self) -> bool:
        """Whether positions may be corrected."""
        return self._bound_px > 0

    def probes_at(
        self, positions_px: Sequence[tuple[float, float]] | NDArray[np.float64], indexes: Sequence[int] = ()
    ) -> Tensor:
        """Return the probe ``(B or 1, modes, N, N)`` at positions, of the frames with these numbers if they are given."""
        shifts = [split((float(y), float(x)))[1] if self._is_subpixel else (0, 0) for y, x in positions_px]
        paths = [frame.path if (frame := self._buffer.kept(i)) else () for i in indexes]
        return self._probe.known.at(shifts, paths, indexes)

    def cut(self, position_px: tuple[float, float]) -> Tensor:
        """Return the patch ``(N, N)`` complex64 at a position, rounded to whole pixels; it must lie on the canvas."""
        return self._canvas.planes["object"][self._canvas.place(Box.around(position_px, self.size_px)).window]
