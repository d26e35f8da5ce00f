"""Doubts about a file: sentences that every verb shows, with how much they weigh."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a doubt weighs."""

    NOTE = "note"
    """Something was assumed or done; nothing is lost."""
    DOUBT = "doubt"
    """It may be right, and a person should look."""
    WRONG = "wrong"
    """The file contradicts itself or lacks data: ``validate`` does not call it good."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """One finding about a file.

    ``topic`` is one word for programs: pixels, mask, units, shapes, links, missing, positions, overlap,
    patterns or near_field.
    """

    severity: Severity
    topic: str
    text: str

    @property
    def is_fatal(self) -> bool:
        """Whether no picture of such a file can be right; of frames that are there it can, whatever others are missing."""
        return self.severity is Severity.WRONG and self.topic not in ("missing", "links")

    def __str__(self) -> str:
        return self.text


def note(topic: str, text: str) -> Doubt:
    """Return a finding that only tells."""
    return Doubt(Severity.NOTE, topic, text)


def doubt(topic: str, text: str) -> Doubt:
    """Return a finding that a person should look at."""
    return Doubt(Severity.DOUBT, topic, text)


def wrong(topic: str, text: str) -> Doubt:
    """Return a finding after which a file is not good."""
    return Doubt(Severity.WRONG, topic, text)
