"""Sections on the input: frames, detector, positions, documents of the control system."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from daemon.config.base import Count, Encrypted, Endpoint, Positive, Section
from streams.codecs import CODECS, OTHER_TRANSPORTS
from streams.position_sources.samples import UNITS_M

Orientation = Literal[
    "identity", "fliplr", "flipud", "rot180", "transpose", "antitranspose", "rot90_cw", "rot90_ccw"
]  # fmt: skip
PositionKind = Literal["frame", "native", "panda", "pandablocks", "bluesky", "file", "raster", "spiral"]
_ZEROMQ_SOURCES = ("native", "panda", "bluesky")
_SAMPLED = ("panda", "pandablocks", "bluesky")
"""Sources that may send several samples for each frame."""
_POSITION_NEEDS: dict[str, tuple[str, ...]] = {
    "native": ("endpoint",),
    "panda": ("endpoint",),
    "pandablocks": ("endpoint", "channels"),
    "bluesky": ("endpoint", "channels"),
    "file": ("file",),
    "raster": ("shape", "step_m"),
    "spiral": ("count", "step_m"),
}
"""Keys that a position source requires."""


def _checked_format(name: str) -> str:
    if name not in CODECS:
        raise ValueError(f"'{name}' is not a known format; choose one of {', '.join(CODECS)}")
    return name


FormatName = Annotated[str, AfterValidator(_checked_format), WithJsonSchema({"enum": list(CODECS), "type": "string"})]


class Frames(Encrypted):
    """The detector's stream."""

    endpoint: Endpoint = Field(
        description="ZeroMQ address to connect to; a leading @ binds instead. pva: pva://NAME; merlin: its data port."
    )
    socket: Literal["pull", "sub"] = Field("pull", description="Socket type.")
    format: FormatName = Field("native", description="Wire format.")
    channel: str | None = Field(None, description="Image channel. Default: the first in the header.")
    max_message_bytes: Count = Field(128 << 20, description="Largest message, bytes; larger ones are refused.")
    check_hash: bool = Field(False, description="Check pixels against the md5 hash that dectris-v1 sends.")
    expected_frames: Annotated[int, Field(ge=1, le=2**31)] | None = Field(
        None, description="For array-1.0 and pva: number of frames in a scan."
    )
    first_number: Annotated[int, Field(ge=0)] | None = Field(
        None, description="For pva: uniqueId of a scan's first frame. Default: that of the first received frame."
    )
    scan_timeout_s: Positive = Field(30.0, description="Close a scan as incomplete after this time without frames, s.")

    @model_validator(mode="after")
    def _has_an_endpoint_of_its_format(self) -> Frames:
        if self.endpoint.startswith("pva://") != (self.format == "pva"):
            raise ValueError('format = "pva" and endpoint = "pva://NAME" require each other; change one of them')
        if self.format == "merlin" and not self.endpoint.startswith("tcp://"):
            raise ValueError('format = "merlin" requires the endpoint of its data port. Example: tcp://merlin:6342')
        if self.has_keys and self.format in OTHER_TRANSPORTS:
            raise ValueError(f'format = "{self.format}" does not support CURVE keys; remove them')
        return self


class Detector(Section):
    """Steps from the detector frame to the pattern."""

    orientation: Orientation = Field("identity", description="Orientation applied to the whole frame before the crop.")
    center_px: tuple[int, int] | Literal["auto"] = Field(
        "auto",
        description="Row and column of the beam centre in the oriented frame; auto finds it in the first frames.",
    )
    size_px: Annotated[int, Field(ge=16, le=2048, multiple_of=2)] = Field(128, description="Side of the pattern, px.")
    binning: Literal[1, 2, 4] = Field(
        1, description="Detector pixels along each side of a pattern pixel; their counts are summed."
    )
    mask_file: Path | None = Field(
        None, description="NPY file in the form of the pattern or of the oriented frame; non-zero marks a bad pixel."
    )
    flatfield_file: Path | None = Field(
        None, description="NPY file in the form of the oriented frame with factors for the counts."
    )
    saturation: Positive | None = Field(None, description="Largest valid count. Default: from the stream.")


class Positions(Encrypted):
    """Source of the scan positions."""

    source: PositionKind = Field("frame", description="Type of position source.")
    endpoint: Endpoint | None = Field(
        None,
        description="For a stream: address to connect to; a leading @ binds instead. pandablocks: tcp://HOST:8889.",
    )
    socket: Literal["pull", "sub"] = Field("pull", description="Socket type. Default for panda and bluesky: sub.")
    channels: tuple[str, str] | None = Field(
        None,
        description="For panda, pandablocks, bluesky: names of the channels or data keys of y and x, in this order.",
    )
    event_stream: Annotated[str, Field(min_length=1)] = Field(
        "primary", description="For bluesky: name of the stream of events that holds the positions."
    )
    resource_folders: list[Path] = Field(
        [], description="For bluesky: folders from which the daemon may read the HDF5 files of a run."
    )
    time_channel: str | None = Field(
        None,
        description="For panda and pandablocks: channel with the time of each sample, s; it is compared with the frame times.",
    )
    monitor_channel: str | None = Field(
        None,
        description='For bluesky: data key of the beam monitor (I0) in the events, for [refine] frame_light = "monitor".',
    )
    samples_per_frame: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        1, description="Number of samples per frame; they are averaged."
    )
    max_motion_m: Positive | None = Field(
        None,
        description="With several samples per frame: frames during which the stage moves farther are left out, m.",
    )
    first_sample: Annotated[int, Field(ge=0)] = Field(0, description="Index of the first sample of frame 0.")
    unit: Literal["m", "mm", "um", "nm", "pm"] = Field("m", description="Unit of the values from the source.")
    file: Path | None = Field(None, description="For file: NPZ with position_m (n, 2), CSV, or a product.")
    shape: tuple[Count, Count] | None = Field(None, description="For raster: number of rows and of columns.")
    count: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(
        None, description="For spiral: number of positions."
    )
    step_m: tuple[float, float] | None = Field(None, description="For raster and spiral: steps in y and x, m.")
    snake: bool = Field(False, description="For raster: every second row runs in reverse.")
    scale: Positive | tuple[Positive, Positive] = Field(
        1.0, description="Factor for all positions, or one factor each for y and x."
    )
    flips: list[Literal["y", "x"]] = Field([], description="Axes whose positions are negated.")
    timeout_s: Positive = Field(
        5.0, description="Longest time that frames wait for positions after the end of a scan, s."
    )

    @model_validator(mode="before")
    @classmethod
    def _has_the_usual_socket(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("source") in ("panda", "bluesky"):
            return {"socket": "sub", **given}
        return given

    @model_validator(mode="after")
    def _has_what_the_source_needs(self) -> Positions:
        missing = [key for key in _POSITION_NEEDS.get(self.source, ()) if getattr(self, key) is None]
        if missing:
            raise ValueError(f'source = "{self.source}" requires {" and ".join(missing)}')
        if self.max_motion_m is not None and (self.source not in _SAMPLED or self.samples_per_frame < 2):
            raise ValueError(
                f"max_motion_m requires samples_per_frame of at least 2 and a source among {', '.join(_SAMPLED)}"
            )
        if self.has_keys and not self.uses_zeromq:
            raise ValueError(f'source = "{self.source}" does not support CURVE keys; remove them')
        return self

    @property
    def uses_zeromq(self) -> bool:
        """Whether the source sends messages over ZeroMQ."""
        return self.source in _ZEROMQ_SOURCES

    @property
    def factors_m(self) -> tuple[float, float]:
        """Metres of one unit of (y, x), signs included."""
        scale_y, scale_x = self.scale if isinstance(self.scale, tuple) else (self.scale, self.scale)
        unit_m = UNITS_M[self.unit]
        return (
            -scale_y * unit_m if "y" in self.flips else scale_y * unit_m,
            -scale_x * unit_m if "x" in self.flips else scale_x * unit_m,
        )


class Metadata(Encrypted):
    """Documents of the control system about its runs."""

    source: Literal["bluesky"] = Field("bluesky", description="Type of the documents: Bluesky, as JSON or msgpack.")
    endpoint: Endpoint | None = Field(
        None, description="ZeroMQ address of the documents. Default: no documents are read."
    )
    socket: Literal["pull", "sub"] = Field("sub", description="Socket type.")
    energy_key: str | None = Field(
        None, description="Key of the photon energy in the start document of a run; it is compared with [optics]."
    )
    energy_unit: Literal["eV", "keV"] = Field("keV", description="Unit of that energy.")
