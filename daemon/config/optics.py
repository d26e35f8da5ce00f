"""Section on the beam, the geometry and the probe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from daemon.config.base import Positive, Section

PROBE_SOURCES = ("probe_file", "zone_plate", "pinhole", "kb")


class ZonePlate(Section):
    """Zone plate from which the daemon computes an initial probe."""

    outermost_zone_width_m: Positive = Field(description="Width of the outermost zone, m.")
    diameter_m: Positive = Field(description="Diameter, m.")
    central_stop_m: Annotated[float, Field(ge=0)] = Field(
        0.0, description="Diameter of the central stop, m; 0: no stop."
    )
    defocus_m: float = Field(0.0, description="Distance of the sample behind the focus, m; negative: before the focus.")


class Pinhole(Section):
    """Pinhole from which the daemon computes an initial probe."""

    diameter_m: Positive = Field(description="Diameter, m.")
    distance_m: Annotated[float, Field(ge=0)] = Field(0.0, description="Distance from the pinhole to the sample, m.")


class KbMirrors(Section):
    """Pair of crossed mirrors from which the daemon computes an initial probe; pairs of values: vertical, horizontal."""

    focal_lengths_m: tuple[Positive, Positive] = Field(description="Focal lengths, m.")
    openings_m: tuple[Positive, Positive] = Field(description="Beam width that each mirror accepts, m.")
    defocus_m: float = Field(0.0, description="Distance of the sample behind the focus, m; negative: before the focus.")


class Optics(Section):
    """The beam, the geometry and the probe."""

    photon_energy_eV: Positive | None = Field(None, description="Photon energy, eV. Default: from the stream.")  # noqa: N815
    detector_distance_m: Positive | None = Field(
        None, description="Distance from sample to detector, m. Default: from the stream."
    )
    detector_pixel_size_m: Positive | None = Field(
        None, description="Side of a detector pixel, m. Default: from the stream."
    )
    object_pixel_size_m: Positive | None = Field(
        None, description="Side of an object pixel, m; replaces the three keys above."
    )
    probe_file: Path | None = Field(
        None, description="Product, NPZ or CXI file with the probe. Alternatives: zone_plate, pinhole, kb."
    )
    zone_plate: ZonePlate | None = Field(
        None, description="Zone plate from which the daemon computes an initial probe."
    )
    pinhole: Pinhole | None = Field(None, description="Pinhole from which the daemon computes an initial probe.")
    kb: KbMirrors | None = Field(None, description="Mirror pair from which the daemon computes an initial probe.")
    retrieve_probe: bool = Field(
        False,
        description="Retrieve the probe from the first frames of a scan; always on if the probe is computed from optics.",
    )
    retrieve_frames: Annotated[int, Field(ge=16, le=2000)] = Field(
        100, description="Number of frames for the retrieval."
    )

    @model_validator(mode="after")
    def _has_one_probe(self) -> Optics:
        given = [name for name in PROBE_SOURCES if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"give exactly one of {', '.join(PROBE_SOURCES)} for the probe (given: {found})")
        return self

    @property
    def is_retrieved(self) -> bool:
        """Whether the given probe is only an initial guess, from which the daemon retrieves the probe."""
        return self.retrieve_probe or self.probe_file is None
