"""The place of each frame of a scan in its journal: eight bytes for each frame, in small pages, so that gaps cost little."""

from __future__ import annotations

from array import array

_PAGE_BITS = 6
"""A page has 64 frames: half a KiB, also for a single frame far from the others."""
_IN_PAGE = (1 << _PAGE_BITS) - 1
_OFFSET_BITS = 40
"""Offsets below 1 TiB; the other 23 bits hold the number of the segment."""
_EMPTY = array("q", [-1]) * (1 << _PAGE_BITS)


class PlaceTable:
    """(segment, offset) by frame index; one thread writes, any thread may read."""

    def __init__(self) -> None:
        self._pages: dict[int, array[int]] = {}

    def get(self, index: int) -> tuple[int, int] | None:
        """Return segment and offset; None if the frame is not in the journal."""
        page = self._pages.get(index >> _PAGE_BITS)
        packed = -1 if page is None else page[index & _IN_PAGE]
        return None if packed < 0 else (packed >> _OFFSET_BITS, packed & ((1 << _OFFSET_BITS) - 1))

    def put(self, index: int, segment: int, offset: int) -> None:
        """Store the place of a frame, unless an earlier copy of it is known."""
        page = self._pages.get(index >> _PAGE_BITS)
        if page is None:
            page = self._pages[index >> _PAGE_BITS] = _EMPTY[:]
        if page[index & _IN_PAGE] < 0:
            page[index & _IN_PAGE] = segment << _OFFSET_BITS | offset
