"""Compact tables by frame index: a set of indexes and a table of positions, both paged, so gaps use no memory."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from streams.frame import FARTHEST_M, MOVING, PositionM

__all__ = ["IndexSet", "PositionTable"]

_WORD_BITS = 10
"""Flags of one word: 1024, one Python integer."""
_IN_WORD = (1 << _WORD_BITS) - 1
_PAGE_BITS = 8
"""Positions of one page: 256, 4 KiB."""
_PAGE = 1 << _PAGE_BITS
_PAGE_BYTES = 16 * _PAGE
_EMPTY_PAGE = array("d", [math.nan]) * (2 * _PAGE)
_BAD = PositionM(math.inf, math.inf)


class IndexSet:
    """A set of whole numbers, one bit each where they are dense."""

    def __init__(self) -> None:
        self._words: dict[int, int] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, index: int) -> bool:
        return bool(self._words.get(index >> _WORD_BITS, 0) >> (index & _IN_WORD) & 1)

    def add(self, index: int) -> bool:
        """Add an index; return whether it is new."""
        page, bit = index >> _WORD_BITS, 1 << (index & _IN_WORD)
        word = self._words.get(page, 0)
        if word & bit:
            return False
        self._words[page] = word | bit
        self._count += 1
        return True

    def discard(self, index: int) -> bool:
        """Remove an index; return whether it was there."""
        page, bit = index >> _WORD_BITS, 1 << (index & _IN_WORD)
        word = self._words.get(page, 0)
        if not word & bit:
            return False
        if word == bit:
            del self._words[page]
        else:
            self._words[page] = word ^ bit
        self._count -= 1
        return True

    def discard_all(self, indexes: Iterable[int]) -> int:
        """Remove indexes; return how many of them were there."""
        masks: dict[int, int] = {}
        for index in indexes:
            page = index >> _WORD_BITS
            masks[page] = masks.get(page, 0) | 1 << (index & _IN_WORD)
        before = self._count
        for page, mask in masks.items():
            word = self._words.get(page, 0)
            if there := word & mask:
                self._count -= there.bit_count()
                if word == there:
                    del self._words[page]
                else:
                    self._words[page] = word ^ there
        return before - self._count


class PositionTable:
    """Positions by index, 16 bytes each. Impossible positions are kept as infinite, and ``MOVING`` as it is.

    Where the source measures the beam's light too, it is kept beside them.
    """

    def __init__(self, max_bytes: int) -> None:
        self._pages: dict[int, array[float]] = {}
        self._lights: dict[int, float] = {}
        self.bound(max_bytes)

    def bound(self, max_bytes: int) -> None:
        """Set the memory that the positions may take from now on, bytes."""
        self.max_bytes = max_bytes
        self._max_pages = max(1, max_bytes // _PAGE_BYTES)

    def clear(self) -> None:
        """Drop all positions."""
        self._pages, self._lights = {}, {}

    def exchange(self, other: PositionTable) -> None:
        """Exchange positions and bound with another table."""
        self._pages, other._pages = other._pages, self._pages
        self._lights, other._lights = other._lights, self._lights
        bytes_of_other = other.max_bytes
        other.bound(self.max_bytes)
        self.bound(bytes_of_other)

    def get(self, index: int) -> PositionM | None:
        """Return the position of an index; ``None`` if it is unknown."""
        page = self._pages.get(index >> _PAGE_BITS)
        if page is None:
            return None
        place = 2 * (index & (_PAGE - 1))
        y = page[place]
        return None if math.isnan(y) else PositionM(y, page[place + 1])

    @property
    def beyond(self) -> int:
        """One more than the highest index with a position."""
        number = max(self._pages, default=0)
        page = self._pages.get(number, _EMPTY_PAGE)
        known = [place for place in range(_PAGE) if not math.isnan(page[2 * place])]
        return (number << _PAGE_BITS) + known[-1] + 1 if known else 0

    def light(self, index: int) -> float | None:
        """Return the beam's light of an index; ``None`` if it is unknown. Safe from any thread."""
        return self._lights.get(index)

    def put(self, index: int, position: PositionM, light: float | None = None) -> bool:
        """Enter a position; the latest is kept, but a bad one never replaces a good one. False if there is no room."""
        page = self._pages.get(index >> _PAGE_BITS)
        if page is None:
            if len(self._pages) >= self._max_pages:
                return False
            page = self._pages[index >> _PAGE_BITS] = _EMPTY_PAGE[:]
        if light is not None:
            self._lights[index] = light
        place = 2 * (index & (_PAGE - 1))
        if not position.is_place:
            if math.isfinite(page[place]):
                return True
            position = MOVING if position == MOVING else _BAD
        page[place], page[place + 1] = position
        return True

    def fill(self, positions_m: NDArray[np.float64]) -> None:
        """Enter positions ``(n, 2)``, metres, of indexes 0 to n - 1, replacing known ones."""
        is_good = (np.abs(positions_m) <= FARTHEST_M).all(axis=1, keepdims=True)
        values = np.where(is_good, positions_m, math.inf)
        for page in range(-(-len(values) // _PAGE)):
            known = array("d", values[page * _PAGE : (page + 1) * _PAGE].tobytes())
            rest = self._pages.get(page, _EMPTY_PAGE)[len(known) :]
            self._pages[page] = known + rest

    def update(self, other: PositionTable) -> None:
        """Enter all positions of another table."""
        for number, page in other._pages.items():
            for place in range(_PAGE):
                if not math.isnan(page[2 * place]):
                    self.put((number << _PAGE_BITS) + place, PositionM(page[2 * place], page[2 * place + 1]))
        self._lights |= other._lights
