"""Section on the beam, the geometry and the probe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from daemon.config.base import Positive, Section

PROBE_SOURCES = ("probe_file", "zone_plate", "pinhole", "kb")


class ZonePlate(Section):
    """A zone plate in place of a probe."""

    outermost_zone_width_m: Positive = Field(description="Width of the outermost zone, m.")
    diameter_m: Positive = Field(description="Diameter, m.")
    central_stop_m: Annotated[float, Field(ge=0)] = Field(0.0, description="Diameter of the central stop, m; 0: none.")
    defocus_m: float = Field(0.0, description="Distance of the sample behind the focus, m; negative: before the focus.")


class Pinhole(Section):
    """A pinhole in place of a probe."""

    diameter_m: Positive = Field(description="Diameter, m.")
    distance_m: Annotated[float, Field(ge=0)] = Field(0.0, description="Pinhole to sample, m.")


class KbMirrors(Section):
    """A pair of crossed mirrors in place of a probe; pairs are vertical, horizontal."""

    focal_lengths_m: tuple[Positive, Positive] = Field(description="Focal lengths, m.")
    openings_m: tuple[Positive, Positive] = Field(description="Beam width that each mirror accepts, m.")
    defocus_m: float = Field(0.0, description="Distance of the sample behind the focus, m; negative: before the focus.")


class Optics(Section):
    """The beam, the geometry and the probe."""

    photon_energy_eV: Positive | None = Field(None, description="Photon energy, eV. Default: from the stream.")  # noqa: N815
    detector_distance_m: Positive | None = Field(
        None, description="Distance from sample to detector, m. Default: from the stream."
    )
    detector_pixel_size_m: Positive | None = Field(None, description="Detector pixel, m. Default: from the stream.")
    object_pixel_size_m: Positive | None = Field(None, description="Object pixel, m; replaces the three keys above.")
    probe_file: Path | None = Field(
        None, description="Product, NPZ or CXI file with the probe; or describe the optics instead:"
    )
    zone_plate: ZonePlate | None = Field(
        None, description="Zone plate from which the daemon computes an initial probe."
    )
    pinhole: Pinhole | None = Field(None, description="Pinhole from which the daemon computes an initial probe.")
    kb: KbMirrors | None = Field(None, description="Mirror pair from which the daemon computes an initial probe.")
    retrieve_probe: bool = Field(
        False,
        description="Retrieve the probe from a scan's first frames; always on if the probe is computed from optics.",
    )
    retrieve_frames: Annotated[int, Field(ge=16, le=2000)] = Field(
        100, description="Number of frames for the retrieval."
    )

    @model_validator(mode="after")
    def _has_one_probe(self) -> Optics:
        given = [name for name in PROBE_SOURCES if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise ValueError(f"the probe comes from one of {', '.join(PROBE_SOURCES)}, but {found} is given")
        return self

    @property
    def is_retrieved(self) -> bool:
        """Whether the probe is a guess, to be retrieved."""
        return self.retrieve_probe or self.probe_file is None
