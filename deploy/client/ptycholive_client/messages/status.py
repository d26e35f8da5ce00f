"""The status of the daemon."""

from collections.abc import Sequence
from enum import StrEnum
from typing import NotRequired

from ptycholive_client.messages.assessment import AssessmentFields
from ptycholive_client.messages.scan import FrcFields, ScanState, VerdictFields
from ptycholive_client.messages.typed import TypedDict


class Phase(StrEnum):
    """What the daemon does."""

    STARTING = "starting"
    READY = "ready"
    SCANNING = "scanning"
    FINISHING = "finishing"
    IDLE = "idle"
    STOPPING = "stopping"


class DaemonState(StrEnum):
    """The phase, or ``degraded`` while something lasting is wrong."""

    STARTING = "starting"
    READY = "ready"
    SCANNING = "scanning"
    FINISHING = "finishing"
    IDLE = "idle"
    STOPPING = "stopping"
    DEGRADED = "degraded"


class LearningState(StrEnum):
    """What fine-tuning does. After a failure of its process the state is a sentence instead."""

    OFF = "off"
    WAITING = "waiting for frames"
    LEARNING = "learning"
    PAUSED = "paused"
    RESTING = "resting: the model has no network to teach"


class DiagnosisState(StrEnum):
    """What the diagnosis does."""

    OFF = "off"
    WAITING = "waiting for frames"
    RETRIEVING = "retrieving the probe"
    LOOKING = "looking"


class JournalStatus(TypedDict):
    """The journal of frames on disk."""

    folder: str
    """Folder of the journal."""
    bytes: int
    """Size of the journal."""
    frames_skipped: int
    """Frames that could not be written to the journal."""
    left_alone: dict[str, str]
    """Folders that the daemon does not touch, with the reason."""


class StreamStatus(TypedDict):
    """One input stream."""

    name: str
    """Name of the stream: frames, positions or metadata."""
    endpoint: str
    """Address of the stream."""
    connected: bool
    """Whether a sender is connected."""
    fault: str | None
    """What is wrong with the stream."""
    handshake_failures: int
    """Connections that failed because keys do not match."""
    messages: int
    """Messages received."""
    refused: dict[str, int]
    """Refused messages by reason."""
    bytes: int
    """Bytes received."""
    silent_s: float | None
    """Time since the last message, s; null: none was received."""


class SinkStatus(TypedDict):
    """One sink."""

    kind: str
    """Name of the plug-in."""
    ok: int
    """Deliveries that succeeded."""
    failed: int
    """Deliveries that failed."""
    dropped: int
    """Deliveries dropped because the sink was too slow."""
    waiting: int
    """Deliveries that wait."""
    trouble: str | None
    """What is wrong with the sink."""


class LayerRfactors(TypedDict):
    """R-factor of each layer of the newest scan; null: unknown."""

    network: float | None
    """R-factor of the network layer."""
    refined: float | None
    """R-factor of the refined layer."""


class ModelStatus(TypedDict):
    """The active model."""

    name: str
    """Name of the model."""
    generation: int
    """Number of models that were active before it."""


class LearningStatus(TypedDict):
    """Fine-tuning. If it is off, only ``state`` is present."""

    state: str
    """What fine-tuning does: off, waiting for frames, learning, paused, resting, or a sentence after a failure."""
    steps: NotRequired[int]
    """Training steps."""
    loss: NotRequired[float | None]
    """Training loss."""
    frames: NotRequired[int]
    """Frames in the replay buffer."""
    refused: NotRequired[int]
    """Frames that the replay buffer refused."""
    heldout_rfactor: NotRequired[dict[str, float]]
    """R-factor on held-out frames of the active network and of the last candidate."""
    promotions: NotRequired[dict[str, int]]
    """Number of candidates by result."""
    generations: NotRequired[int]
    """Promoted models that can be undone."""


class DiagnosisStatus(TypedDict):
    """The diagnosis of a scan's first frames."""

    state: DiagnosisState
    """What the diagnosis does."""
    finding: str | None
    """What it found last."""
    looks: int
    """Number of diagnoses made."""
    last_s: float | None
    """Duration of the last diagnosis, s."""


class WorkerStatus(TypedDict):
    """One worker of a cluster."""

    worker: int
    """Number of the worker, from 0."""
    state: str
    """starting, running or restarting."""
    host: str | None
    """Machine; null before its first start."""
    device: str | None
    """Device of its engine."""
    frames_stitched: int
    """Frames that it has stitched."""
    frames_waiting: int
    """Frames that wait for it."""
    frames_in_flight: int
    """Frames that it works on."""
    tiles_age_s: float | None
    """Time since its part of a picture changed, s; null: it has not yet."""
    restarts: int
    """How often it was lost and started again."""
    trouble: str | None
    """What is wrong with it."""


class Status(TypedDict):
    """State of the daemon and of the newest scan."""

    state: DaemonState
    """The phase, or degraded."""
    phase: Phase
    """What the daemon does."""
    degraded: list[str]
    """Lasting faults, worst first, one sentence each."""
    scan_id: str | None
    """Id of the newest scan."""
    scan_state: ScanState | None
    """State of the newest scan."""
    frames_received: int | None
    """Frame messages received in the newest scan."""
    frames_stitched: int | None
    """Frames stitched in the newest scan."""
    frames_pending: int | None
    """Frames of the newest scan not yet stitched, refused or given up."""
    frames_overtaken: int | None
    """Frame indexes of the newest scan that later frames have overtaken, so that they are lost; in mid-scan."""
    expected_frames: int | None
    """Frames that the newest scan should have; null: unknown."""
    scans_unfinished: list[str]
    """Ids of all scans that have not ended."""
    backlog_frames: int
    """Frames that wait for the device."""
    backlog_on_disk: int
    """Frames of the backlog that wait on disk."""
    backlog_age_s: float
    """Waiting time of the oldest frame of the backlog, s."""
    is_behind: bool
    """Whether the device is slower than the detector."""
    journal: JournalStatus | None
    """The journal; null: it is off."""
    waiting_for_positions: int
    """Frames that wait for their position."""
    positions_ignored: int
    """Positions that belong to no scan."""
    waiting_for_center: int
    """Frames that wait until the beam centre is found."""
    center_px: Sequence[int] | None
    """Centre of the beam on the detector, [row, column]."""
    center_from: str | None
    """Source of the beam centre."""
    masked_pixels: int | None
    """Detector pixels in the pattern without data in any frame; null: unknown."""
    notes: list[str]
    """Warnings about recent scans, one sentence each."""
    receive_rate_hz: float
    """Frames received per second."""
    stitch_rate_hz: float
    """Frames stitched per second."""
    latency_s: float | None
    """Time from receiving a frame to publishing an update that shows it, s."""
    rfactor: LayerRfactors
    """R-factors of the newest scan."""
    expected_correlation: float | None
    """Median phase correlation with the truth of simulated scans with the same noise and misfit."""
    position_error_px: float | None
    """Mean distance between told and found positions of the newest scan, px; null: its picture uses the told ones."""
    planned_box_m: Sequence[float] | None
    """Part of the object that the newest scan will cover, [top, left, bottom, right], m; null: positions come with it."""
    frc_nm: float | None
    """Resolution of the newest scan by Fourier ring correlation of two halves of its frames, nm; null: unknown."""
    frc: FrcFields | None
    """The curve that it is read from, and how long it has not got better."""
    verdict: VerdictFields | None
    """Account of the newest scan's frames."""
    assessment: AssessmentFields
    """How good the newest scan is, and what to do."""
    account: str | None
    """The same account in one sentence."""
    streams: list[StreamStatus]
    """The input streams, frames first."""
    model: ModelStatus
    """The active model."""
    device: str
    """Device of the reconstruction."""
    finetune: LearningStatus
    """Fine-tuning."""
    diagnosis: DiagnosisStatus
    """Diagnosis of the first frames."""
    refine_updates: float | None
    """Frames used by the refined layer, counted in each sweep."""
    subscribers: int
    """Connected viewers, over ZeroMQ and in browsers."""
    sinks: list[SinkStatus]
    """The sinks."""
    workers: list[WorkerStatus]
    """The workers of the cluster; empty without one."""
    failure: str | None
    """The last internal error, or the last refused message while it is recent."""
    version: str
    """Version of the daemon."""
    sentence: str
    """The status in words."""
