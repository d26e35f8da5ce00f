"""Issues that only a running scan can have."""

from __future__ import annotations

from collections.abc import Iterator

from daemon.assessment.facts import LiveFacts, ScanFacts
from daemon.assessment.issues import Issue
from daemon.assessment.reasons import LATE_S, STREAM_S, Reason
from ptychopinn.diagnosis.plausibility import NONSENSE_RFACTOR

LATE_TIMES = 3.0
"""A silence of this many times the longest one before it is worth a look: lines of a raster differ little."""
STOPPED_TIMES = 3.0
"""A silence of this many times the one that is worth a look means that the detector has stopped."""
WAITING_FRAMES = 16
"""Frames may wait for positions that come in batches; a few waiting frames do not matter."""
LEAST_BEAM_SHARE = 0.02
"""A sample that passes less of the beam than this is rare; dark noise of a photon counter is far below it."""


def running_issues(facts: ScanFacts) -> Iterator[Issue]:
    """Yield the issues of a scan that runs; none of others."""
    live = facts.live
    if live is None or not facts.is_running:
        return
    yield from _positions(facts, live)  # without them there is no picture, whether more frames come or not
    yield from _frames(live)
    if live.beam_share is not None and live.beam_share < LEAST_BEAM_SHARE:
        yield Issue(Reason.BEAM_LOST, {"share": live.beam_share})
    if live.still_frames:
        yield Issue(Reason.STAGE_STILL, {"frames": live.still_frames})
    if live.waiting_frames:
        yield Issue(Reason.SLOW_DEVICE, {"frames": live.waiting_frames, "age_s": live.waiting_s})
    if live.rfactor is not None and live.rfactor > NONSENSE_RFACTOR and facts.misfit is None:
        yield Issue(Reason.POOR_FIT, {"rfactor": live.rfactor})


def _frames(live: LiveFacts) -> Iterator[Issue]:
    if not live.are_frames_due or live.silent_s is None:
        return
    late_s = max(STREAM_S, LATE_TIMES * (live.usual_silence_s or 0.0))
    if live.silent_s <= late_s:
        return
    values = {"silent_s": live.silent_s}
    if live.frames_endpoint is not None:
        yield Issue(Reason.FRAME_STREAM_GONE, {**values, "endpoint": live.frames_endpoint})
    elif live.silent_s > STOPPED_TIMES * late_s:
        yield Issue(Reason.FRAMES_STOPPED, values)
    else:
        yield Issue(Reason.FRAMES_LATE, values)


def _positions(facts: ScanFacts, live: LiveFacts) -> Iterator[Issue]:
    frames = live.waiting_for_positions
    if frames < WAITING_FRAMES or live.are_positions_late:
        return
    if live.positions_endpoint is not None:
        yield Issue(Reason.POSITION_STREAM_GONE, {"frames": frames, "endpoint": live.positions_endpoint})
    elif facts.verdict is not None and facts.verdict["received"] == frames:
        yield Issue(Reason.NO_POSITIONS, {"frames": frames})
    elif live.positions_silent_s is not None:
        late_s = max(LATE_S / 2, LATE_TIMES * (live.usual_positions_silence_s or 0.0))
        if live.positions_silent_s > late_s:
            yield Issue(Reason.POSITIONS_STOPPED, {"frames": frames, "silent_s": live.positions_silent_s})
