"""Looks for pixels without data in a scan's first frames, and again now and then, so that the hot path only masks them.

A look takes the crop of four frames in a row. Where the very first frame has pixels far above their surroundings, it and the next
ones wait for that look; else they go on at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptychopinn.detector.invalid_pixels import find_invalid, has_suspects, mask_doubt
from ptychopinn.detector.patterns import PatternMaker
from ptychopinn.errors import GeometryError
from streams.codecs import EncodedFrame
from streams.errors import CodecError

LOOK_FRAMES = 4
FIRST_LATER, LATER_FACTOR = 4, 16
"""Looks begin at frames 4, 64, 1,024, ... of a scan."""


class PixelWatch:
    """Of one scan; used by the intake's thread alone. ``make`` makes its patterns, without what was found so far.

    ``expected`` is the probe's own pattern, of the pattern's size.
    """

    def __init__(self, make: PatternMaker, expected: NDArray[np.floating[Any]] | None = None) -> None:
        self.make = make
        self._expected = None if expected is None else make.of_raw_crop(expected)
        self._taken, self._next = 0, FIRST_LATER
        self._marked = np.zeros_like(make.known_bad)  # has been said
        self._marks: set[float] = set()
        self._crops: list[NDArray[Any]] = []

    @property
    def masked_pixels(self) -> int:
        """Detector's pixels of the pattern that hold no data in any frame looked at: masked, marked, hot, stuck or dead."""
        return int(np.count_nonzero(self.make.known_bad | self._marked))

    def begin(self, frames: Sequence[EncodedFrame], *, is_last: bool) -> list[str] | None:
        """Look at the first frames; return what is to be said, None where more frames would tell more and may still come."""
        crops = [crop for frame in frames[-LOOK_FRAMES:] if (crop := self._crop(frame)) is not None]
        if not crops:
            return []
        known = self.make.known_bad
        if len(crops) < LOOK_FRAMES and not is_last and has_suspects(crops[0], known):
            return None
        doubt = mask_doubt(known, np.stack(crops).mean(0))
        self._taken = len(frames)
        return [*([] if doubt is None else [doubt]), *self._find(crops)]

    def look(self, frame: EncodedFrame) -> list[str]:
        """Take a later frame; return what is to be said of pixels that are found with it."""
        self._taken += 1
        if self._taken < self._next:
            return []
        crop = self._crop(frame)
        if crop is not None:
            self._crops.append(crop)
        if len(self._crops) < LOOK_FRAMES:
            return []
        crops, self._crops = self._crops, []
        self._next *= LATER_FACTOR
        return [f"from frame {frame.index} on: {note}" for note in self._find(crops)]

    def _find(self, crops: Sequence[NDArray[Any]]) -> list[str]:
        frames = np.stack(crops)
        known = self.make.known_bad | self._marked
        for mark in self._marks:  # have been said
            is_mark = frames == frames.dtype.type(mark)
            known |= is_mark.all(0)
            frames[is_mark] = np.nan if frames.dtype.kind == "f" else np.iinfo(frames.dtype).max
        found = find_invalid(frames, known, self._expected, self.make.corner)
        self._marked |= found.of(frames).all(0)
        self._marks |= set(found.marks)
        if not found.is_nothing:
            self.make = self.make.without(found)
        return list(found.notes)

    def _crop(self, frame: EncodedFrame) -> NDArray[Any] | None:
        try:
            return np.array(self.make.raw_crop(frame.unpack()))
        except (CodecError, GeometryError):
            return None  # it is refused by name when it is decoded for good
