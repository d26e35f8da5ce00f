"""Every warning about the stream of a scan, with its sentence."""

from __future__ import annotations

from streams.sentence_enum import SentenceEnum

__all__ = ["ScanWarning"]


class ScanWarning(SentenceEnum):
    """A warning; the value is its name, ``sentence`` says what happened and what to do, with places for numbers."""

    ACCOUNT = "account", "the account of its frames does not add up; this is an internal error: report it with the log"
    TOO_MANY_SCANS = (
        "too_many_scans",
        "scans open faster than their frames are reconstructed; check which programs send to the frame stream",
    )
    NO_START = (
        "no_start",
        "its start message was not received{first}: this program was started late, or the message was lost",
    )
    END_ALL_THERE = "end_all_there", "all its frames arrived, but its end message did not"
    END_SOURCE = (
        "end_source",
        "the run or its position source has ended and no more frames arrived; the detector's end message was lost",
    )
    END_NEW_SCAN = (
        "end_new_scan",
        "a new scan began before its end: the detector was restarted or armed again, or its end message was lost",
    )
    END_CROWD = (
        "end_crowd",
        "too many scans were open at once, so the oldest was closed; check which other programs send to this endpoint",
    )
    END_SILENCE = (
        "end_silence",
        "frames stopped and no end message arrived: the detector was stopped, or its end message was lost",
    )
    DUPLICATES = "duplicates", "{count} frames arrived twice; check that only one sender feeds the frame stream"
    DARK = "dark", "{count} frames are dark, without a single count: the shutter was closed or the beam was off"
    BEYOND_EXPECTED = "beyond_expected", "frames up to index {last} arrived, but {expected} frames were announced"
    REFUSED = "refused", "{count} frames were refused ({reason}); the first: {sentence}"
    POSITION_CONFLICTS = (
        "position_conflicts",
        "{count} positions arrived again with other values; check that only one position source sends",
    )
    POSITION_MESSAGES = "position_messages", "{count} position messages were refused; the first: {sentence}"
    POSITIONS_BEYOND = (
        "positions_beyond",
        "{count} positions exceed the memory for one scan; check the numbering of the position source",
    )
    BAD_POSITIONS = (
        "bad_positions",
        "{count} frames have a position that is not finite, or farther away than a stage can move",
    )
    STAGE_MOVING = (
        "stage_moving",
        "{count} frames were left out, because the stage moved farther than [positions] max_motion_m during them",
    )
    OUTSIDE_MOSAIC = (
        "outside_mosaic",
        "{count} frames lie too far from the others for one picture; check [positions] unit and scale",
    )
    FAR_FRAMES = (
        "far_frames",
        "frames far from all others, left out of the picture: {count}; check whether an encoder slips",
    )
    SOURCE_RESTARTED = (
        "source_restarted",
        "the position source restarted during the scan; later frames have no position",
    )
    SAMPLES_LOST = (
        "samples_lost",
        "{lost} of {samples} position samples never arrived; their frames have no position",
    )
    TOO_MANY_SAMPLES = (
        "too_many_samples",
        "{samples} position samples arrived for {frames} frames, but [positions] samples_per_frame is {configured}; "
        "correct it",
    )
    WRONG_SAMPLES_PER_FRAME = (
        "wrong_samples_per_frame",
        "{samples} position samples arrived for {frames} frames, which is {found} per frame, but [positions] "
        "samples_per_frame is {configured}; set it to {found}",
    )
    UNEVEN_SAMPLES = (
        "uneven_samples",
        "{samples} position samples arrived for {frames} frames, which is {found:.2f} per frame, but [positions] "
        "samples_per_frame is {configured}; check the trigger",
    )
    LOST_TRIGGERS = (
        "lost_triggers",
        "from about frame {index} on, frames and positions are {frames:+d} frames apart by their clocks; triggers were lost",
    )

    def text(self, **values: object) -> str:
        """Return the sentence with its numbers."""
        return self.sentence.format(**values)
