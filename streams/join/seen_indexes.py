"""The frame indexes of one scan that came at all, and how many never came."""

from __future__ import annotations

from streams.join.index_tables import IndexSet

__all__ = ["SeenIndexes"]

_REORDERED = 32
"""Gaps that may still close in a stream whose frames do not come in order: parallel senders differ by a few messages each."""


class SeenIndexes:
    """Indexes of received frames, good or refused; ``expected`` is the number of frames that the scan announced."""

    __slots__ = ("_beyond", "_expected", "_first", "_gaps", "_is_in_order", "_missing_below_expected", "_seen")

    def __init__(self, expected: int | None) -> None:
        self._expected = expected
        self._missing_below_expected = expected or 0
        self._seen = IndexSet()
        self._first: int | None = None
        self._beyond = 0
        self._gaps = 0
        self._is_in_order = True

    @property
    def expected(self) -> int | None:
        """Number of frames that the scan announced; ``None`` if unknown."""
        return self._expected

    @property
    def first(self) -> int | None:
        """Index of the first frame received; ``None`` before it."""
        return self._first

    @property
    def beyond(self) -> int:
        """One more than the highest index seen."""
        return self._beyond

    @property
    def missing(self) -> int:
        """Indexes that never came: those below ``expected``, or the gaps below the highest where that is unknown."""
        return self._gaps if self._expected is None else self._missing_below_expected

    @property
    def overtaken(self) -> int:
        """Indexes that later ones have overtaken, without those that may still come in a stream that is not in order."""
        return self._gaps if self._is_in_order else max(0, self._gaps - _REORDERED)

    def expect(self, expected: int | None) -> None:
        """Take the count that a repeated start announces, before any frame."""
        if expected is not None:
            self._expected = self._missing_below_expected = expected

    def add(self, index: int) -> None:
        """Note that an index came."""
        if not self._seen.add(index):
            return
        if self._first is None:
            self._first = index
        if self._expected is not None and index < self._expected:
            self._missing_below_expected -= 1
        if index >= self._beyond:
            self._gaps += index - self._beyond
            self._beyond = index + 1
        else:
            self._gaps -= 1
            self._is_in_order = False

    def drop_set(self) -> None:
        """Free the set of indexes; the counts stay. Only for a finished scan."""
        self._seen = IndexSet()
