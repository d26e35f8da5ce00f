"""An enum whose members are words on the wire and have a sentence for people."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

__all__ = ["SentenceEnum"]


class SentenceEnum(StrEnum):
    """A member is declared as ``NAME = "value", "Its sentence."``; it equals its value."""

    sentence: str

    def __new__(cls, value: str, sentence: str) -> Self:
        """Make a member that has a sentence."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.sentence = sentence
        return member
