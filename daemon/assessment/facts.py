"""The facts that an assessment rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from daemon.messages import DoubtFields, FitCheck, IncidentFields, MisfitFields, ScanState, VerdictFields


@dataclass(frozen=True, slots=True)
class LiveFacts:
    """What only a running scan has.

    Attributes
    ----------
    are_frames_due
        Whether frames of the scan are still awaited.
    silent_s, usual_silence_s
        Time since the last frame, s, and the longest earlier one of this scan; None if unknown.
    frames_endpoint, positions_endpoint
        Addresses of streams that are not connected; None for a stream that is, or that there is none of.
    positions_silent_s, usual_positions_silence_s
        The same for positions; None where they have no stream, or none has come yet.
    overtaken
        Frame indexes that later frames have overtaken, so that they are lost.
    waiting_for_positions
        Frames without a position yet.
    are_positions_late
        Whether positions may come only at the end of a scan, as with files of a Bluesky run.
    beam_share
        Counts of the newest patterns over those of earlier ones; None if unknown.
    still_frames
        Number of newest frames that all lie on one place; 0 if the stage moves.
    waiting_frames, waiting_s
        Frames that wait for a device that is slower than the detector, and the age of the oldest; 0 where it is not.
    rfactor
        Best R-factor of the picture so far; None if unknown, or too early.
    """

    are_frames_due: bool = True
    silent_s: float | None = None
    usual_silence_s: float | None = None
    frames_endpoint: str | None = None
    positions_endpoint: str | None = None
    positions_silent_s: float | None = None
    usual_positions_silence_s: float | None = None
    overtaken: int = 0
    waiting_for_positions: int = 0
    are_positions_late: bool = False
    beam_share: float | None = None
    still_frames: int = 0
    waiting_frames: int = 0
    waiting_s: float = 0.0
    rfactor: float | None = None


@dataclass(frozen=True, slots=True)
class ScanFacts:
    """A scan as its record tells it, its account, and while it runs also ``live``."""

    state: ScanState
    verdict: VerdictFields | None = None
    notes: Sequence[str] = ()
    doubts: Sequence[DoubtFields] = ()
    incidents: Sequence[IncidentFields] = ()
    misfit: MisfitFields | None = None
    fit_check: FitCheck | None = None
    live: LiveFacts | None = None

    @property
    def is_running(self) -> bool:
        """Whether the scan is not at its end."""
        return self.state in (ScanState.SCANNING, ScanState.FINISHING)
