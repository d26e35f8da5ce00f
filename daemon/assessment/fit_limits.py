"""What a good grade leaves open: whether patterns, positions and probe fit together, where that could not be checked."""

from __future__ import annotations

from daemon.assessment.reasons import NOTHING
from daemon.messages import FitCheck

_LIMITS = {
    FitCheck.PENDING: ("the fit of patterns, positions and probe is not checked yet", NOTHING),
    FitCheck.WEAK_SAMPLE: (
        "the fit of patterns, positions and probe could not be checked, as the sample is too weak",
        "check orientation and optics with a strong sample",
    ),
    FitCheck.TOO_FEW_FRAMES: (
        "the fit of patterns, positions and probe could not be checked, as too few frames overlap",
        NOTHING,
    ),
    FitCheck.UNFINISHED: (
        "the fit of patterns, positions and probe was not checked, as the processor had no time for it",
        "look at the picture",
    ),
    FitCheck.OFF: (
        "the fit of patterns, positions and probe was not checked, as the diagnosis is off",
        "set [diagnosis] enabled = true",
    ),
}
"""Sentence and action for each check that has not said that all fits; a misfit has a reason of its own."""


def limit_of(check: FitCheck | None) -> tuple[str, str]:
    """Return what was not checked, in words, and the action; an empty text where nothing is left open."""
    return ("", NOTHING) if check is None else _LIMITS.get(check, ("", NOTHING))
