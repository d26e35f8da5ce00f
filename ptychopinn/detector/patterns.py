"""From a raw frame to the pattern: bad pixels, saturation, flat field, orientation, crop, binning, in this order.

Patterns have the smallest type for their counts: uint8, uint16 or uint32 whose two greatest values mean **no data**, as in
frames, so that a frame need not be searched for them; or float32 with NaN for no data (float frames, and all frames with a
flat field). Pixels without data are those of the mask, above saturation, found by
:mod:`ptychopinn.detector.invalid_pixels`, or outside the frame. A binned pixel is the sum of its pixels; it has no data if one
of them has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.detector.geometry import box_corner, orient
from ptychopinn.detector.invalid_pixels import InvalidPixels, greatest_count, holds_mark
from ptychopinn.errors import GeometryError

LEAST_INSIDE = 0.5
"""Lowest share of the crop that must lie on the frame; with less, the centre is most likely wrong."""
_MARKS: dict[str, Any] = {np.dtype(kind).char: np.iinfo(kind).max for kind in ("u1", "u2", "u4", "u8")}
_MARKS["f"] = np.float32(np.nan)
_GREATEST = {np.dtype(kind).char: greatest_count(np.dtype(kind)) for kind in ("u1", "u2", "u4")}
"""Greatest valid count of each pattern type; the two values above it mean no data."""
_WIDER: dict[str, type[np.unsignedinteger[Any]]] = {"uint8": np.uint16, "uint16": np.uint32, "uint32": np.uint64}
"""Type of the sums of binned pixels, so that they cannot overflow."""


@dataclass(frozen=True, slots=True)
class Crop:
    """Crop of the oriented frame: a square of ``size_px`` pixels, each the sum of ``binning`` x ``binning`` detector pixels."""

    center_px: tuple[int, int]
    size_px: int
    binning: int = 1

    @property
    def side_px(self) -> int:
        """Side in detector pixels."""
        return self.size_px * self.binning


class PatternMaker:
    """Makes the patterns of frames of one shape; thread-safe.

    Up to half of the crop may be outside the frame (``is_clipped``).

    Parameters
    ----------
    shape
        ``(rows, columns)`` of the oriented frames.
    masks
        bool, True = bad: each ``(rows, columns)`` of the oriented frame, or ``(size_px, size_px)`` of the pattern.
    saturation
        Greatest valid count of a detector pixel.
    flatfield
        ``(rows, columns)`` of the oriented frame, factors of the counts; a pixel with a factor that is not positive is bad.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        crop: Crop,
        orientation: str = "identity",
        *,
        masks: Sequence[NDArray[np.bool_]] = (),
        saturation: float | None = None,
        flatfield: NDArray[np.floating[Any]] | None = None,
    ) -> None:
        self._shape, self._crop, self._orientation = shape, crop, orientation
        self._saturation = saturation
        top, left = box_corner(crop.center_px, crop.size_px, crop.binning)
        self._rows, self._pad_rows = _span(top, crop.side_px, shape[0])
        self._columns, self._pad_columns = _span(left, crop.side_px, shape[1])
        self.is_clipped = any((*self._pad_rows, *self._pad_columns))
        inside = (self._rows.stop - self._rows.start) * (self._columns.stop - self._columns.start)
        self._is_whole = shape == (crop.side_px, crop.side_px)
        self._is_outside = inside < LEAST_INSIDE * crop.side_px**2
        bad = np.zeros((crop.side_px, crop.side_px), dtype=bool)
        self._flat = None if flatfield is None else self._cut(flatfield.astype(np.float32), np.float32(np.nan))
        if self._flat is not None:
            bad |= ~(self._flat > 0)
        self._pattern_bad: NDArray[np.bool_] | None = None
        for mask in masks:
            if mask.shape == shape:
                bad |= self._cut(mask, True)
            elif mask.shape == (crop.size_px, crop.size_px):
                self._pattern_bad = mask if self._pattern_bad is None else self._pattern_bad | mask
            else:
                raise GeometryError(
                    f"a mask of {mask.shape} fits neither frames of {shape} nor a pattern of {crop.size_px} px"
                )
        self._bad = np.flatnonzero(bad) if bad.any() else None
        self._marks: tuple[float, ...] = ()
        self._marks_nothing = self._bad is None and saturation is None and flatfield is None and not self.is_clipped

    @property
    def known_bad(self) -> NDArray[np.bool_]:
        """Pixels of :meth:`raw_crop` that are bad in every frame."""
        side = self._crop.side_px
        bad = np.zeros(side * side, dtype=bool)
        if self._bad is not None:
            bad[self._bad] = True
        out = self._inside(bad.reshape(side, side))
        return out if self._pattern_bad is None else out | (self.of_raw_crop(self._pattern_bad) > 0)

    @property
    def corner(self) -> tuple[int, int]:
        """Row and column of the oriented frame of the first pixel of :meth:`raw_crop`."""
        return self._rows.start, self._columns.start

    def raw_crop(self, counts: NDArray[Any]) -> NDArray[Any]:
        """Return the part of a raw frame that makes the pattern, without marks and binning."""
        return self._oriented(counts)[self._rows, self._columns]

    def of_raw_crop(self, pattern: NDArray[Any]) -> NDArray[Any]:
        """Return an image of the pattern's size, resampled to the pixels of :meth:`raw_crop`."""
        return self._inside(np.kron(pattern, np.ones((self._crop.binning, self._crop.binning))))

    def without(self, found: InvalidPixels) -> PatternMaker:
        """Return a maker that also masks the pixels found in :meth:`raw_crop`."""
        other = copy(self)
        other.also_mask(found)
        return other

    def also_mask(self, found: InvalidPixels) -> None:
        """Also mask the pixels found in :meth:`raw_crop`."""
        bad = np.flatnonzero(np.pad(found.bad, (self._pad_rows, self._pad_columns)))
        bad = bad if self._bad is None else np.union1d(self._bad, bad)
        self._bad, self._marks = (bad if bad.size else None), tuple({*self._marks, *found.marks})
        self._marks_nothing &= self._bad is None and not self._marks

    def _inside(self, image: NDArray[Any]) -> NDArray[Any]:
        (above, _), (before, _) = self._pad_rows, self._pad_columns
        rows, columns = self._rows.stop - self._rows.start, self._columns.stop - self._columns.start
        return image[above : above + rows, before : before + columns]

    def __call__(self, counts: NDArray[Any]) -> NDArray[Any]:
        """Return the pattern ``(size_px, size_px)`` of a raw frame ``counts``, not yet oriented.

        Raises
        ------
        GeometryError
            If the frame has another shape, or most of the crop is outside it.
        """
        pattern = self._with_marks(self._oriented(counts)[self._rows, self._columns])
        if self._crop.binning > 1:
            pattern = binned(pattern, self._crop.binning)
        if self._pattern_bad is not None:
            pattern = np.where(self._pattern_bad, no_data(pattern.dtype), pattern)
        return pattern

    def _oriented(self, counts: NDArray[Any]) -> NDArray[Any]:
        oriented = orient(counts, self._orientation)
        if oriented.shape != self._shape:
            raise GeometryError(f"the frame is {oriented.shape}, but the frames of the scan are {self._shape}")
        if self._is_outside:
            raise GeometryError(
                f"most of the crop of {self._crop.side_px} px around {self._crop.center_px} is outside the frame of "
                f"{self._shape[0]} x {self._shape[1]} px; set [detector] center_px and size_px to fit"
            )
        return oriented

    def _with_marks(self, view: NDArray[Any]) -> NDArray[Any]:
        """Return the crop in a pattern type, with marks for no data and the flat field applied."""
        values = as_pattern_dtype(view)
        # a crop is copied even if it is contiguous, so that it does not keep the whole frame in memory
        if self._marks_nothing:
            return np.ascontiguousarray(values) if self._is_whole else np.array(values, order="C")
        mark = no_data(values.dtype)
        if self.is_clipped:
            values = np.pad(values, (self._pad_rows, self._pad_columns), constant_values=mark)
        else:
            values = np.array(values, order="C")
        if self._saturation is not None:
            values = _without_above(values, self._saturation)
        for count in self._marks:
            values[values == values.dtype.type(min(count, _most(values.dtype)))] = mark
        if self._bad is not None:
            values.reshape(-1)[self._bad] = mark
        if self._flat is None:
            return values
        return np.where(is_no_data(values), np.float32(np.nan), values * self._flat).astype(np.float32)

    def _cut(self, image: NDArray[Any], outside: Any) -> NDArray[Any]:
        return np.pad(image[self._rows, self._columns], (self._pad_rows, self._pad_columns), constant_values=outside)


def _most(dtype: np.dtype[Any]) -> float:
    return float(np.finfo(dtype).max) if dtype.kind == "f" else float(np.iinfo(dtype).max)


def no_data(dtype: np.dtype[Any]) -> Any:
    """Return the mark for no data in a pattern of this type."""
    return _MARKS[dtype.char]


def is_no_data(pattern: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which pixels of a pattern have no data."""
    return np.asarray(np.isnan(pattern) if pattern.dtype.kind == "f" else pattern > _GREATEST[pattern.dtype.char])


def is_dark(pattern: NDArray[Any]) -> bool:
    """Return whether all pixels of a pattern are zero or have no data."""
    for part in (pattern[len(pattern) // 2], pattern):  # usually the middle row has counts, which is quick to see
        lit = part > 0
        if pattern.dtype.kind != "f":
            lit &= part <= _GREATEST[pattern.dtype.char]
        if lit.any():
            return False
    return True


def _without_above(values: NDArray[Any], saturation: float) -> NDArray[Any]:
    """Return values in a pattern type, with those above saturation marked as no data."""
    mark = no_data(values.dtype)
    if values.dtype.kind == "f":
        over = values > saturation
        return np.where(over, mark, values) if over.any() else values
    limit = int(min(saturation, _GREATEST[values.dtype.char]))
    return values if values.max() <= limit else np.where(values > limit, mark, values)


def as_pattern_dtype(counts: NDArray[Any]) -> NDArray[Any]:
    """Return counts as uint8, uint16, uint32 or float32 with marks for no data; a view if nothing changes."""
    dtype = counts.dtype
    if not dtype.isnative:
        return as_pattern_dtype(counts.astype(dtype.newbyteorder("=")))
    if dtype.kind == "f":
        values = counts.astype(np.float32, copy=False)
        bad = ~(np.isfinite(values) & (values >= 0))
        return np.where(bad, np.float32(np.nan), values) if bad.any() else values
    if dtype.kind == "i":
        unsigned = np.dtype(f"u{dtype.itemsize}")
        return as_pattern_dtype(np.where(holds_mark(counts), no_data(unsigned), counts.astype(unsigned)))
    if dtype.itemsize == 8:
        return np.asarray(np.minimum(counts, np.iinfo(np.uint32).max), dtype=np.uint32)
    return counts


def binned(pattern: NDArray[Any], binning: int) -> NDArray[Any]:
    """Return the sums over squares of ``binning`` pixels, in the next wider type up to uint32."""
    slices = [pattern[i::binning, j::binning] for i in range(binning) for j in range(binning)]
    if pattern.dtype.kind == "f":
        return np.asarray(np.sum(slices, axis=0), dtype=np.float32)
    total = np.zeros(slices[0].shape, dtype=_WIDER[pattern.dtype.name])
    bad = np.zeros(slices[0].shape, dtype=bool)
    for part in slices:
        total += part
        bad |= is_no_data(part)
    total[bad] = np.iinfo(total.dtype).max
    return as_pattern_dtype(total)


def _span(first: int, length: int, available: int) -> tuple[slice, tuple[int, int]]:
    """Return the part of ``first .. first + length`` within ``0 .. available``, and the missing lengths before and after."""
    begin, end = max(0, min(first, available)), max(0, min(first + length, available))
    before = min(length, max(0, -first))
    return slice(begin, end), (before, length - before - (end - begin))
