"""Resolution while a scan runs: Fourier ring correlation of two pictures, each from every other frame.

The halves share no frame, no network and no start: each begins with the lift of its own frames and is refined alone. So noise
does not correlate, and the resolution is that of half of the frames, a little worse than that of all.

Only the frames nearest to the middle of the scan are used, so the cost does not grow with the scan. They are chosen again when
the scan has twice as many frames. All work is done in slices of a few frames.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ptychopinn.device import to_host
from ptychopinn.diagnosis.resolution import RingCorrelation, ring_correlation
from ptychopinn.errors import GeometryError
from ptychopinn.frame_store import Pattern, at_middle
from ptychopinn.model.lift import Lift
from ptychopinn.mosaic.canvas import Box
from ptychopinn.mosaic.mosaic import Mosaic
from ptychopinn.refine.refined_layer import Refiner
from ptychopinn.workflow.inference import single_group

HALF_FRAMES, HALF_BYTES = 100, 32 << 20
"""Frames of a half and their memory at most: the probe of a half follows from 100 frames on."""
FEWEST_FRAMES = 32
"""Frames of a scan below which there is no resolution: a half then covers no square with enough rings."""
LEAST_VISITS = 5
"""Mean visits of a frame before the halves are compared: slow phase settles in about five passes."""
LIFTED_AT_ONCE = 4
"""Frames lifted in a slice, as long as a step of the refiner."""
MOST_SIDE_PX = 256
"""Largest square that is compared: larger ones take longer than a slice and resolve no more."""
LEAST_SIDE_PX = 32
"""Smallest square that tells a resolution: it has 16 rings."""
MOVED_PX = 0.5
"""Mean shift of the frames from which the halves begin again: the scan's positions were corrected."""

Place = tuple[float, float]


class _Half:
    """One half: its frames, the mosaic of their lifts, the refiner that begins with it."""

    def __init__(self, probe: Tensor, *, update_probe: bool, is_subpixel: bool) -> None:
        self._lift = Lift(probe)
        self._mosaic = Mosaic(probe.abs().square().sum(0))
        self.refiner = Refiner(probe, self._mosaic.picture, update_probe=update_probe, is_subpixel=is_subpixel)
        self.frames = 0

    def take(self, indexes: Sequence[int], patterns: Sequence[Pattern], places: Sequence[Place]) -> None:
        """Take frames as the scan's refiner keeps them."""
        patches = self._lift.predict(single_group(at_middle(patterns)[:, None]))[:, 0]
        self._mosaic.add(indexes, patches, np.array(places, dtype=np.float64))
        for index, pattern, place in zip(indexes, patterns, places, strict=True):
            self.refiner.add(index, pattern, place)
        self.frames += len(indexes)

    @property
    def visits(self) -> float:
        """Mean visits of a frame."""
        return self.refiner.updates / max(1, self.frames)


class HalfPictures:
    """Two halves of a scan, kept up with its refined layer.

    Parameters
    ----------
    update_probe, is_subpixel
        As the scan's own :class:`Refiner` has them.
    """

    def __init__(self, *, update_probe: bool, is_subpixel: bool) -> None:
        self._update_probe = update_probe
        self._is_subpixel = is_subpixel
        self._source: Refiner | None = None
        self._halves: tuple[_Half, _Half] | None = None
        self._places: dict[int, Place] = {}
        self._waiting: deque[tuple[int, int]] = deque()
        self._begun_frames = self._begun_setbacks = self._given = 0
        self.begun = 0
        """How often the frames were chosen: figures before and after are of different parts of the scan."""

    def keep_up(self, source: Refiner) -> None:
        """Take the frames that are new, or begin again where frames, positions or probe have changed."""
        places = source.places()
        if len(places) < FEWEST_FRAMES:
            return
        if self._is_stale(source, places):
            self._begin(source, places)
            return
        room = 2 * _half_frames(source) - len(self._places)
        new = [index for index in places if index not in self._places][: max(0, room)]
        self._take({index: places[index] for index in new})

    def _take(self, places: dict[int, Place]) -> None:
        """Give frames to the halves by turns."""
        self._places |= places
        for index in places:
            self._waiting.append((index, self._given % 2))
            self._given += 1

    def _is_stale(self, source: Refiner, places: dict[int, Place]) -> bool:
        if self._halves is None or source is not self._source or source.setbacks != self._begun_setbacks:
            return True
        if source.probe.shape != self._halves[0].refiner.probe.shape:
            return True
        if len(places) >= 2 * max(self._begun_frames, 2 * _half_frames(source)):
            return True
        both = [index for index in self._places if index in places]
        apart = np.subtract([places[index] for index in both], [self._places[index] for index in both])
        return len(both) > 0 and float(np.hypot(*apart.T).mean()) > MOVED_PX

    def _begin(self, source: Refiner, places: dict[int, Place]) -> None:
        indexes, where = list(places), np.array(list(places.values()))
        nearest = nearest_to_middle(where, 2 * _half_frames(source))
        self._source, self._begun_frames, self._begun_setbacks = source, len(places), source.setbacks
        self._waiting.clear()
        self._places, self._given = {}, 0
        self._take({index: places[index] for index in sorted(indexes[row] for row in nearest.tolist())})
        self.begun += 1
        probe = source.probe.clone()
        one, other = (_Half(probe, update_probe=self._update_probe, is_subpixel=self._is_subpixel) for _ in range(2))
        self._halves = one, other

    def step(self) -> bool:
        """Do a slice: lift some frames, or refine the half that has had fewer visits. False if there is nothing to do."""
        if self._halves is None or self._source is None:
            return False
        if self._waiting:
            self._lift_some(self._source, self._halves)
            return True
        half = min(self._halves, key=lambda each: each.visits)
        return half.refiner.step() > 0

    def _lift_some(self, source: Refiner, halves: tuple[_Half, _Half]) -> None:
        """Give the next frames that wait to their half."""
        some = [self._waiting.popleft() for _ in range(min(LIFTED_AT_ONCE, len(self._waiting)))]
        for number, half in enumerate(halves):
            mine = [index for index, which in some if which == number]
            found = {index: pattern for index in mine if (pattern := source.pattern(index)) is not None}
            if found:
                half.take(list(found), list(found.values()), [self._places[index] for index in found])

    @property
    def visits(self) -> float:
        """Mean visits of a frame in the half that has had fewer; 0 while frames wait to be lifted."""
        return 0.0 if self._halves is None or self._waiting else min(half.visits for half in self._halves)

    @property
    def frames(self) -> int:
        """Frames of both halves."""
        return 0 if self._halves is None else sum(half.frames for half in self._halves)

    @property
    def is_ripening(self) -> bool:
        """Whether work is left before a first comparison; False where more work leads to none."""
        if self._halves is None or any(half.refiner.has_given_up for half in self._halves):
            return False
        return bool(self._waiting) or (self.frames >= FEWEST_FRAMES and self.visits < LEAST_VISITS)

    def measure(self) -> RingCorrelation | None:
        """Return the ring correlation of the halves; None where it has no meaning yet."""
        if self._halves is None or self.visits < LEAST_VISITS or self.frames < FEWEST_FRAMES:
            return None
        if any(half.refiner.has_given_up for half in self._halves):
            return None
        one, other = (half.refiner for half in self._halves)
        return correlation_of(one, other)


class HalfPicture(Protocol):
    """The picture of a half of the frames: a mosaic or a refined layer."""

    @property
    def shape(self) -> tuple[int, int]:
        """Size ``(H, W)``."""

    @property
    def origin_px(self) -> tuple[int, int]:
        """Place of pixel (0, 0) in the object's own frame."""

    def read(self, box: Box | None = None) -> tuple[Tensor, Tensor]:
        """Return object ``(h, w)`` and coverage ``(h, w)`` of a rectangle."""


def correlation_of(one: HalfPicture, other: HalfPicture) -> RingCorrelation | None:
    """Return the ring correlation of the pictures of two halves; None where they have too little in common."""
    try:
        curve = ring_correlation(*_common_region(one, other), MOST_SIDE_PX)
    except GeometryError:
        return None
    return curve if curve.side_px >= LEAST_SIDE_PX else None


def _half_frames(source: Refiner) -> int:
    return most_half_frames(source.size_px)


def most_half_frames(size_px: int) -> int:
    """Return how many frames of ``size_px`` a half has at most."""
    return max(FEWEST_FRAMES // 2, min(HALF_FRAMES, HALF_BYTES // (4 * size_px**2)))


def nearest_to_middle(positions_px: NDArray[np.float64], most: int) -> NDArray[np.int64]:
    """Return the rows of the frames nearest to the middle of a scan, the nearest first."""
    away = np.square(positions_px - positions_px.mean(axis=0)).sum(axis=1)
    return np.argsort(away, kind="stable")[:most]


def _common_region(
    one: HalfPicture, other: HalfPicture
) -> tuple[NDArray[np.complex64], NDArray[np.complex64], NDArray[np.float32]]:
    """Return both objects on their common region, and the lower coverage."""
    low = np.maximum(one.origin_px, other.origin_px)
    high = np.minimum(np.add(one.origin_px, one.shape), np.add(other.origin_px, other.shape))
    if (high <= low).any():
        raise GeometryError("the halves have no place in common")
    parts = []
    for half in (one, other):
        y, x = (low - half.origin_px).tolist()
        value, coverage = half.read(Box(y, x, *(high - low).tolist()))
        parts.append((np.asarray(to_host(value)), np.asarray(to_host(coverage))))
    return parts[0][0], parts[1][0], np.minimum(parts[0][1], parts[1][1])
