"""Pixels without data: one rule for the live preprocessing and for all readers of files.

A pixel has no data where

* its count is negative or not finite, or one of the two greatest values of its integer type, which detectors use to mark
  gaps, dead pixels and full counters (:func:`holds_mark`; a single frame is enough);
* its count is such a mark of a narrower type (15 bits or more) and the maximum of the scan (:attr:`InvalidPixels.marks`);
* many pixels have the same greatest count, so the counter is full (also in ``marks``);
* its counts contradict its neighbours in all frames (:attr:`InvalidPixels.bad`): hot, stuck, or dead amid light.

:func:`find_invalid` inspects a few frames of a scan (:func:`some_frames` selects those of a file). ``InvalidPixels.of`` then
returns the pixels without data of any frame of the scan. A direct beam is not masked: its neighbours have counts too, it
changes from frame to frame with the sample, and it lies in the middle of the light.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

LOOKED_AT = 8
"""Number of frames of a file that are inspected: twice those that a stuck pixel needs, and quick to read."""
LEAST_STUCK_FRAMES = 4
"""Number of frames from which an unchanged count means a stuck pixel; in fewer it may be chance."""
SUSPECT_RATIO = 8.0
"""Ratio to the surroundings two pixels away above which a pixel is suspect; a suspect pixel that is stuck is hot."""
SHARP_RATIO = 100.0
"""The same ratio for a line or cluster of suspect pixels, which speckle seldom reaches."""
IMPOSSIBLE_RATIO = 300.0
"""Ratio to the brightest neighbour that no beam reaches if its probe fits its window (a square probe of 0.95 N: 180)."""
IMPOSSIBLE_IN_THE_BEAM = 1e5
"""The same ratio at the direct beam."""
BEAM_PX = 2.5
"""Radius around the centre of the light that counts as direct beam, px."""
LEAST_HOT, LEAST_FULL, LEAST_LIT = 100.0, 200.0, 30.0
"""Lowest counts of a hot pixel, of a full counter, and of the neighbours of a dead pixel."""
LEAST_CHANGE = 3.0
"""Lowest ratio of maximum to minimum of the neighbours of a dead pixel: if they are constant, the pattern of the probe may
be zero there."""
FULL_PIXELS, FULL_MARGIN = 8, 0.9
"""A counter is full if at least 8 pixels, and half of those above 90 % of the maximum, have exactly the maximum."""
PROBE_MARGIN = 30.0
"""Ratio to the counts of the probe alone, nearby, below which a pixel can be the direct beam."""
LEAST_LEFT = 0.1
"""A mask that leaves less than this share of the pixels looks inverted."""
MOST_LIGHT_MASKED = 0.95
"""A mask that covers more than half of the pixels and more than this share of the light looks inverted."""
NAMED = 3
"""Number of pixels that a note names with place and value."""
MOST_DEAD = 0.01
"""Share of marked pixels up to which they are named; more are gaps between modules, which are normal."""
MOST_UNKNOWN = 0.4
"""Share of unknown pixels in the 3 x 3 pixels around a pixel above which its neighbours are not used."""
TINY_LIGHT = 1e-12
"""Lowest sum of counts that is divided by; avoids 0 / 0 in a dark frame."""
_ROUNDS = 8
"""Greatest number of alternating searches for marks and hot pixels; ends the loop in any case."""
_CROSS = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], dtype=bool)
"""The four nearest neighbours."""
_RING = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], dtype=bool)
"""The eight neighbours."""
_NARROW = tuple(float(2**bits - back) for bits in (32, 31, 16, 15) for back in (1, 2))
"""Marks of narrower types: the two greatest values of 32, 31, 16 and 15 bits."""
Mask = NDArray[np.bool_]
Image = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class InvalidPixels:
    """Pixels without data in the frames ``(rows, columns)`` of one scan, beyond those of :func:`holds_mark`.

    Parameters
    ----------
    bad
        Pixels without data in every frame.
    marks
        Counts that mean no data.
    notes
        One sentence for each finding, with places and values.
    """

    bad: Mask
    marks: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_nothing(self) -> bool:
        """Whether nothing is masked."""
        return not self.marks and not self.bad.any()

    def of(self, counts: NDArray[Any]) -> Mask:
        """Return which pixels of raw counts ``(..., rows, columns)`` have no data."""
        out = holds_mark(counts) | self.bad
        for mark in self.marks:
            out |= counts == counts.dtype.type(mark)
        return out


def holds_mark(counts: NDArray[Any]) -> Mask:
    """Return which counts mean no data: not finite, negative, or one of the two greatest values of an integer type."""
    if counts.dtype.kind == "f":
        return np.asarray(~(np.isfinite(counts) & (counts >= 0)), dtype=bool)
    marked = counts > greatest_count(counts.dtype)
    return marked if counts.dtype.kind == "u" else marked | (counts < 0)


def greatest_count(dtype: np.dtype[Any]) -> int:
    """Return the greatest count of an integer type below its two marks."""
    return int(np.iinfo(dtype).max) - 2


def some_frames(total: int, most: int = LOOKED_AT) -> NDArray[np.int64]:
    """Return the indices of frames to inspect, evenly spread over a scan of ``total`` frames."""
    return np.unique(np.linspace(0, max(0, total - 1), min(total, most)).astype(np.int64))


def find_invalid(
    frames: NDArray[Any],
    mask: Mask | None = None,
    expected: NDArray[np.floating[Any]] | None = None,
    corner: tuple[int, int] = (0, 0),
) -> InvalidPixels:
    """Return the pixels without data of a scan, from a few of its frames.

    Parameters
    ----------
    frames : (n, rows, columns)
        Raw counts in their original type. One frame shows impossible counts; four or more also show stuck pixels.
    mask : (rows, columns), optional
        True = known to be bad; these pixels get no notes.
    expected : (rows, columns), optional
        Counts of the probe without a sample, at any scale: pixels may be bright where it is bright.
    corner
        Row and column of the first pixel, for the notes.
    """
    marked = holds_mark(frames)
    known = np.zeros(frames.shape[1:], dtype=bool) if mask is None else mask
    statistics = _FrameStatistics(np.where(marked | known, np.nan, frames.astype(np.float64)), expected)
    always = marked.all(0) & ~known
    notes = []
    if always.sum() <= MOST_DEAD * always.size:  # more are gaps between modules
        notes += _named(always, frames[0], corner, "marked by the detector as without data")
    statistics, marks, found = _search(statistics, frames.dtype, corner)
    cold = statistics.cold()
    found += _named(cold, statistics.low, corner, "without a count amid light in every inspected frame: dead, no data")
    return InvalidPixels(statistics.found_hot | cold, tuple(marks), (*notes, *found))


def _search(
    statistics: _FrameStatistics, dtype: np.dtype[Any], corner: tuple[int, int]
) -> tuple[_FrameStatistics, list[float], list[str]]:
    """Search for marks and hot pixels in turn, since each can hide the other.

    Returns the statistics without them, the marks, and one sentence for each finding.
    """
    marks: list[float] = []
    notes: list[str] = []
    for _ in range(_ROUNDS):
        mark = _narrow_mark(statistics.high, dtype)
        hot = statistics.hot() if mark is None else None
        if hot is not None and hot.any():
            notes += _named(
                hot, statistics.low, corner, "far above all neighbours in every inspected frame: hot, no data"
            )
            statistics = statistics.without_hot(hot)
            continue
        mark = statistics.full_count() if mark is None else mark
        if mark is None:
            break
        marks.append(mark)
        notes.append(_ending(statistics.high == mark, mark, corner))
        statistics = statistics.without_mark(mark)
    return statistics, marks, notes


def has_suspects(frame: NDArray[Any], mask: Mask | None = None) -> bool:
    """Return whether a frame ``(rows, columns)`` has pixels far above their surroundings, so that more frames are needed."""
    left_out = holds_mark(frame) if mask is None else holds_mark(frame) | mask
    statistics = _FrameStatistics(np.where(left_out, np.nan, frame.astype(np.float64))[None], None)
    return bool((statistics.suspects & statistics.is_sharp()).any())


def mask_doubt(mask: Mask, counts: NDArray[Any] | None = None) -> str | None:
    """Return why a mask ``(rows, columns)``, True = bad, looks inverted; None if it does not.

    With ``counts``, a frame or a sum of frames, a mask that covers the light is found too.
    """
    left = int(mask.size - np.count_nonzero(mask))
    words = f"the mask leaves {left:,} of {mask.size:,} pixels"
    if left < LEAST_LEFT * mask.size:
        return f"{words}; is it inverted?"
    if counts is None or 2 * left > mask.size:
        return None
    light = np.where(holds_mark(counts), 0.0, counts)
    share = float(light[mask].sum()) / max(float(light.sum()), TINY_LIGHT)
    if share <= MOST_LIGHT_MASKED:
        return None
    return f"{words} and {1 - share:.1%} of the light; is it inverted?"


class _FrameStatistics:
    """Statistics of counts ``(n, rows, columns)`` float64, NaN = no data; ``found_hot`` are pixels already found to be hot."""

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

    def without_hot(self, hot: Mask) -> _FrameStatistics:
        """Return the statistics without hot pixels."""
        return _FrameStatistics(np.where(hot, np.nan, self.counts), self._expected, self.found_hot | hot)

    def without_mark(self, mark: float) -> _FrameStatistics:
        """Return the statistics without the counts that are a mark."""
        return _FrameStatistics(np.where(self.counts == mark, np.nan, self.counts), self._expected, self.found_hot)

    def _unit(self) -> float:
        """Return the unit of the counts: 1 for whole numbers, else the median of the lit pixels."""
        lit = self.high[self.high > 0]
        return 1.0 if not lit.size or np.array_equal(lit, np.rint(lit)) else float(np.median(lit))

    def hot(self) -> Mask:
        """Return the suspect pixels that are stuck, or brighter than a beam can be."""
        if not self.suspects.any():
            return np.zeros_like(self.found_hot)
        neighbours = np.maximum(ndimage.maximum_filter(self.high, footprint=_RING), self._unit_counts)
        neighbours[ndimage.uniform_filter(self._is_unknown.astype(float), 3) > MOST_UNKNOWN] = np.inf
        ratio = np.where(self._is_beam(), IMPOSSIBLE_IN_THE_BEAM, IMPOSSIBLE_RATIO)
        return np.asarray(self.suspects & ((self.low > ratio * neighbours) | self._is_stuck()), dtype=bool)

    def is_sharp(self) -> Mask:
        """Return pixels that are brighter than speckle, alone, in a line, or in a cluster."""
        neighbours = ndimage.maximum_filter(self.high, footprint=_RING)
        return np.asarray((self.low > SUSPECT_RATIO * neighbours) | (self.low > SHARP_RATIO * self._around), dtype=bool)

    def cold(self) -> Mask:
        """Return pixels without counts whose four neighbours all have counts, which change from frame to frame."""
        is_dark = (self.high == 0) & ~self._is_unknown & ~self.found_hot
        if not is_dark.any() or len(self.counts) < LEAST_STUCK_FRAMES:
            return np.zeros_like(is_dark)
        least, ever = (
            ndimage.minimum_filter(image, footprint=_CROSS, mode="nearest") for image in (self.low, self.high)
        )
        is_lit = (least > LEAST_LIT * self._unit_counts) & (ever > LEAST_CHANGE * least)
        return np.asarray(is_dark & is_lit, dtype=bool)

    def full_count(self) -> float | None:
        """Return the count of a full counter; None if the counters are not full."""
        most = float(self.high.max())
        if most < LEAST_FULL * self._unit_counts:
            return None
        with np.errstate(invalid="ignore"):
            ending, close = int((self.counts == most).sum()), int((self.counts > FULL_MARGIN * most).sum())
        return most if ending >= FULL_PIXELS and 2 * ending > close else None

    def _is_beam(self) -> Mask:
        """Return where a sharp spot can be the direct beam: in the middle of the light, and where the probe is bright."""
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
        """Return pixels with the same count in all frames, if most lit pixels change."""
        stays = self.low == self.high
        lit = ~self.suspects & (self.high >= min(LEAST_LIT * self._unit_counts, float(self._around.max())))
        changes = len(self.counts) >= LEAST_STUCK_FRAMES and bool(lit.any()) and float(stays[lit].mean()) < 0.5
        return np.asarray(stays & changes, dtype=bool)


def _surroundings(image: Image) -> Image:
    """Return the second lowest of the counts two pixels away (up, down, left, right); small spots and lines do not raise it."""
    padded = np.pad(image, 2, mode="reflect") if min(image.shape) > 2 else np.pad(image, 2, mode="edge")
    up, down, left, right = padded[:-4, 2:-2], padded[4:, 2:-2], padded[2:-2, :-4], padded[2:-2, 4:]
    one = np.minimum(np.maximum(up, down), np.maximum(left, right))
    other = np.maximum(np.minimum(up, down), np.minimum(left, right))
    return np.asarray(np.minimum(one, other))


def _narrow_mark(high: Image, dtype: np.dtype[Any]) -> float | None:
    """Return the greatest count if it is one of the two greatest values of a narrower type, else None."""
    most = float(high.max())
    return most if most in {float(dtype.type(mark)) for mark in _NARROW if _fits(mark, dtype)} else None


def _fits(mark: float, dtype: np.dtype[Any]) -> bool:
    return mark <= (float(np.finfo(dtype).max) if dtype.kind == "f" else int(np.iinfo(dtype).max))


def _named(where: Mask, values: NDArray[Any], corner: tuple[int, int], why: str) -> list[str]:
    """Return a sentence about pixels: their number, the first few with place and value, and the reason."""
    places = np.argwhere(where)
    if not len(places):
        return []
    some = [f"row {y + corner[0]}, column {x + corner[1]}: {values[y, x]:.10g}" for y, x in places[:NAMED].tolist()]
    more = f", and {len(places) - NAMED:,} more" if len(places) > NAMED else ""
    return [f"{_pixels(len(places))} ({'; '.join(some)}{more}) {why}"]


def _ending(where: Mask, mark: float, corner: tuple[int, int]) -> str:
    """Return a sentence about pixels with a count that means no data; a few are named."""
    places = np.argwhere(where)
    named = "; ".join(f"row {y + corner[0]}, column {x + corner[1]}" for y, x in places[:NAMED].tolist())
    told = f" ({named})" if len(places) <= NAMED else ""
    return f"{_pixels(len(places))} at {mark:.0f}{told}, the greatest count: no data"


def _pixels(count: int) -> str:
    return "1 pixel" if count == 1 else f"{count:,} pixels"
