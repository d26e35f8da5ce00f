"""Every reason for a grade: its sentence, its action, and how long it must last before it counts."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from daemon.messages import Grade

SETTLE_S = 2.0
"""Frames that are on their way through another socket come within this time, s."""
STREAM_S = 3.0
"""A sender that reconnects is back within this time, s; detectors send at 1 Hz and more."""
LATE_S = 10.0
"""A position source that sends at all has sent by then, s; a slow line of a raster takes less."""
BEHIND_S = 5.0
"""A device that has caught up within this time, s, does not matter to an operator."""
NOTHING = "nothing to do"


class Reason(StrEnum):
    """A reason. ``sentence`` and ``action`` have no full stop, and places for values in braces.

    ``holds_s``: a running scan gets the grade only after the reason has held for this time, s.
    """

    grade: Grade
    sentence: str
    action: str
    holds_s: float

    def __new__(cls, value: str, grade: Grade, sentence: str, action: str, holds_s: float = 0.0) -> Self:
        """Make a member with its attributes."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.grade, member.sentence, member.action, member.holds_s = grade, sentence, action, holds_s
        return member

    # The daemon.
    DAEMON_FAULT = "daemon_fault", Grade.BAD, "{sentence}", "{action}", SETTLE_S

    # A picture that does not show the sample.
    NO_PICTURE = "no_picture", Grade.BAD, "none of the {received} frames is in the picture: {parts}", "{action}"
    POSITION_STREAM_GONE = (
        "position_stream_gone",
        Grade.BAD,
        "{frames} frames wait for positions, and the position stream {endpoint} is not connected",
        "start the position source, or correct [positions] endpoint",
        STREAM_S,
    )
    NO_POSITIONS = (
        "no_positions",
        Grade.BAD,
        "none of the {frames} frames has a position, so there is no picture",
        "check that the position source sends for this scan, and [positions] source",
        LATE_S,
    )
    BEAM_LOST = (
        "beam_lost",
        Grade.BAD,
        "the beam is lost: the newest patterns hold {share:.1%} of the counts of earlier ones",
        "check shutter and beam, then repeat the scan",
        1.0,
    )
    MISFIT = "misfit", Grade.BAD, "{sentence}", "{action}"
    NONSENSE = "nonsense", Grade.BAD, "the picture does not show the sample: {sentence}", "{action}"
    POOR_FIT = (
        "poor_fit",
        Grade.BAD,
        "the picture does not explain the patterns: R is {rfactor:.2f}",
        "check probe, photon energy, distance, orientation and positions",
        4.0,
    )

    # Frames that do not come, or are lost.
    FRAME_STREAM_GONE = (
        "frame_stream_gone",
        Grade.BAD,
        "the frame stream {endpoint} is not connected in mid-scan: no frame for {silent_s:.0f} s",
        "check the detector and its computer; the scan goes on when frames come",
    )
    FRAMES_STOPPED = (
        "frames_stopped",
        Grade.BAD,
        "no frame has arrived for {silent_s:.0f} s",
        "check detector, trigger and stage; the scan goes on when frames come",
    )
    MANY_LOST = "many_lost", Grade.BAD, "{lost} of {due} frames are lost: {parts}", "{action}", SETTLE_S
    FRAMES_LATE = (
        "frames_late",
        Grade.CHECK,
        "no frame has arrived for {silent_s:.0f} s",
        "check detector, trigger and stage; the scan goes on when frames come",
    )
    POSITIONS_STOPPED = (
        "positions_stopped",
        Grade.CHECK,
        "no position has arrived for {silent_s:.0f} s, and {frames} frames wait for theirs",
        "check the stage and the position source",
    )
    STAGE_STILL = (
        "stage_still",
        Grade.CHECK,
        "the stage does not move: the last {frames} frames have the same position",
        "check the stage and its encoder",
        STREAM_S,
    )
    LOST = "lost", Grade.CHECK, "{lost} of {due} frames are lost: {parts}", "{action}", SETTLE_S
    DUPLICATES = (
        "duplicates",
        Grade.CHECK,
        "{count} of {received} frames arrived twice",
        "check that only one sender feeds the frame stream; the picture is right",
        SETTLE_S,
    )
    STOPPED = "stopped", Grade.CHECK, "an operator stopped the scan after {stitched} frames", NOTHING

    # The rest.
    DOUBTFUL = "doubtful", Grade.CHECK, "{sentence}", "{action}"
    SLOW_DEVICE = (
        "slow_device",
        Grade.CHECK,
        "the device is slower than the detector: {frames} frames wait, the oldest for {age_s:.0f} s; no frame is lost",
        "wait for it, or lower the frame rate",
        BEHIND_S,
    )
    NOTE_BAD = "note_bad", Grade.BAD, "{sentence}", "{action}"
    NOTE_CHECK = "note_check", Grade.CHECK, "{sentence}", "{action}"
    NOTE = "note", Grade.GOOD, "{sentence}", "{action}"

    # Nothing is wrong.
    COMPLETE = "complete", Grade.GOOD, "all {stitched} frames are in the picture{limit}", "{action}"
    RUNNING = "running", Grade.GOOD, "no fault found in {received} frames{limit}", "{action}"
    READY = "ready", Grade.GOOD, "the daemon is ready; no scan has started yet", NOTHING
    STARTING = "starting", Grade.GOOD, "the daemon is starting", "wait"


SPOILT = {
    Reason.BEAM_LOST: "the beam was lost in mid-scan, at about frame {frame}",
    Reason.STAGE_STILL: "the stage stood still in mid-scan, before frame {frame}",
}
"""Reasons that spoil a part of the picture for good, though no frame is lost, with the sentence that stays with the scan."""
