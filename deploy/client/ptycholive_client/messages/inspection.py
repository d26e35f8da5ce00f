"""Answers about single frames and about the probe."""

from collections.abc import Sequence

from ptycholive_client.messages.headers import LayerName
from ptycholive_client.messages.typed import TypedDict


class FrameFields(TypedDict):
    """One frame of a scan."""

    scan_id: str
    """Id of the scan."""
    index: int
    """Index of the frame."""
    position_px: Sequence[float] | None
    """Measured position [y, x] in pixels of the object's own frame; null: the frame is not stitched."""
    found_px: Sequence[float] | None
    """Position [y, x] as the refinement corrects it; null: it is not corrected."""
    pixel_size_m: float | None
    """Side of an object pixel, m; null: unknown."""
    previous: int | None
    """Stitched frame with the next lower index; null: none."""
    next: int | None
    """Stitched frame with the next higher index; null: none."""
    layer: LayerName
    """Layer that the modelled pattern is computed from."""
    side_px: int | None
    """Side of the pattern, pixels; null: the pattern is not held."""
    counts: float | None
    """Counts of the valid pixels; null: the pattern is not held."""
    masked_pixels: int | None
    """Pixels of the pattern without data; null: the pattern is not held."""
    rfactor: float | None
    """R-factor of this frame; null: unknown."""
    absent: str | None
    """Why there is no measured or no modelled pattern; null: both are there."""


class FrameMap(TypedDict):
    """R-factor by frame, over the scan; every frame of a small scan, evenly chosen frames of a large one."""

    scan_id: str
    """Id of the scan."""
    layer: LayerName
    """Layer that the R-factors belong to."""
    frames: int
    """Stitched frames of the scan."""
    indexes: Sequence[int]
    """Indexes of the frames here, ascending."""
    positions_px: Sequence[Sequence[float]]
    """Their measured positions [y, x] in pixels of the object's own frame."""
    rfactors: Sequence[float | None]
    """Their R-factors; null: unknown."""


class ProbeFields(TypedDict):
    """The probe of a scan."""

    scan_id: str
    """Id of the scan."""
    shares: Sequence[float]
    """Share of each mode in the energy of the probe."""
    side_px: int
    """Side of the probe, pixels."""
    pixel_size_m: float | None
    """Side of a pixel, m; null: unknown."""
    wavelength_m: float | None
    """Wavelength, m; null: the photon energy is unknown, so the probe cannot be propagated."""
    reach_m: float | None
    """Distance up to which the probe can be propagated on its grid, m; null: unknown."""
    change: float | None
    """Energy of the difference to the probe given, over that of the probe given; null: their shapes differ."""
