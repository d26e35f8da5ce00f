"""From facts to a grade: every reason, and none for a good scan."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from daemon.assessment import LiveFacts, Reason, ScanFacts, assess
from daemon.assessment.diagnosis_notes import DiagnosisNote
from daemon.assessment.graded_notes import REASONS, warning_of
from daemon.assessment.issues import split_action
from daemon.messages import FitCheck, Grade, ScanState
from streams.join.scan_warnings import ScanWarning
from tests.support import messages

GOOD = messages.verdict(expected=516, received=516, duplicate=0, missing=0, stitched=516)
HALF = messages.verdict(expected=516, received=259, duplicate=0, missing=257, stitched=250, pending=9)
MISFIT = {"sentence": "patterns look transposed", "action": "set [detector] orientation", "is_corrected": False}
LOST_BEAM = {"code": "beam_lost", "sentence": "the beam was lost in mid-scan", "since": "2026-01-02T03:04:05+00:00"}
DIVERGED = {"doubt": "diverged", "sentence": "the refinement diverged once: check probe", "is_nonsense": False}
NONSENSE = {"doubt": "one_place", "sentence": "all frames lie on one place: check the unit", "is_nonsense": True}


def running(verdict: Any = HALF, **live: Any) -> ScanFacts:
    return ScanFacts(ScanState.SCANNING, verdict, live=LiveFacts(**live))


def ended(state: ScanState = ScanState.INCOMPLETE, **changes: Any) -> ScanFacts:
    return ScanFacts(state, {**GOOD, **changes})


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (None, Reason.READY),
        (running(), Reason.RUNNING),
        (running({**HALF, "received": 0, "stitched": 0, "missing": 516, "pending": 0}), Reason.RUNNING),
        (running(silent_s=2.9), Reason.RUNNING),
        (running(silent_s=30.0, usual_silence_s=11.0), Reason.RUNNING),  # a raster with slow returns
        (running(silent_s=30.0, are_frames_due=False, frames_endpoint="tcp://a:1"), Reason.RUNNING),
        (running(waiting_for_positions=200, positions_silent_s=9.0, usual_positions_silence_s=4.0), Reason.RUNNING),
        (running(waiting_for_positions=259, are_positions_late=True), Reason.RUNNING),
        (running(beam_share=0.3), Reason.RUNNING),
        (running(rfactor=0.3), Reason.RUNNING),
        (ScanFacts(ScanState.COMPLETE, GOOD), Reason.COMPLETE),
        (ScanFacts(ScanState.COMPLETE, {**GOOD, "duplicate": 9}), Reason.COMPLETE),
        (ScanFacts(ScanState.COMPLETE, {**GOOD, "stitched": 400, "refused": {"stage_moving": 116}}), Reason.COMPLETE),
        (running({**HALF, "stitched": 150, "refused": {"stage_moving": 100}}), Reason.RUNNING),
        (ScanFacts(ScanState.COMPLETE, GOOD, misfit={**MISFIT, "is_corrected": True}), Reason.COMPLETE),
    ],
)
def test_a_good_scan_is_good(facts: ScanFacts | None, reason: Reason) -> None:
    found = assess(facts)
    assert (found["grade"], found["code"]) == (Grade.GOOD, reason)
    assert found["is_rfactor_meaningful"]


@pytest.mark.parametrize("check", [*FitCheck, None])
def test_a_good_grade_says_what_was_not_checked(check: FitCheck | None) -> None:
    is_checked = check in (None, FitCheck.FITS, FitCheck.MISFIT)  # a misfit has a reason of its own
    for facts in (ScanFacts(ScanState.COMPLETE, GOOD, fit_check=check), replace(running(), fit_check=check)):
        found = assess(facts)
        assert found["grade"] == Grade.GOOD
        assert ("checked" in found["reason"]) is not is_checked
    assert (found["action"] == "Set [diagnosis] enabled = true") is (check == FitCheck.OFF)


@pytest.mark.parametrize(
    ("facts", "grade", "reason"),
    [
        (running(silent_s=3.1), "check", Reason.FRAMES_LATE),
        (running(silent_s=9.5), "bad", Reason.FRAMES_STOPPED),
        (running(silent_s=3.1, frames_endpoint="tcp://a:1"), "bad", Reason.FRAME_STREAM_GONE),
        (running(waiting_for_positions=259), "bad", Reason.NO_POSITIONS),
        (running(waiting_for_positions=20, positions_endpoint="tcp://a:2"), "bad", Reason.POSITION_STREAM_GONE),
        (running(waiting_for_positions=90, positions_silent_s=6.0), "check", Reason.POSITIONS_STOPPED),
        (running(beam_share=0.0), "bad", Reason.BEAM_LOST),
        (running(still_frames=60), "check", Reason.STAGE_STILL),
        (running(waiting_frames=900, waiting_s=8.0), "check", Reason.SLOW_DEVICE),
        (running(rfactor=0.6), "bad", Reason.POOR_FIT),
        (running(overtaken=13), "check", Reason.LOST),
        (running({**HALF, "refused": {"corrupt": 40}}), "bad", Reason.MANY_LOST),
        (running({**HALF, "duplicate": 26}), "check", Reason.DUPLICATES),
        (ended(missing=21, received=495, stitched=495), "check", Reason.LOST),
        (ended(missing=21, received=495, refused={"corrupt": 40}, stitched=455), "bad", Reason.MANY_LOST),
        (ended(stitched=0, without_position=516), "bad", Reason.NO_PICTURE),
        (ended(ScanState.STOPPED, stitched=300, missing=216, received=300), "check", Reason.STOPPED),
        (ScanFacts(ScanState.COMPLETE, GOOD, misfit=MISFIT), "bad", Reason.MISFIT),  # type: ignore[arg-type]
        (ScanFacts(ScanState.COMPLETE, GOOD, doubts=[NONSENSE]), "bad", Reason.NONSENSE),  # type: ignore[list-item]
        (ScanFacts(ScanState.COMPLETE, GOOD, doubts=[DIVERGED]), "check", Reason.DOUBTFUL),  # type: ignore[list-item]
        (ScanFacts(ScanState.COMPLETE, GOOD, incidents=[LOST_BEAM]), "bad", Reason.BEAM_LOST),  # type: ignore[list-item]
        (ScanFacts(ScanState.INCOMPLETE, GOOD), "check", Reason.NOTE_CHECK),  # cut short by a newer scan
    ],
)
def test_a_bad_scan_has_its_reason_and_an_action(facts: ScanFacts, grade: str, reason: Reason) -> None:
    found = assess(facts)
    assert (found["grade"], found["code"]) == (grade, reason)
    assert not found["reason"][0].islower()
    assert len(found["action"]) > 10
    assert "{" not in found["reason"] + found["action"]
    assert found["notes"][0]["sentence"] == found["reason"]


@pytest.mark.parametrize(
    ("facts", "is_meaningful"),
    [
        (ScanFacts(ScanState.COMPLETE, GOOD, misfit=MISFIT), False),  # type: ignore[arg-type]
        (ScanFacts(ScanState.COMPLETE, GOOD, doubts=[NONSENSE]), False),  # type: ignore[list-item]
        (ScanFacts(ScanState.COMPLETE, GOOD, doubts=[DIVERGED]), False),  # type: ignore[list-item]
        (ended(stitched=0), False),
        (running(beam_share=0.0), False),
        (ended(missing=21, received=495, stitched=495), True),
        (running(silent_s=60.0), True),
    ],
)
def test_figures_that_mean_nothing_are_named(facts: ScanFacts, is_meaningful: bool) -> None:
    assert assess(facts)["is_rfactor_meaningful"] == is_meaningful


def test_notes_are_sorted_by_gravity_and_none_is_told_twice() -> None:
    notes = (
        ScanWarning.END_ALL_THERE.text(),
        ScanWarning.SAMPLES_LOST.text(lost=3, samples=500),
        "patterns look transposed; set [detector] orientation",
        "doubtful: all frames lie on one place",
    )
    facts = ScanFacts(ScanState.COMPLETE, GOOD, notes, doubts=[NONSENSE], misfit=MISFIT)  # type: ignore[list-item, arg-type]
    found = assess(facts, ["the disk of /data is full: free some space"])
    assert [(note["grade"], note["sentence"].split(" ")[0]) for note in found["notes"]] == [
        ("bad", "The"), ("bad", "Patterns"), ("bad", "The"), ("check", "3"), ("good", "All"),
    ]  # fmt: skip
    assert (found["reason"], found["action"]) == ("The disk of /data is full", "Free some space")


@pytest.mark.parametrize("member", [*ScanWarning, *DiagnosisNote])
def test_each_warning_is_recognised_with_its_numbers(member: ScanWarning | DiagnosisNote) -> None:
    class Numbers(dict[str, Any]):
        def __missing__(self, key: str) -> int:
            return 7

    assert warning_of(member.sentence.format_map(Numbers())) == member
    assert REASONS.get(member, Reason.NOTE).grade in Grade


def test_the_action_of_a_sentence_is_told_apart() -> None:
    assert split_action("the frames has ended; restart the daemon") == ("the frames has ended", "restart the daemon")
    assert split_action("x: no answer. Y") == ("x: no answer. Y", "")
    assert split_action("a; check b; see c") == ("a", "check b; see c")
