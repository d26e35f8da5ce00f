"""The gravity of the notes of a scan: each is one of a few enums' sentences, with its numbers filled in."""

from __future__ import annotations

import re
from collections.abc import Iterable

from daemon.assessment.diagnosis_notes import DiagnosisNote
from daemon.assessment.issues import Issue, of_sentence
from daemon.assessment.reasons import Reason
from ptychopinn.diagnosis.plausibility import SUMMARY_BEGINNINGS
from streams.join.scan_warnings import ScanWarning
from streams.sentence_enum import SentenceEnum

REASONS: dict[SentenceEnum, Reason] = {
    ScanWarning.ACCOUNT: Reason.NOTE_BAD,
    ScanWarning.TOO_MANY_SCANS: Reason.NOTE_BAD,
    ScanWarning.OUTSIDE_MOSAIC: Reason.NOTE_BAD,
    ScanWarning.WRONG_SAMPLES_PER_FRAME: Reason.NOTE_BAD,
    ScanWarning.TOO_MANY_SAMPLES: Reason.NOTE_BAD,
    ScanWarning.LOST_TRIGGERS: Reason.NOTE_BAD,
    ScanWarning.END_CROWD: Reason.NOTE_CHECK,
    ScanWarning.BEYOND_EXPECTED: Reason.NOTE_CHECK,
    ScanWarning.POSITION_CONFLICTS: Reason.NOTE_CHECK,
    ScanWarning.POSITIONS_BEYOND: Reason.NOTE_CHECK,
    ScanWarning.BAD_POSITIONS: Reason.NOTE_CHECK,
    ScanWarning.FAR_FRAMES: Reason.NOTE_CHECK,
    ScanWarning.SOURCE_RESTARTED: Reason.NOTE_CHECK,
    ScanWarning.SAMPLES_LOST: Reason.NOTE_CHECK,
    ScanWarning.UNEVEN_SAMPLES: Reason.NOTE_CHECK,
    DiagnosisNote.TOO_FEW: Reason.NOTE_CHECK,
    DiagnosisNote.NOT_RETRIEVED: Reason.NOTE_BAD,
}
"""Every other note is for information: what it tells either does no harm or counts in the account, as lost frames do."""


def _pattern(sentence: str) -> re.Pattern[str]:
    """Return the pattern of a sentence with any values in its places."""
    return re.compile(".*".join(re.escape(part) for part in re.split(r"\{[^}]*\}", sentence)), re.DOTALL)


_PATTERNS = [(_pattern(member.sentence), member) for member in (*ScanWarning, *DiagnosisNote)]


def warning_of(note: str) -> SentenceEnum | None:
    """Return the warning that a note is the sentence of; None for a sentence from elsewhere."""
    return next((member for pattern, member in _PATTERNS if pattern.fullmatch(note)), None)


def issues_of_notes(notes: Iterable[str], told: str | None = None) -> list[Issue]:
    """Return one issue for each note; ``told`` begins a note that another issue tells already, as doubts are."""
    found = []
    for note in dict.fromkeys(notes):
        if note.startswith(SUMMARY_BEGINNINGS) or (told and note.startswith(told)):
            continue
        member = warning_of(note)
        reason = Reason.NOTE if member is None else REASONS.get(member, Reason.NOTE)
        found.append(of_sentence(reason, note, note if member is None else member.name))
    return found
