"""From the facts of a scan to its assessment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from daemon.assessment.facts import ScanFacts
from daemon.assessment.fit_limits import limit_of
from daemon.assessment.graded_notes import issues_of_notes
from daemon.assessment.issues import SEE_LOG, Issue, of_sentence
from daemon.assessment.losses import losses
from daemon.assessment.reasons import NOTHING, Reason
from daemon.assessment.running import running_issues
from daemon.messages import AssessmentFields, Grade, NoteFields, ScanState
from ptychopinn.diagnosis.plausibility import Doubt

GRAVITY = {Grade.BAD: 0, Grade.CHECK: 1, Grade.GOOD: 2}
VOID = frozenset((Reason.MISFIT, Reason.NONSENSE, Reason.POOR_FIT, Reason.NO_PICTURE, Reason.BEAM_LOST))
"""Reasons for which R and the expected correlation say nothing about the sample."""

Since = Callable[[Issue], str | None]


def assess(facts: ScanFacts | None, troubles: Sequence[str] = (), *, is_starting: bool = False) -> AssessmentFields:
    """Return the assessment of a scan, None before the first, and of the daemon's lasting ``troubles``."""
    return assessment_of(issues_of(facts, troubles), facts, is_starting=is_starting)


def issues_of(facts: ScanFacts | None, troubles: Sequence[str] = ()) -> list[Issue]:
    """Return every issue, the gravest first."""
    found = [of_sentence(Reason.DAEMON_FAULT, sentence, otherwise=SEE_LOG) for sentence in troubles]
    if facts is not None:
        found += [*_misfit(facts), *running_issues(facts), *_incidents(facts), *_doubts(facts), *losses(facts)]
        told = None if facts.misfit is None else facts.misfit["sentence"]
        found += issues_of_notes(facts.notes, told)
    return sorted(found, key=lambda issue: GRAVITY[issue.grade])


def assessment_of(
    issues: Sequence[Issue],
    facts: ScanFacts | None,
    *,
    is_starting: bool = False,
    since: Since = lambda issue: None,
) -> AssessmentFields:
    """Return the assessment that issues, the gravest first, give."""
    worst = issues[0] if issues and issues[0].grade != Grade.GOOD else _well(facts, is_starting=is_starting)
    is_void = any(issue.reason in VOID for issue in issues) or _has_diverged(facts)
    return {
        "grade": worst.grade,
        "reason": _capital(worst.sentence),
        "action": _capital(worst.action or NOTHING),
        "code": worst.reason.value,
        "is_rfactor_meaningful": not is_void,
        "notes": [_note(issue, since) for issue in issues],
    }


def _note(issue: Issue, since: Since) -> NoteFields:
    return {
        "grade": issue.grade,
        "sentence": _capital(issue.sentence),
        "action": _capital(issue.action),
        "since": since(issue),
    }


def _well(facts: ScanFacts | None, *, is_starting: bool) -> Issue:
    if is_starting:
        return Issue(Reason.STARTING)
    if facts is None:
        return Issue(Reason.READY)
    counts = {name: 0 if facts.verdict is None else facts.verdict[name] for name in ("received", "stitched")}
    limit, action = limit_of(facts.fit_check)
    values = {**counts, "limit": limit and f"; {limit}", "action": action}
    return Issue(Reason.COMPLETE if facts.state == ScanState.COMPLETE else Reason.RUNNING, values)


def _misfit(facts: ScanFacts) -> Iterator[Issue]:
    misfit = facts.misfit
    if misfit is not None:
        reason = Reason.NOTE if misfit["is_corrected"] else Reason.MISFIT
        yield Issue(reason, {"sentence": misfit["sentence"], "action": misfit["action"]}, "misfit")


def _incidents(facts: ScanFacts) -> Iterator[Issue]:
    for incident in facts.incidents:
        reason = next((one for one in Reason if one.value == incident["code"]), Reason.NOTE_CHECK)
        yield Issue(reason, key=incident["since"], told=incident["sentence"])


def _doubts(facts: ScanFacts) -> Iterator[Issue]:
    for doubt in facts.doubts:
        reason = Reason.NONSENSE if doubt["is_nonsense"] else Reason.DOUBTFUL
        yield of_sentence(reason, doubt["sentence"], doubt["doubt"], SEE_LOG)


def _has_diverged(facts: ScanFacts | None) -> bool:
    return facts is not None and any(doubt["doubt"] == Doubt.DIVERGED for doubt in facts.doubts)


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
