"""One run of a position source: from one arming of the source to the next."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypedDict

from streams.frame import PositionNews
from streams.join.timing import TimeCheck

__all__ = ["KeptRun", "KeptRuns", "ResumedRun", "SourceRun"]

_MOST_NAME_CHARS = 256
"""Longest run name that is written to the journal; a Bluesky uid has 36 characters."""


class KeptRun(TypedDict):
    """The facts about a named run that are needed after a restart.

    ``about`` and ``to_keep`` are plain data of the control system and of its reader.
    """

    run_id: str
    was_seen_beginning: bool
    has_ended: bool
    samples: int
    about: dict[str, object] | None
    to_keep: dict[str, object] | None


class ResumedRun(KeptRun):
    """A kept run, and the number of frames whose positions were received before the restart."""

    frames: int


class KeptRuns(TypedDict, total=False):
    """The named runs of one scan, as the journal stores them."""

    source: KeptRun
    announced: KeptRun


@dataclass(slots=True)
class SourceRun:
    """A run: when it began, the scan it belongs to, and what its messages said so far.

    ``was_seen_beginning`` is False where this program listened only later; ``run_id`` is the run's name where the source
    names its runs; ``to_keep`` is as in :class:`PositionNews`.
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
    to_keep: dict[str, object] | None = None
    fault: str | None = None
    about: dict[str, object] | None = None
    timing: TimeCheck = field(default_factory=TimeCheck)

    @classmethod
    def resumed(cls, kept: KeptRun, now: float) -> SourceRun:
        """Return the run that an earlier process knew, from what :meth:`as_plain` gave."""
        return cls(
            now,
            bool(kept["was_seen_beginning"]),
            samples=int(kept["samples"]),
            has_ended=bool(kept["has_ended"]),
            run_id=str(kept["run_id"]),
            to_keep=kept["to_keep"],
            about=kept["about"],
        )

    @property
    def may_enclose_another(self) -> bool:
        """Whether a run that begins now lies within this one: it has a name, gave positions and has not ended."""
        return self.run_id is not None and not self.has_ended and self.positions > 0

    def name(self, run_id: str) -> None:
        """Take the name that the source gives the run."""
        self.run_id = run_id

    def assign(self, scan_id: str, positions: int | None = None) -> None:
        """Take the scan that the run belongs to; ``positions`` counts those an earlier process received."""
        self.scan_id = scan_id
        if positions is not None:
            self.positions = positions

    def take(self, news: PositionNews) -> None:
        """Take what a message says."""
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

    def as_plain(self) -> KeptRun | None:
        """Return the facts about a named run that are needed after a restart; ``None`` for other runs."""
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
