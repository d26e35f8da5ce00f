"""Every warning of the daemon's status, with its sentence."""

from __future__ import annotations

from streams.sentence_enum import SentenceEnum

__all__ = ["StatusWarning"]


class StatusWarning(SentenceEnum):
    """A warning; ``sentence`` has no full stop and places for values in braces."""

    THREAD_ENDED = "thread_ended", "the {name} has ended; restart the daemon"
    THREAD_HANGS = "thread_hangs", "the {name} has hung for more than a minute"
    SLOW_DEVICE = (
        "slow_device",
        "the device is slower than the detector: {frames} frames wait, the oldest for {age_s:.0f} s; no frame is lost",
    )
    NO_CENTER = "no_center", "{frames} frames wait until the beam centre is found"
    NO_POSITIONS = "no_positions", "{frames} frames wait for their positions"
    NO_FRAMES = "no_frames", "no frame has arrived for {silent_s:.0f} s"
    NOT_CONNECTED = "not_connected", "the {name} stream {endpoint} is not connected"
