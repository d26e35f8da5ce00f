"""The account of one scan: where each message received for it is, and what never came."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, NamedTuple

from streams.frame import Frame
from streams.tables import IndexSet, PositionTable

__all__ = ["ScanAccount", "Verdict", "Waiting"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The account of a scan, in messages; ``missing`` in indexes that never came.

    With ``expected`` known, missing counts the indexes below it that were not seen; else the gaps below the highest.
    """

    expected: int | None
    received: int
    duplicate: int
    missing: int
    refused: dict[str, int]
    without_position: int
    pending: int
    stitched: int

    @property
    def is_complete(self) -> bool:
        """Whether every frame that the scan should have is in the picture."""
        if self.expected is not None:
            return self.missing == 0 and self.pending == 0 and self.stitched >= self.expected
        return not (self.missing or self.pending or self.without_position or self.refused)

    def as_dict(self) -> dict[str, Any]:
        """Return the account as plain data."""
        return {
            "expected": self.expected,
            "received": self.received,
            "duplicate": self.duplicate,
            "missing": self.missing,
            "refused": dict(self.refused),
            "without_position": self.without_position,
            "pending": self.pending,
            "stitched": self.stitched,
        }


class Waiting(NamedTuple):
    """A frame that waits for its position ``since`` a time; ``number`` counts all that ever waited."""

    frame: Frame
    since: float
    number: int


class ScanAccount:
    """One scan while it lasts: its counts, the frames that wait, and four sets of indexes.

    - ``seen``: that came at all, good or not,
    - ``held``: of which a good copy was taken,
    - ``misplaced``: of which a copy was refused for its bad position,
    - ``in_flight``: handed on as scan points and not yet stitched.
    """

    def __init__(self, scan_id: str, expected: int | None, positions: PositionTable) -> None:
        self.scan_id = scan_id
        self.expected = expected
        self.ended_at: float | None = None
        self.was_cut_short = False
        self.received = self.duplicate = self.stitched = self.without_position = 0
        self.refused: Counter[str] = Counter()
        self.seen, self.held, self.misplaced, self.in_flight = (IndexSet() for _ in range(4))
        self.waiting: dict[int, Waiting] = {}
        self.positions = positions
        self.has_newer_positions = False
        self._missing_below_expected = expected or 0
        self._gaps = 0
        self._beyond = 0

    @property
    def pending(self) -> int:
        """Frames that wait for their position or are in flight."""
        return len(self.waiting) + len(self.in_flight)

    @property
    def is_finished(self) -> bool:
        """Whether the scan has ended and nothing is pending."""
        return self.ended_at is not None and self.pending == 0

    def expect(self, expected: int | None) -> None:
        """Take the count that a repeated start gives, before any frame."""
        if expected is not None:
            self.expected = self._missing_below_expected = expected

    def note(self, index: int) -> None:
        """Enter an index as seen."""
        if not self.seen.add(index):
            return
        if self.expected is not None and index < self.expected:
            self._missing_below_expected -= 1
        self._gaps += index - self._beyond if index >= self._beyond else -1
        self._beyond = max(self._beyond, index + 1)

    def refuse(self, reason: str, index: int | None = None) -> None:
        """Enter a message as refused; a good copy of a held index may come again."""
        self.refused[reason] += 1
        if index is not None:
            self.held.discard(index)

    def shed(self) -> None:
        """Drop what only an unfinished scan needs."""
        self.seen, self.held, self.misplaced, self.in_flight = (IndexSet() for _ in range(4))
        self.positions = PositionTable(0)

    def verdict(self) -> Verdict:
        """Return the account as it stands."""
        missing = self._gaps if self.expected is None else self._missing_below_expected
        return Verdict(
            self.expected, self.received, self.duplicate, missing,
            dict(self.refused), self.without_position, self.pending, self.stitched,
        )  # fmt: skip
