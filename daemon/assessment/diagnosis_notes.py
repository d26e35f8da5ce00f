"""Every note that the diagnosis adds to a scan, with its sentence. ``ptychopinn.diagnosis`` describes the misfit itself."""

from __future__ import annotations

from streams.sentence_enum import SentenceEnum

__all__ = ["DiagnosisNote"]


class DiagnosisNote(SentenceEnum):
    """A note; ``sentence`` has no full stop and places for values in braces."""

    NOT_EXAMINED = "not_examined", "the first frames could not be examined: {fault}"
    TOO_FEW = "too_few", "the probe was not retrieved: only {frames} of the first frames overlap"
    NOT_RETRIEVED = (
        "not_retrieved",
        "the probe could not be retrieved from {frames} frames: R stays at {rfactor:.2f}; check [optics], orientation and "
        "positions",
    )
    RETRIEVED = "retrieved", "the probe was retrieved from {frames} frames: R fell from {before:.2f} to {after:.2f}"
    CORRECTED = "corrected", "the daemon corrects this from now on"
