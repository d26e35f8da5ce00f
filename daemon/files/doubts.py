"""Doubts about a file: sentences that every verb shows, with their severity."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """Severity of a doubt."""

    NOTE = "note"
    """An assumption or a conversion; nothing is lost."""
    DOUBT = "doubt"
    """Possibly right; a person should check."""
    WRONG = "wrong"
    """The file contradicts itself or lacks data; ``validate`` fails."""


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
        """Whether no picture of the file can be right. Missing frames do not make the others wrong."""
        return self.severity is Severity.WRONG and self.topic not in ("missing", "links")

    def __str__(self) -> str:
        return self.text


def note(topic: str, text: str) -> Doubt:
    """Return a finding that needs no check."""
    return Doubt(Severity.NOTE, topic, text)


def doubt(topic: str, text: str) -> Doubt:
    """Return a finding that a person should check."""
    return Doubt(Severity.DOUBT, topic, text)


def wrong(topic: str, text: str) -> Doubt:
    """Return a finding that makes a file invalid."""
    return Doubt(Severity.WRONG, topic, text)
