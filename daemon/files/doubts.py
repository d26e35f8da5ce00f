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

    ``topic`` is one word for programs: pixels, mask, units, shapes, links, missing, positions or patterns.
    """

    severity: Severity
    topic: str
    text: str

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
