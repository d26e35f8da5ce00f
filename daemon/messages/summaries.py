"""The summaries of the verbs for files, as they print them with ``--json`` and keep them in the manifest of a batch."""

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from ptychopinn.diagnosis.plausibility import PlainFinding


class PositionSummary(TypedDict, total=False):
    """The search for true positions; empty where it was not asked for."""

    positions_corrected: bool
    position_error_px: float | None
    position_seconds: float


class ResolutionSummary(TypedDict, total=False):
    """The resolution; empty where it was not asked for."""

    frc_nm: float | None
    frc_px: float | None
    frc_criterion: str
    frc_seconds: float


class ComparisonSummary(TypedDict):
    """A picture beside the true object; :class:`ptychopinn.diagnosis.comparison.Comparison` explains the fields."""

    phase_correlation: float | None
    amplitude_correlation: float | None
    ssim: float | None
    ms_ssim: float | None
    ms_ssim_scales: int
    amplitude_ssim: float | None
    difference: float | None
    frc_px: float | None
    frc_nm: float | None
    frc_criterion: str
    shift_px: tuple[float, float]
    ramp_rad_px: tuple[float, float]
    pixels: int
    side_px: int


class RunSummary(TypedDict):
    """The frames that a model predicted, and the time that it took."""

    frames: int
    refused: dict[int, str]
    """The reason for each refused frame, by its index."""
    seconds: float
    frames_per_s: float
    batch: int
    rfactors: list[float | None]
    looks: int


class PredictionSummary(RunSummary, PositionSummary, ResolutionSummary):
    """One scan of ``predict``."""

    input: str
    scan: int | None
    """Its number where the file holds several."""
    output: str
    pixel_size_m: float | None
    sweeps: int
    positions: str
    resolution: str
    rfactor: float | None
    comparison: ComparisonSummary | None
    verdict: str
    doubts: "list[PlainFinding]"
    model: str


class RefinementSummary(PositionSummary, ResolutionSummary):
    """One scan of ``refine``."""

    input: str
    output: str
    rfactor: float | None
    sweeps: int
    seconds: float
    pixel_size_m: float | None
    left_out: int
    """Frames that the refinement leaves out."""
    rfactors: list[float | None]
    verdict: str
    doubts: "list[PlainFinding]"
    notes: list[str]


class SimulationSummary(TypedDict):
    """One scan of ``simulate``."""

    file: str
    frames: int
    size_px: int
    seed: int


ScanSummary = PredictionSummary | RefinementSummary | SimulationSummary
