"""The one rule for pixels that hold no data, for the live preprocessing and for every reader of files.

A pixel holds no data where

* its count is negative or not finite, or one of the two greatest values of its integer type, with which detectors mark
  gaps, dead pixels and full counters (:func:`holds_mark`; it needs nothing but the frame);
* its count is such a mark of a narrower type (15 bits and more) and the greatest that there is (:attr:`InvalidPixels.marks`);
* many pixels end at one and the same greatest count: the counter is full there (also in ``marks``);
* it cannot be true beside its neighbours in any frame (:attr:`InvalidPixels.bad`): hot or stuck, or without a count amid light.

:func:`find_invalid` looks at a few frames of a scan (:func:`some_frames` says which of a file's); ``InvalidPixels.of`` then
tells which pixels of any frame of the scan hold no data. A direct beam is never masked: its neighbours have a share of it, it
changes from frame to frame as the sample does, and it lies where the rest of the light does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

LOOKED_AT = 8
"""Frames of a file that are looked at; four tell a stuck pixel from chance."""
LEAST_STUCK_FRAMES = 4
SUSPECT_RATIO = 8.0
"""A pixel above so many times its surroundings two pixels away is looked at more closely; stuck, it is hot."""
SHARP_RATIO = 100.0
IMPOSSIBLE_RATIO = 300.0
"""Above so many times its brightest neighbour no beam can be whose probe fits into its window (a square one of 0.95 N: 180)."""
IMPOSSIBLE_IN_THE_BEAM = 1e5
"""The same where the beam itself is."""
BEAM_PX = 2.5
LEAST_HOT, LEAST_FULL, LEAST_LIT = 100.0, 200.0, 30.0
"""Counts: of a hot pixel, of a full counter, of the neighbours of a pixel that should have some."""
LEAST_CHANGE = 3.0
"""A dead pixel's neighbours must change so much: where they do not, the probe's own pattern may be zero there."""
FULL_PIXELS, FULL_MARGIN = 8, 0.9
"""A full counter: so many pixels end at one count, more than half of all above this share of it."""
PROBE_MARGIN = 30.0
"""So many times what the probe alone gives near there may be true."""
LEAST_LEFT = 0.1
"""A mask that leaves a smaller share of the pixels looks inverted."""
MOST_LIGHT_MASKED = 0.95
"""As does one that takes more than half of the pixels and more than this share of the light."""
NAMED = 3
MOST_DEAD = 0.01
MOST_UNKNOWN = 0.4
"""Where a larger share of the 3 x 3 pixels around one is not known, its neighbours tell nothing."""
_ROUNDS = 8
_CROSS = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], dtype=bool)
_RING = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], dtype=bool)

_NARROW = tuple(float(2**bits - back) for bits in (32, 31, 16, 15) for back in (1, 2))
Mask = NDArray[np.bool_]
Image = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class InvalidPixels:
    """What holds no data in the frames ``(rows, columns)`` of one scan, beside what :func:`holds_mark` tells.

    ``marks`` are counts that stand for no data; ``bad`` are pixels without data in every frame; ``notes`` say of both what was
    found, one sentence each, with places and values.
    """

    bad: Mask
    marks: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_nothing(self) -> bool:
        """Whether no pixel is masked by this."""
        return not self.marks and not self.bad.any()

    def of(self, counts: NDArray[Any]) -> Mask:
        """Return which pixels of raw counts ``(..., rows, columns)`` hold no data."""
        out = holds_mark(counts) | self.bad
        for mark in self.marks:
            out |= counts == counts.dtype.type(mark)
        return out


def holds_mark(counts: NDArray[Any]) -> Mask:
    """Return which counts are no data by themselves: not finite, negative, or the two greatest values of an integer type."""
    if counts.dtype.kind == "f":
        return np.asarray(~(np.isfinite(counts) & (counts >= 0)), dtype=bool)
    marked = counts > greatest_count(counts.dtype)
    return marked if counts.dtype.kind == "u" else marked | (counts < 0)


def greatest_count(dtype: np.dtype[Any]) -> int:
    """Return the greatest count that an integer type can hold beside its two marks."""
    return int(np.iinfo(dtype).max) - 2


def some_frames(total: int, most: int = LOOKED_AT) -> NDArray[np.int64]:
    """Return indexes of frames to look at, evenly over a scan of ``total`` frames."""
    return np.unique(np.linspace(0, max(0, total - 1), min(total, most)).astype(np.int64))


def find_invalid(
    frames: NDArray[Any],
    mask: Mask | None = None,
    expected: NDArray[np.floating[Any]] | None = None,
    corner: tuple[int, int] = (0, 0),
) -> InvalidPixels:
    """Return what holds no data in a scan, from a few of its frames.

    Parameters
    ----------
    frames : (n, rows, columns)
        Raw counts in the type they came in. One frame tells what is impossible; four and more, what is stuck.
    mask : (rows, columns), optional
        True = bad, known already; nothing is said of it.
    expected : (rows, columns), optional
        What the probe gives without a sample, at any scale: where it is bright a pixel may be.
    corner
        Row and column that the first pixel has for those who read the notes.
    """
    marked = holds_mark(frames)
    known = np.zeros(frames.shape[1:], dtype=bool) if mask is None else mask
    look = _Look(np.where(marked | known, np.nan, frames.astype(np.float64)), expected)
    always = marked.all(0) & ~known
    notes = []
    if always.sum() <= MOST_DEAD * always.size:  # else gaps between modules, which are no trouble
        notes += _named(always, frames[0], corner, "marked by the detector as without data")
    marks: list[float] = []
    for _ in range(_ROUNDS):  # marks hide hot pixels, and a hot pixel hides marks
        mark = _narrow_mark(look.high, frames.dtype)
        hot = look.hot() if mark is None else None
        if hot is not None and hot.any():
            notes += _named(
                hot, look.low, corner, "far above all neighbours in every frame looked at: taken for hot, no data"
            )
            look = look.without_hot(hot)
            continue
        mark = look.full_count() if mark is None else mark
        if mark is None:
            break
        marks.append(mark)
        notes.append(_ending(look.high == mark, mark, corner))
        look = look.without_mark(mark)
    cold = look.cold()
    notes += _named(
        cold, look.low, corner, "without a count amid light in every frame looked at: taken for dead, no data"
    )
    return InvalidPixels(look.found_hot | cold, tuple(marks), tuple(notes))


def has_suspects(frame: NDArray[Any], mask: Mask | None = None) -> bool:
    """Whether one frame ``(rows, columns)`` has pixels far above their surroundings, of which more frames would tell more."""
    left_out = holds_mark(frame) if mask is None else holds_mark(frame) | mask
    look = _Look(np.where(left_out, np.nan, frame.astype(np.float64))[None], None)
    return bool((look.suspects & look.is_sharp()).any())


def mask_doubt(mask: Mask, counts: NDArray[Any] | None = None) -> str | None:
    """Return in words why a mask ``(rows, columns)``, True = bad, looks inverted; None where it does not.

    ``counts``, a frame or the sum of some, tells whether the mask lies just where the light is.
    """
    left = int(mask.size - np.count_nonzero(mask))
    words = f"the mask leaves {left:,} of {mask.size:,} pixels"
    if left < LEAST_LEFT * mask.size:
        return f"{words}; is it inverted?"
    if counts is None or 2 * left > mask.size:
        return None
    light = np.where(holds_mark(counts), 0.0, counts)
    share = float(light[mask].sum()) / max(float(light.sum()), 1e-12)
    if share <= MOST_LIGHT_MASKED:
        return None
    return f"{words} and {1 - share:.1%} of the light; is it inverted?"


class _Look:
    """A look at counts ``(n, rows, columns)`` float64, NaN = no data; ``found_hot`` are pixels that were found before."""

    def __init__(
        self, counts: NDArray[np.float64], expected: NDArray[np.floating[Any]] | None, found_hot: Mask | None = None
    ) -> None:
        self.counts, self._expected = counts, expected
        self.found_hot = np.zeros(counts.shape[1:], dtype=bool) if found_hot is None else found_hot
        unknown = np.isnan(counts)
        self._is_unknown = unknown.any(0) & ~self.found_hot
        self.low = np.where(unknown, np.inf, counts).min(0)
        self.high = np.where(unknown, 0.0, counts).max(0)
        self.low[np.isinf(self.low)] = 0.0
        self._unit_counts = self._unit()
        self._around = _surroundings(np.where(self._is_unknown, np.inf, self.high))
        self.suspects = self.low > np.maximum(SUSPECT_RATIO * self._around, LEAST_HOT * self._unit_counts)

    def without_hot(self, hot: Mask) -> _Look:
        """Return the same without pixels that were found hot."""
        return _Look(np.where(hot, np.nan, self.counts), self._expected, self.found_hot | hot)

    def without_mark(self, mark: float) -> _Look:
        """Return the same without counts that are a mark."""
        return _Look(np.where(self.counts == mark, np.nan, self.counts), self._expected, self.found_hot)

    def _unit(self) -> float:
        """Return one count: 1 in whole numbers, else the median of what is lit."""
        lit = self.high[self.high > 0]
        return 1.0 if not lit.size or np.array_equal(lit, np.rint(lit)) else float(np.median(lit))

    def hot(self) -> Mask:
        """Return pixels that are stuck high, or higher than any beam could be."""
        if not self.suspects.any():
            return np.zeros_like(self.found_hot)
        neighbours = np.maximum(ndimage.maximum_filter(self.high, footprint=_RING), self._unit_counts)
        neighbours[ndimage.uniform_filter(self._is_unknown.astype(float), 3) > MOST_UNKNOWN] = np.inf
        ratio = np.where(self._is_beam(), IMPOSSIBLE_IN_THE_BEAM, IMPOSSIBLE_RATIO)
        return np.asarray(self.suspects & ((self.low > ratio * neighbours) | self._is_stuck()), dtype=bool)

    def is_sharp(self) -> Mask:
        """Return pixels that rise, alone or as a line or cluster, from what is around as speckle seldom does."""
        neighbours = ndimage.maximum_filter(self.high, footprint=_RING)
        return np.asarray((self.low > SUSPECT_RATIO * neighbours) | (self.low > SHARP_RATIO * self._around), dtype=bool)

    def cold(self) -> Mask:
        """Return pixels that never count, although all four neighbours always do and change from frame to frame."""
        is_dark = (self.high == 0) & ~self._is_unknown & ~self.found_hot
        if not is_dark.any() or len(self.counts) < LEAST_STUCK_FRAMES:
            return np.zeros_like(is_dark)
        least, ever = (
            ndimage.minimum_filter(image, footprint=_CROSS, mode="nearest") for image in (self.low, self.high)
        )
        is_lit = (least > LEAST_LIT * self._unit_counts) & (ever > LEAST_CHANGE * least)
        return np.asarray(is_dark & is_lit, dtype=bool)

    def full_count(self) -> float | None:
        """Return the count at which a full counter ends; None where counts thin out towards the greatest."""
        most = float(self.high.max())
        if most < LEAST_FULL * self._unit_counts:
            return None
        with np.errstate(invalid="ignore"):
            ending, close = int((self.counts == most).sum()), int((self.counts > FULL_MARGIN * most).sum())
        return most if ending >= FULL_PIXELS and 2 * ending > close else None

    def _is_beam(self) -> Mask:
        """Return where a spot may be as sharp as it likes: in the middle of the light, and where the probe is bright."""
        true = np.where(self.suspects, 0.0, self.high)
        light = np.sqrt(true)
        rows, columns = np.indices(true.shape, dtype=np.float64)
        out = np.zeros(true.shape, dtype=bool)
        if (total := float(light.sum())) > 0:
            middle = float((rows * light).sum()) / total, float((columns * light).sum()) / total
            out = np.hypot(rows - middle[0], columns - middle[1]) <= BEAM_PX
        if self._expected is not None and self._expected.any():
            scale = float(true.sum()) / float(self._expected.sum())
            out |= self.low <= PROBE_MARGIN * scale * ndimage.maximum_filter(self._expected, 5)
        return out

    def _is_stuck(self) -> Mask:
        """Return pixels with one count in all frames, where most of the lit ones change."""
        stays = self.low == self.high
        lit = ~self.suspects & (self.high >= min(LEAST_LIT * self._unit_counts, float(self._around.max())))
        changes = len(self.counts) >= LEAST_STUCK_FRAMES and bool(lit.any()) and float(stays[lit].mean()) < 0.5
        return np.asarray(stays & changes, dtype=bool)


def _surroundings(image: Image) -> Image:
    """Return the second lowest of the counts two pixels above, below, left and right: no spot of 2 x 2, no line counts in."""
    padded = np.pad(image, 2, mode="reflect") if min(image.shape) > 2 else np.pad(image, 2, mode="edge")
    up, down, left, right = padded[:-4, 2:-2], padded[4:, 2:-2], padded[2:-2, :-4], padded[2:-2, 4:]
    one = np.minimum(np.maximum(up, down), np.maximum(left, right))
    other = np.maximum(np.minimum(up, down), np.minimum(left, right))
    return np.asarray(np.minimum(one, other))


def _narrow_mark(high: Image, dtype: np.dtype[Any]) -> float | None:
    """Return the greatest count where it is, in this type, one of the two greatest values of a narrower one."""
    most = float(high.max())
    return most if most in {float(dtype.type(mark)) for mark in _NARROW if _fits(mark, dtype)} else None


def _fits(mark: float, dtype: np.dtype[Any]) -> bool:
    return mark <= (float(np.finfo(dtype).max) if dtype.kind == "f" else int(np.iinfo(dtype).max))


def _named(where: Mask, values: NDArray[Any], corner: tuple[int, int], why: str) -> list[str]:
    """Return one sentence about pixels: how many, the first few with place and value, and why."""
    places = np.argwhere(where)
    if not len(places):
        return []
    some = [f"row {y + corner[0]}, column {x + corner[1]}: {values[y, x]:.10g}" for y, x in places[:NAMED].tolist()]
    more = f", and {len(places) - NAMED:,} more" if len(places) > NAMED else ""
    return [f"{_pixels(len(places))} ({'; '.join(some)}{more}) {why}"]


def _ending(where: Mask, mark: float, corner: tuple[int, int]) -> str:
    """Return one sentence about pixels at a count that stands for no data; a few are named by their places."""
    places = np.argwhere(where)
    named = "; ".join(f"row {y + corner[0]}, column {x + corner[1]}" for y, x in places[:NAMED].tolist())
    told = f" ({named})" if len(places) <= NAMED else ""
    return f"{_pixels(len(places))} at {mark:.0f}{told}, where counts end: no data"


def _pixels(count: int) -> str:
    return "1 pixel" if count == 1 else f"{count:,} pixels"
