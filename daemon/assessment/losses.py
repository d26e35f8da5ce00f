"""Frames that are not in the picture, and whose fault that is."""

from __future__ import annotations

from collections.abc import Iterator

from daemon.assessment.facts import ScanFacts
from daemon.assessment.issues import Issue
from daemon.assessment.reasons import Reason
from daemon.messages import ScanState, VerdictFields
from streams.refusal_reasons import RefusalReason

MANY_LOST = 0.1
"""Share of lost frames from which on a scan is bad: neighbours of a usual overlap of 60 % do not cover every gap."""
LEAST_DUPLICATES, DUPLICATE_SHARE = 10, 0.02
"""Duplicates and their share of the frames that are worth a look; a sender that reconnects repeats a few."""
_ACTIONS = {
    "missing": "check the network and the detector's stream for lost frames; repeat the scan if the picture has gaps",
    "refused": "read the notes for the reason, and see the run book; repeat the scan if the picture has gaps",
    "without position": "check that the position source sends for every frame",
    "pending": "restart the daemon, which goes on with frames in its journal",
}


def losses(facts: ScanFacts) -> Iterator[Issue]:
    """Yield issues with frames that are lost or came twice."""
    verdict = facts.verdict
    if verdict is None:
        return
    if not facts.is_running and verdict["received"] and not verdict["stitched"]:
        yield Issue(Reason.NO_PICTURE, {"received": verdict["received"], **_words(facts, verdict)})
    elif facts.state == ScanState.STOPPED:
        yield Issue(Reason.STOPPED, {"stitched": verdict["stitched"]})
    elif (lost := _lost(facts, verdict)) > 0:
        due = max(verdict["expected"] or 0, verdict["received"], lost)
        judged = verdict["received"] if facts.is_running else due
        reason = Reason.MANY_LOST if lost > MANY_LOST * judged else Reason.LOST
        yield Issue(reason, {"lost": lost, "due": due, **_words(facts, verdict)})
    elif facts.state == ScanState.INCOMPLETE:
        yield Issue(Reason.NOTE_CHECK, {"sentence": "the scan was cut short", "action": "read the notes"})
    if verdict["duplicate"] >= max(LEAST_DUPLICATES, DUPLICATE_SHARE * verdict["received"]):
        yield Issue(Reason.DUPLICATES, {"count": verdict["duplicate"], "received": verdict["received"]})


def _missing(facts: ScanFacts, verdict: VerdictFields) -> int:
    """Return how many frames never came; in mid-scan, those that later ones have overtaken."""
    if not facts.is_running:
        return verdict["missing"]
    return 0 if facts.live is None else facts.live.overtaken


def _lost(facts: ScanFacts, verdict: VerdictFields) -> int:
    if not facts.is_running and verdict["expected"] is not None:
        return max(0, verdict["expected"] - verdict["stitched"] - _gated(verdict))
    pending = 0 if facts.is_running else verdict["pending"]
    return _missing(facts, verdict) + _refused(verdict) + verdict["without_position"] + pending


def _gated(verdict: VerdictFields) -> int:
    """Return how many frames were left out because the stage moved during them, as configured: they are not lost."""
    return verdict["refused"].get(RefusalReason.STAGE_MOVING, 0)


def _refused(verdict: VerdictFields) -> int:
    return sum(verdict["refused"].values()) - _gated(verdict)


def _words(facts: ScanFacts, verdict: VerdictFields) -> dict[str, str]:
    """Return the parts of a loss in words, and what to do about the greatest."""
    counts = {
        "missing": _missing(facts, verdict),
        "refused": _refused(verdict),
        "without position": verdict["without_position"],
        "pending": 0 if facts.is_running else verdict["pending"],
    }
    parts = [f"{count} {name}" for name, count in counts.items() if count]
    greatest = max(counts, key=counts.__getitem__)
    return {"parts": ", ".join(parts) or "none was taken", "action": _ACTIONS[greatest]}
