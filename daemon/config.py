"""The configuration: one typed tree, from a TOML file, then the environment, then ``--set``; unknown keys are refused.

``PTYCHOLIVE_SECTION__KEY=value`` and ``--set section.key=value`` are read as TOML values, else as text.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from daemon.errors import ConfigError

ENVIRONMENT_PREFIX = "PTYCHOLIVE_"
Orientation = Literal[
    "identity", "fliplr", "flipud", "rot180", "transpose", "antitranspose", "rot90_cw", "rot90_ccw"
]  # fmt: skip
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
_ENDPOINT = re.compile(r"@?(tcp://[^\s/]+:(\d{1,5}|\*)|ipc://.+)")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host name or address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _checked_endpoint(endpoint: str) -> str:
    if not _ENDPOINT.fullmatch(endpoint):
        raise ValueError(f"'{endpoint}' is no endpoint; it looks like tcp://127.0.0.1:9999 or ipc:///run/stream")
    return endpoint


Endpoint = Annotated[str, AfterValidator(_checked_endpoint)]


class Section(BaseModel):
    """One table of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Frames(Section):
    """The detector's stream."""

    endpoint: Endpoint = Field(description="ZeroMQ address to connect to; a leading @ binds instead.")
    socket: Literal["pull", "sub"] = Field("pull", description="Socket type.")
    format: Literal["native", "dectris-v2"] = Field("native", description="Wire format.")
    channel: str | None = Field(None, description="Image channel; by default the first announced.")
    max_message_bytes: Count = Field(256 << 20, description="Larger messages are refused, bytes.")
    scan_timeout_s: Positive = Field(30.0, description="A scan silent for longer is closed as incomplete, s.")


class Detector(Section):
    """From the detector's frame to the pattern."""

    orientation: Orientation = Field("identity", description="Applied to the whole frame, before the crop.")
    center_px: tuple[int, int] = Field(description="Row and column of the beam in the oriented frame.")
    size_px: Annotated[int, Field(ge=16, le=2048, multiple_of=2)] = Field(128, description="Side of the crop, px.")
    mask_file: Path | None = Field(None, description="NPY of the crop or the oriented frame, non-zero = bad pixel.")
    saturation: Positive | None = Field(None, description="Greatest valid count.")


class Positions(Section):
    """Where the scan positions come from."""

    source: Literal["frame", "native", "file", "raster"] = Field("frame", description="Kind of source.")
    endpoint: Endpoint | None = Field(None, description="For native: ZeroMQ address; a leading @ binds.")
    socket: Literal["pull", "sub"] = Field("pull", description="For native: socket type.")
    file: Path | None = Field(None, description="For file: NPZ with position_m (n, 2), CSV, or a product.")
    shape: tuple[Count, Count] | None = Field(None, description="For raster: rows, columns.")
    step_m: tuple[float, float] | None = Field(None, description="For raster: steps dy, dx, m.")
    snake: bool = Field(False, description="For raster: every second row runs backwards.")
    scale: Positive = Field(1.0, description="Factor on all positions (1e-6 for a source that sends micrometres).")
    flips: list[Literal["y", "x"]] = Field([], description="Axes whose sign is turned.")
    timeout_s: Positive = Field(5.0, description="How long frames wait for positions after the scan's end, s.")

    @model_validator(mode="after")
    def _has_what_the_source_needs(self) -> Positions:
        needs = {"native": ("endpoint",), "file": ("file",), "raster": ("shape", "step_m")}.get(self.source, ())
        missing = [key for key in needs if getattr(self, key) is None]
        if missing:
            raise ValueError(f'source = "{self.source}" needs {" and ".join(missing)}')
        return self


class Optics(Section):
    """The beam, the geometry and the probe."""

    photon_energy_eV: Positive | None = Field(None, description="Photon energy, eV.")  # noqa: N815
    detector_distance_m: Positive | None = Field(None, description="Sample to detector, m.")
    detector_pixel_size_m: Positive | None = Field(None, description="Detector pixel, m.")
    object_pixel_size_m: Positive | None = Field(None, description="Object pixel, m, in place of the three above.")
    probe_file: Path = Field(description="Product, NPZ or CXI with the probe.")

    @model_validator(mode="after")
    def _has_a_pixel_size(self) -> Optics:
        three = (self.photon_energy_eV, self.detector_distance_m, self.detector_pixel_size_m)
        if self.object_pixel_size_m is None and None in three:
            raise ValueError(
                "the object pixel is not known; give photon_energy_eV, detector_distance_m and detector_pixel_size_m, "
                "or object_pixel_size_m"
            )
        return self


class ModelOptions(Section):
    """The network layer."""

    bundle: str = Field("shipped", description="Bundle with the lift's network: a file, shipped, or none.")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N.")
    threads: Annotated[int, Field(ge=0)] = Field(0, description="CPU threads of the engine; 0: all cores but one.")
    batch_frames: Count = Field(32, description="Most frames of a batch.")
    batch_timeout_s: Positive = Field(0.05, description="Longest wait of the engine for frames, s.")
    gridsize: Literal[1, 2] = Field(1, description="Groups of gridsize squared frames.")
    dtype: Literal["float32"] = Field("float32", description="Number type of the model.")
    projections: Annotated[int, Field(ge=1, le=16)] = Field(2, description="Projections of the lift.")


class MosaicOptions(Section):
    """The stitched object."""

    weighting: Literal["probe"] = Field("probe", description="Patches are weighted by the probe's intensity.")
    max_side_px: Count = Field(16384, description="A frame that would grow the mosaic beyond this is refused, px.")
    keep_patch_bytes: Annotated[int, Field(ge=0)] = Field(256 << 20, description="Memory for patches to be replaced.")


class Finetune(Section):
    """Background fine-tuning."""

    enabled: Literal[False] = Field(False, description="This version does not fine-tune.")


class Refine(Section):
    """The refined layer."""

    enabled: bool = Field(True, description="Sweep an object estimate over the frames while the scan runs.")
    buffer_bytes: Count = Field(512 << 20, description="Memory for the frames to sweep over; the oldest go first.")
    finish_s: Annotated[float, Field(ge=0)] = Field(1.5, description="Longest time of sweeps after the scan's end, s.")


class Publish(Section):
    """Updates for viewers over ZeroMQ."""

    endpoint: Endpoint = Field("tcp://127.0.0.1:5556", description="Address to bind; port 0 takes a free one.")
    period_s: Positive = Field(0.1, description="Time between updates, s.")


class Http(Section):
    """The page, the REST interface and the metrics."""

    host: str = Field("127.0.0.1", description="Address to bind; off loopback a token is needed.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8080, description="Port; 0 takes a free one.")
    token_file: Path | None = Field(None, description="File whose first line is the bearer token.")

    @model_validator(mode="after")
    def _has_a_token_off_loopback(self) -> Http:
        if self.token_file is None and not is_loopback(self.host):
            raise ValueError(f"host {self.host} can be reached by others, so a token is needed; give token_file")
        return self


class Output(Section):
    """Files."""

    directory: Path = Field(Path("out"), description="Products go to DIRECTORY/SCAN_ID/product.h5.")
    checkpoint_s: Positive = Field(10.0, description="Time between products while a scan runs, s.")
    keep_checkpoints: Count = Field(2, description="Newest checkpoints kept of a running scan; none after its end.")


class Limits(Section):
    """Bounds on memory."""

    queue_bytes: Count = Field(256 << 20, description="Bytes before the decoders, and again before the engine.")
    pending_bytes: Count = Field(1 << 30, description="Bytes of frames that wait for positions.")
    pending_s: Positive = Field(600.0, description="Longest wait of a frame for its position, s.")
    open_scans: Count = Field(4, description="Scans open at once; the oldest is closed.")
    decode_workers: Count = Field(2, description="Threads that decode.")


class Config(Section):
    """The whole configuration."""

    frames: Frames
    detector: Detector
    positions: Positions = Positions()
    optics: Optics
    model: ModelOptions = ModelOptions()
    mosaic: MosaicOptions = MosaicOptions()
    finetune: Finetune = Finetune()
    refine: Refine = Refine()
    publish: Publish = Publish()
    http: Http = Http()
    output: Output = Output()
    limits: Limits = Limits()


def load_config(path: Path, settings: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> Config:
    """Return the configuration of a TOML file, changed by the environment and by ``section.key=value`` settings.

    A relative input file is looked for where the program runs, then beside the configuration.

    Raises
    ------
    ConfigError
        With one sentence: the file, the key, and what to do.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise ConfigError(f"{path} cannot be read ({fault.strerror}); give the configuration's path") from fault
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise ConfigError(f"{path} is not TOML: {fault}") from fault
    for name, text in sorted((environment or {}).items()):
        if name.startswith(ENVIRONMENT_PREFIX) and "__" in name:
            section, _, key = name.removeprefix(ENVIRONMENT_PREFIX).partition("__")
            _put(tree, section.lower(), _field_name(section.lower(), key), text, f"the environment's {name}")
    for setting in settings:
        name, equals, text = setting.partition("=")
        section, dot, key = name.strip().partition(".")
        if not (equals and dot and key):
            raise ConfigError(f'--set "{setting}" is not section.key=value')
        _put(tree, section, key, text, f'--set "{setting}"')
    try:
        config = Config.model_validate(tree)
    except ValidationError as fault:
        raise ConfigError(f"{path}: {_sentence(fault)}") from fault
    return _with_found_files(config, path.parent)


def _put(tree: dict[str, Any], section: str, key: str, text: str, where: str) -> None:
    table = tree.setdefault(section, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{where}: {section} is not a section of the configuration")
    try:
        table[key] = tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        table[key] = text


def _field_name(section: str, key: str) -> str:
    """Return the field that an environment variable means, whatever its case."""
    names = _keys((section,))
    return next((name for name in names if name.lower() == key.lower()), key.lower())


def _keys(place: Sequence[str | int]) -> list[str]:
    model: Any = Config
    for part in place:
        field = model.model_fields.get(str(part))
        model = None if field is None else field.annotation
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return []
    return list(model.model_fields)


def _sentence(fault: ValidationError) -> str:
    parts = []
    for error in fault.errors():
        place = [str(part) for part in error["loc"] if not isinstance(part, int)]
        name = f"[{place[0]}] {'.'.join(place[1:])}".rstrip() if place else "configuration"
        if error["type"] == "extra_forbidden":
            near = difflib.get_close_matches(place[-1], _keys(place[:-1]), 1)
            parts.append(f"{name} is not a known key" + (f"; did you mean {near[0]}?" if near else ""))
        elif error["type"] == "missing":
            parts.append(f"{name} is missing")
        elif place[:1] == ["finetune"]:
            parts.append("[finetune] enabled: this version does not fine-tune; set enabled = false")
        else:
            parts.append(f"{name}: {error['msg'].removeprefix('Value error, ')}")
    return "; ".join(dict.fromkeys(parts))


def _with_found_files(config: Config, beside: Path) -> Config:
    changes: dict[str, Any] = {}
    places = (("optics", "probe_file"), ("positions", "file"), ("detector", "mask_file"), ("http", "token_file"))
    for section, key in places:
        part = changes.get(section, getattr(config, section))
        value = getattr(part, key)
        if value is None or value.exists():
            continue
        if not (beside / value).exists():
            raise ConfigError(f"[{section}] {key}: there is no file {value} here or beside the configuration")
        changes[section] = part.model_copy(update={key: beside / value})
    return config.model_copy(update=changes)
