"""The account of one scan: where each message received for it is, and what never came."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from streams.frame import Frame, PositionNews
from streams.join.far_frames import FarFrames
from streams.join.index_tables import IndexSet, PositionTable
from streams.join.timing import TimeCheck

__all__ = ["EndedBy", "ScanAccount", "SourceRun", "Verdict", "Waiting"]

_MOST_NAME_CHARS = 256

EndedBy = Literal["end", "all_there", "source", "new_scan", "crowd", "silence", "operator"]
"""What closed a scan: its end message; all frames there, or the end of the position source, and then silence; a newer
scan; too many open at once; silence alone; an operator."""


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


@dataclass(slots=True)
class SourceRun:
    """One run of the source: when it began, the scan that it belongs to, and what it said so far.

    ``was_seen_beginning`` is False where this end listened only later; ``run_id`` is the run's name where the source names
    its runs; ``to_keep`` is as in :class:`PositionNews`.
    """

    began_at: float
    was_seen_beginning: bool
    scan_id: str | None = None
    positions: int = 0
    samples: int = 0
    samples_lost: int = 0
    samples_per_frame: int = 1
    has_ended: bool = False
    run_id: str | None = None
    to_keep: dict[str, Any] | None = None
    fault: str | None = None
    about: dict[str, Any] | None = None
    timing: TimeCheck = field(default_factory=TimeCheck)

    @property
    def goes_on(self) -> bool:
        """Whether another run that begins lies within this one, which has given positions and not ended."""
        return self.run_id is not None and not self.has_ended and self.positions > 0

    def take(self, news: PositionNews) -> None:
        """Enter what a message says."""
        self.positions += len(news.positions)
        for position in news.positions:
            if position.time_s is not None:
                self.timing.add_position(position.index, position.time_s)
        self.samples, self.samples_lost = news.samples, news.samples_lost
        self.samples_per_frame = news.samples_per_frame
        self.has_ended = news.ends or (self.has_ended and not news.positions)
        self.fault = news.fault or self.fault
        self.about = news.run or self.about
        self.to_keep = news.to_keep or self.to_keep

    def as_plain(self) -> dict[str, Any] | None:
        """Return what has to be known of a named run after a restart, as plain data; ``None`` for other runs."""
        if self.run_id is None or len(self.run_id) > _MOST_NAME_CHARS:
            return None
        return {
            "run_id": self.run_id,
            "was_seen_beginning": self.was_seen_beginning,
            "has_ended": self.has_ended,
            "samples": self.samples if self.has_ended else 0,
            "about": self.about,
            "to_keep": self.to_keep,
        }


class ScanAccount:
    """One scan while it lasts: its counts, the frames that wait, and four sets of indexes.

    - ``seen``: that came at all, good or not,
    - ``held``: of which a good copy was taken,
    - ``misplaced``: of which a copy was refused for its bad position,
    - ``in_flight``: handed on as scan points and not yet stitched.
    """

    def __init__(self, scan_id: str, expected: int | None, positions: PositionTable, opened_at: float) -> None:
        self.scan_id = scan_id
        self.expected = expected
        self.opened_at = opened_at
        self.has_start = self.refuses_all = False
        self.first_index: int | None = None
        self.ended_at: float | None = None
        self.ended_by: EndedBy | None = None
        self.was_cut_short = False
        self.received = self.duplicate = self.stitched = self.without_position = 0
        self.refused: Counter[str] = Counter()
        self.refusals: dict[str, str] = {}
        self.position_messages_refused = 0
        self.position_refusal: str | None = None
        self.seen, self.held, self.misplaced, self.in_flight = (IndexSet() for _ in range(4))
        self.waiting: dict[int, Waiting] = {}
        self.far: FarFrames | None = None
        self.first_far_at = 0.0
        self.positions = positions
        self.has_newer_positions = False
        self.source: SourceRun | None = None
        self.announced: SourceRun | None = None
        self.source_began_anew = False
        self.position_conflicts = self.positions_beyond = self.dark = 0
        self.timing = TimeCheck()
        self._missing_below_expected = expected or 0
        self._gaps = 0
        self._beyond = 0

    @property
    def frames(self) -> int:
        """One more than the highest index seen."""
        return self._beyond

    @property
    def missing(self) -> int:
        """Indexes that never came: those below ``expected``, or, where that is unknown, the gaps."""
        return self._gaps if self.expected is None else self._missing_below_expected

    @property
    def paired(self) -> int:
        """Frames that have found their position."""
        return len(self.held) - len(self.waiting)

    @property
    def pending(self) -> int:
        """Frames that wait for their position, lie far from all others, or are in flight."""
        return len(self.waiting) + len(self.in_flight) + (0 if self.far is None else len(self.far))

    @property
    def is_finished(self) -> bool:
        """Whether the scan has ended and nothing is pending."""
        return self.ended_at is not None and self.pending == 0

    def take_run(self, run: SourceRun) -> None:
        """Take the run of the position source that belongs to this scan."""
        run.scan_id, self.source = self.scan_id, run
        run.timing.take_frames(self.timing)
        self.timing = run.timing

    def expect(self, expected: int | None) -> None:
        """Take the count that a repeated start gives, before any frame."""
        if expected is not None:
            self.expected = self._missing_below_expected = expected

    def note(self, index: int) -> None:
        """Enter an index as seen."""
        if not self.seen.add(index):
            return
        if self.first_index is None:
            self.first_index = index
        if self.expected is not None and index < self.expected:
            self._missing_below_expected -= 1
        self._gaps += index - self._beyond if index >= self._beyond else -1
        self._beyond = max(self._beyond, index + 1)

    def refuse(self, reason: str, index: int | None = None, words: str = "") -> None:
        """Enter a message as refused, and what was wrong with the first of its kind; a good copy may come again."""
        self.refused[reason] += 1
        if words:
            self.refusals.setdefault(reason, words)
        if index is not None:
            self.held.discard(index)

    def refuse_position_message(self, words: str) -> None:
        """Enter a message of the position source as refused, and what was wrong with the first."""
        self.position_messages_refused += 1
        self.position_refusal = self.position_refusal or words

    def shed(self) -> None:
        """Drop what only an unfinished scan needs."""
        self.seen, self.held, self.misplaced, self.in_flight = (IndexSet() for _ in range(4))
        self.positions = PositionTable(0)

    def verdict(self) -> Verdict:
        """Return the account as it stands."""
        return Verdict(
            self.expected, self.received, self.duplicate, self.missing,
            dict(self.refused), self.without_position, self.pending, self.stitched,
        )  # fmt: skip
