"""The assessment of a scan: a grade, the reason, one action, and all notes."""

from enum import StrEnum

from ptycholive_client.messages.typed import TypedDict


class Grade(StrEnum):
    """The grade of a scan, or of one note about it."""

    GOOD = "good"
    CHECK = "check"
    BAD = "bad"


class FitCheck(StrEnum):
    """Whether the diagnosis has checked that patterns, positions and probe of a scan fit together."""

    PENDING = "pending"
    FITS = "fits"
    MISFIT = "misfit"
    WEAK_SAMPLE = "weak_sample"
    TOO_FEW_FRAMES = "too_few_frames"
    UNFINISHED = "unfinished"
    OFF = "off"


class NoteFields(TypedDict):
    """One note about a scan or the daemon."""

    grade: Grade
    """Gravity of the note; good: for information only."""
    sentence: str
    """The note in words."""
    action: str
    """What to do about it; empty: nothing."""
    since: str | None
    """Time at which the daemon found it first, ISO 8601, UTC; null: unknown."""


class AssessmentFields(TypedDict):
    """How good a scan is."""

    grade: Grade
    """The grade: good, check or bad."""
    reason: str
    """The reason for the grade, in words."""
    action: str
    """What to do now."""
    code: str
    """Name of the reason."""
    is_rfactor_meaningful: bool
    """Whether R-factor and expected correlation say something about the picture."""
    notes: list[NoteFields]
    """All notes, the gravest first, then the newest."""


class IncidentFields(TypedDict):
    """Something that happened in mid-scan and has spoilt a part of it."""

    code: str
    """Name of the reason."""
    sentence: str
    """What happened, in words."""
    since: str
    """When the daemon found it, ISO 8601, UTC."""


class MisfitFields(TypedDict):
    """What the diagnosis has found to be wrong with a scan."""

    sentence: str
    """The misfit in words."""
    action: str
    """The configuration change that corrects it."""
    is_corrected: bool
    """Whether the daemon corrects it by itself."""
