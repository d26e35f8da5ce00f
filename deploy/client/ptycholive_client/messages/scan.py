"""Messages about one scan: its state, its account of frames, its record, its start and end."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Literal, NotRequired

from ptycholive_client.messages.assessment import AssessmentFields, FitCheck, IncidentFields, MisfitFields
from ptycholive_client.messages.typed import TypedDict


class ScanState(StrEnum):
    """Where a scan is: it receives frames, its last frames are reconstructed, or how it ended."""

    SCANNING = "scanning"
    FINISHING = "finishing"
    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    STOPPED = "stopped"


class EngineState(StrEnum):
    """Where a scan is that another engine reconstructs."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class VerdictFields(TypedDict):
    """The account of a scan's frames: received = stitched + duplicate + refused + without_position + pending."""

    expected: int | None
    """Frames that the scan should have; null: unknown."""
    received: int
    """Frame messages received."""
    duplicate: int
    """Frames received more than once."""
    missing: int
    """Frame indexes that never arrived; in mid-scan also those still to come."""
    refused: dict[str, int]
    """Refused frames by reason."""
    without_position: int
    """Frames that got no position."""
    pending: int
    """Frames received but not yet stitched, refused or given up."""
    stitched: int
    """Frames stitched into the picture."""


class DoubtFields(TypedDict):
    """One reason to doubt a picture."""

    doubt: str
    """Kind of doubt."""
    sentence: str
    """The reason in words."""
    is_nonsense: bool
    """Whether the picture cannot be one of the sample."""


class FrcFields(TypedDict):
    """Fourier ring correlation of two pictures, each from every other frame of a part of the scan."""

    frc_nm: float | None
    """Half a period at which the curve falls below the threshold, nm; null: it does so at once."""
    criterion: Literal["half-bit"]
    """Name of the threshold."""
    frames: int
    """Frames of both halves."""
    no_gain_s: float
    """Time without a gain in resolution, up to the last comparison, s."""
    is_settled: bool
    """Whether that time is 30 s or more: more frames and more time no longer sharpen the picture."""
    frequency_per_m: list[float]
    """Spatial frequencies, 1/m."""
    correlation: list[float]
    """Correlation at each frequency."""
    threshold: list[float]
    """The threshold at each frequency."""


class EngineResult(TypedDict):
    """The result of another engine for a scan."""

    name: str
    """Name of the engine."""
    state: EngineState
    """Progress of the engine."""
    fault: NotRequired[str]
    """Why it failed."""
    rfactor: NotRequired[float]
    """R-factor of its picture."""
    seconds: NotRequired[float]
    """Time it took, s."""
    frames: NotRequired[int]
    """Frames it used."""
    product: NotRequired[str]
    """Path of its product."""


class ScanFields(TypedDict):
    """One scan."""

    id: str
    """Id of the scan."""
    state: ScanState
    """State of the scan."""
    started: str
    """Time of its start, ISO 8601, UTC."""
    ended: str | None
    """Time of its end, ISO 8601, UTC."""
    rfactor: float | None
    """R-factor of the picture in the product."""
    rfactor_network: float | None
    """R-factor of the network layer."""
    expected_correlation: float | None
    """Median phase correlation with the truth of simulated scans with the same noise and misfit."""
    position_error_px: float | None
    """Mean distance between told and found positions, px; null: the picture uses the told ones."""
    frc_nm: float | None
    """Resolution by Fourier ring correlation of two halves of the frames, nm; null: unknown."""
    frc: FrcFields | None
    """The curve that it is read from."""
    model_generation: int
    """Generation of the model that made the picture."""
    product: str | None
    """Path of the product file."""
    pixel_size_m: float | None
    """Side of an object pixel, m."""
    center_px: Sequence[int] | None
    """Centre of the beam on the detector, [row, column]."""
    center_from: str | None
    """Source of the beam centre."""
    masked_pixels: int | None
    """Detector pixels in the pattern without data in any frame; null: unknown."""
    notes: list[str]
    """Warnings about the scan, one sentence each."""
    run: dict[str, object] | None
    """Metadata of the control system's run that the positions belong to."""
    engine: EngineResult | None
    """Result of another engine; null: none was asked for."""
    verdict: VerdictFields | None
    """Account of frames."""
    doubts: list[DoubtFields]
    """Reasons to doubt the picture."""
    incidents: Sequence[IncidentFields]
    """What happened in mid-scan and has spoilt a part of the scan."""
    misfit: MisfitFields | None
    """Misfit of patterns, positions and probe that the diagnosis found; null: none."""
    fit_check: FitCheck | None
    """Whether the diagnosis has checked the fit of patterns, positions and probe; null: unknown, of an older record."""
    assessment: AssessmentFields | None
    """How good the scan is."""


class ScanStarted(TypedDict):
    """A scan has started."""

    scan_id: str
    """Id of the scan."""
    state: Literal["started"]
    """Always started."""
    expected: int | None
    """Frames that the scan should have; null: unknown."""


class ScanEnded(TypedDict):
    """A scan has ended, or its late product is written now."""

    scan_id: str
    """Id of the scan."""
    state: Literal["ended"]
    """Always ended."""
    verdict: VerdictFields
    """Account of frames."""
    result: ScanState
    """How the scan ended."""
    product: str | None
    """Path of the product file; null: not written yet."""
    rfactors: dict[str, float]
    """R-factor by layer."""
    notes: list[str]
    """Warnings about the scan, one sentence each."""
    assessment: AssessmentFields | None
    """How good the scan is."""
