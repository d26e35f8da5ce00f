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

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema, model_validator

from daemon.errors import ConfigError
from streams.codecs import CODECS
from streams.keys import CurveKeys, KeyFiles, read_keys
from streams.samples import UNITS_M

ENVIRONMENT_PREFIX = "PTYCHOLIVE_"
Orientation = Literal[
    "identity", "fliplr", "flipud", "rot180", "transpose", "antitranspose", "rot90_cw", "rot90_ccw"
]  # fmt: skip
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
_ENDPOINT = re.compile(r"@?(tcp://[^\s/]+:(\d{1,5}|\*)|ipc://.+)|pva://\S+")


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


def _checked_format(name: str) -> str:
    if name not in CODECS:
        raise ValueError(f"'{name}' is none of {', '.join(CODECS)}")
    return name


FormatName = Annotated[str, AfterValidator(_checked_format), WithJsonSchema({"enum": list(CODECS), "type": "string"})]
Endpoint = Annotated[str, AfterValidator(_checked_endpoint)]


PositionKind = Literal["frame", "native", "panda", "pandablocks", "bluesky", "file", "raster", "spiral"]
_POSITION_NEEDS: dict[str, tuple[str, ...]] = {
    "native": ("endpoint",),
    "panda": ("endpoint",),
    "pandablocks": ("endpoint", "channels"),
    "bluesky": ("endpoint", "channels"),
    "file": ("file",),
    "raster": ("shape", "step_m"),
    "spiral": ("count", "step_m"),
}


class Section(BaseModel):
    """One table of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Encrypted(Section):
    """CURVE keys of a socket, in files. The end that binds is the server, the one that connects is a client."""

    curve_public_file: Path | None = Field(None, description="This end's public CURVE key.")
    curve_secret_file: Path | None = Field(None, description="This end's secret CURVE key, closed to other users.")
    curve_server_file: Path | None = Field(None, description="For an end that connects: the other end's public key.")
    curve_allowed_file: Path | None = Field(
        None, description="For an end that binds: file or directory with the public keys that are let in."
    )

    @property
    def has_keys(self) -> bool:
        """Whether any file of keys is named."""
        return any(getattr(self, name) is not None for name in Encrypted.model_fields)

    def curve(self, where: str, *, is_server: bool) -> CurveKeys | None:
        """Return the keys, read. Raises :class:`streams.errors.KeyFileError` naming ``where``."""
        files = KeyFiles(
            self.curve_public_file, self.curve_secret_file, self.curve_server_file, self.curve_allowed_file
        )
        return read_keys(files, is_server, where)


class Frames(Encrypted):
    """The detector's stream."""

    endpoint: Endpoint = Field(
        description="ZeroMQ address to connect to; a leading @ binds instead. For pva: pva://NAME; for merlin: its data port."
    )
    socket: Literal["pull", "sub"] = Field("pull", description="Socket type.")
    format: FormatName = Field("native", description="Wire format.")
    channel: str | None = Field(None, description="Image channel; by default the first announced.")
    max_message_bytes: Count = Field(128 << 20, description="Larger messages are refused, bytes.")
    check_hash: bool = Field(False, description="Compare pixels with the md5 that dectris-v1 sends, where it is one.")
    expected_frames: Annotated[int, Field(ge=1, le=2**31)] | None = Field(
        None, description="Frames of a scan, for array-1.0 and pva."
    )
    first_number: Annotated[int, Field(ge=0)] | None = Field(
        None, description="For pva: uniqueId of a scan's first frame; by default that of the first that comes."
    )
    scan_timeout_s: Positive = Field(30.0, description="A scan silent for longer is closed as incomplete, s.")

    @model_validator(mode="after")
    def _has_an_endpoint_of_its_format(self) -> Frames:
        if self.endpoint.startswith("pva://") != (self.format == "pva"):
            raise ValueError('format = "pva" goes with endpoint = "pva://NAME" and no other; correct one of them')
        if self.format == "merlin" and not self.endpoint.startswith("tcp://"):
            raise ValueError('format = "merlin" goes with the endpoint of its data port, as tcp://merlin:6342')
        if self.has_keys and self.format in ("pva", "merlin"):
            raise ValueError(f'format = "{self.format}" knows no CURVE keys; leave them out')
        return self


class Detector(Section):
    """From the detector's frame to the pattern."""

    orientation: Orientation = Field("identity", description="Applied to the whole frame, before the crop.")
    center_px: tuple[int, int] | Literal["auto"] = Field(
        "auto", description="Row and column of the beam in the oriented frame; auto finds it in the first frames."
    )
    size_px: Annotated[int, Field(ge=16, le=2048, multiple_of=2)] = Field(128, description="Side of the pattern, px.")
    binning: Literal[1, 2, 4] = Field(1, description="Pixels of the detector along one of the pattern's; summed.")
    mask_file: Path | None = Field(None, description="NPY of the pattern or the oriented frame, non-zero = bad pixel.")
    flatfield_file: Path | None = Field(None, description="NPY of the oriented frame, factors on the counts.")
    saturation: Positive | None = Field(None, description="Greatest valid count; else what the stream says.")


class Positions(Encrypted):
    """Where the scan positions come from."""

    source: PositionKind = Field("frame", description="Kind of source.")
    endpoint: Endpoint | None = Field(
        None, description="For a stream: address; a leading @ binds. pandablocks: tcp://HOST:8889."
    )
    socket: Literal["pull", "sub"] = Field("pull", description="Socket type; for panda and bluesky sub by default.")
    channels: tuple[str, str] | None = Field(None, description="Names of the y and the x channel, or data keys.")
    event_stream: Annotated[str, Field(min_length=1)] = Field(
        "primary", description="For bluesky: name of the stream of events that holds the positions."
    )
    resource_folders: list[Path] = Field(
        [], description="For bluesky: folders whose HDF5 files may be read where a run leaves its positions in files."
    )
    time_channel: str | None = Field(None, description="For panda, pandablocks: times of the samples, s, for a check.")
    samples_per_frame: Annotated[int, Field(ge=1, le=1_000_000)] = Field(1, description="Samples averaged for a frame.")
    first_sample: Annotated[int, Field(ge=0)] = Field(0, description="Number of the first sample of frame 0.")
    unit: Literal["m", "mm", "um", "nm", "pm"] = Field("m", description="Unit of what the source gives.")
    file: Path | None = Field(None, description="For file: NPZ with position_m (n, 2), CSV, or a product.")
    shape: tuple[Count, Count] | None = Field(None, description="For raster: rows, columns.")
    count: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(None, description="For spiral: positions.")
    step_m: tuple[float, float] | None = Field(None, description="For raster, spiral: steps dy, dx, m.")
    snake: bool = Field(False, description="For raster: every second row runs backwards.")
    scale: Positive | tuple[Positive, Positive] = Field(
        1.0, description="Factor on all positions, or one each for y, x."
    )
    flips: list[Literal["y", "x"]] = Field([], description="Axes whose sign is turned.")
    timeout_s: Positive = Field(5.0, description="How long frames wait for positions after the scan's end, s.")

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
            raise ValueError(f'source = "{self.source}" needs {" and ".join(missing)}')
        if self.has_keys and self.source not in ("native", "panda", "bluesky"):
            raise ValueError(f'source = "{self.source}" knows no CURVE keys; leave them out')
        return self

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
    """What the control system says of its runs, beside the streams."""

    source: Literal["bluesky"] = Field("bluesky", description="Bluesky documents, JSON or msgpack.")
    endpoint: Endpoint | None = Field(None, description="ZeroMQ address of the documents; none where nobody sends any.")
    socket: Literal["pull", "sub"] = Field("sub", description="Socket type.")
    energy_key: str | None = Field(None, description="Key of a run's start with the photon energy, to compare.")
    energy_unit: Literal["eV", "keV"] = Field("keV", description="Unit of that energy.")


class ZonePlate(Section):
    """A zone plate in place of a probe."""

    outermost_zone_width_m: Positive = Field(description="Width of the outermost zone, m.")
    diameter_m: Positive = Field(description="Diameter, m.")
    central_stop_m: Annotated[float, Field(ge=0)] = Field(0.0, description="Diameter of the central stop, m; 0: none.")
    defocus_m: float = Field(0.0, description="How far behind the focus the sample is, m; negative: before it.")


class Pinhole(Section):
    """A pinhole in place of a probe."""

    diameter_m: Positive = Field(description="Diameter, m.")
    distance_m: Annotated[float, Field(ge=0)] = Field(0.0, description="Pinhole to sample, m.")


class KbMirrors(Section):
    """A pair of crossed mirrors in place of a probe; pairs are vertical, horizontal."""

    focal_lengths_m: tuple[Positive, Positive] = Field(description="Focal lengths, m.")
    openings_m: tuple[Positive, Positive] = Field(description="Width of the beam that each takes in, m.")
    defocus_m: float = Field(0.0, description="How far behind the focus the sample is, m; negative: before it.")


PROBE_SOURCES = ("probe_file", "zone_plate", "pinhole", "kb")


class Optics(Section):
    """The beam, the geometry and the probe."""

    photon_energy_eV: Positive | None = Field(None, description="Photon energy, eV; else what the stream says.")  # noqa: N815
    detector_distance_m: Positive | None = Field(None, description="Sample to detector, m; else what the stream says.")
    detector_pixel_size_m: Positive | None = Field(None, description="Detector pixel, m; else what the stream says.")
    object_pixel_size_m: Positive | None = Field(None, description="Object pixel, m, in place of the three above.")
    probe_file: Path | None = Field(None, description="Product, NPZ or CXI with the probe; else give what made it:")
    zone_plate: ZonePlate | None = Field(
        None, description="A zone plate, from which a first guess of the probe is made."
    )
    pinhole: Pinhole | None = Field(None, description="A pinhole, likewise.")
    kb: KbMirrors | None = Field(None, description="A pair of mirrors, likewise.")
    retrieve_probe: bool = Field(
        False, description="Retrieve the probe from a scan's first frames; always so where it is made from optics."
    )
    retrieve_frames: Annotated[int, Field(ge=16, le=2000)] = Field(100, description="Frames it is retrieved from.")

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


class ModelOptions(Section):
    """The network layer."""

    bundle: str = Field("shipped", description="Bundle with the lift's network: a file, shipped, or none.")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N.")
    threads: Annotated[int, Field(ge=0)] = Field(0, description="CPU threads of the engine; 0: all cores but one.")
    batch_frames: Count = Field(32, description="Most frames of a batch.")
    batch_timeout_s: Positive = Field(0.05, description="Longest wait of the engine for frames, s.")
    gridsize: Literal[1, 2] = Field(1, description="Groups of gridsize squared frames.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Number type of the lift's network; auto: bfloat16 on a GPU that has it."
    )
    projections: Annotated[int, Field(ge=1, le=16)] = Field(
        2, description="Of the plain lift; a bundle states its own."
    )


class MosaicOptions(Section):
    """The stitched object."""

    weighting: Literal["probe"] = Field("probe", description="Patches are weighted by the probe's intensity.")
    max_side_px: Count = Field(16384, description="A frame that would grow the mosaic beyond this is refused, px.")
    keep_patch_bytes: Annotated[int, Field(ge=0)] = Field(256 << 20, description="Memory for patches to be replaced.")


class Diagnosis(Section):
    """Whether patterns, positions and probe fit together, told from a scan's first frames."""

    enabled: bool = Field(True, description="Look, and say what is wrong, with figures.")
    auto_fix: bool = Field(False, description="Also set it right, in this scan and in later ones.")
    frames: Annotated[int, Field(ge=16, le=1000)] = Field(50, description="Frames of a scan after which it looks.")


class Finetune(Section):
    """Background fine-tuning."""

    enabled: bool = Field(True, description="Learn from the frames of running scans, in a process of its own.")
    buffer_frames: Annotated[int, Field(ge=64)] = Field(2000, description="Frames to learn from that are kept.")
    device_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5, description="Most of the time spent; on a CPU at the lowest priority."
    )
    promote_if: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.002, description="A candidate is promoted if its R on held-out frames is lower by this share."
    )
    rate: Positive = Field(3e-4, description="Learning rate to begin with; halved for each candidate thrown away.")


class Refine(Section):
    """The refined layer."""

    enabled: bool = Field(True, description="Sweep an object estimate over the frames while the scan runs.")
    buffer_bytes: Count = Field(512 << 20, description="Memory for the frames to sweep over; the oldest go first.")
    update_probe: bool = Field(True, description="Let the probe follow the frames.")
    subpixel: bool = Field(False, description="Lay frames between the pixels; else their positions are rounded.")
    position_bound_px: Annotated[float, Field(ge=0, le=16)] = Field(
        0.0, description="How far positions may be corrected, pixels; 0: not at all, else with subpixel."
    )
    finish_s: Annotated[float, Field(ge=0)] = Field(1.5, description="Longest time of sweeps after the scan's end, s.")
    improve_s: Annotated[float, Field(ge=0)] = Field(
        10.0, description="Longest time of further sweeps once the product is there, which is then written anew, s."
    )
    engine: Literal["own", "pty-chi"] = Field(
        "own", description="pty-chi: hand each finished scan to its LSQML, beside ours."
    )
    engine_python: Path | None = Field(None, description="Python of the environment that has pty-chi.")
    engine_epochs: Count = Field(100, description="Epochs of it.")

    @model_validator(mode="after")
    def _has_a_python_for_the_engine(self) -> Refine:
        if self.engine != "own" and self.engine_python is None:
            raise ValueError(f'engine = "{self.engine}" runs in an environment of its own; give engine_python')
        return self


class Publish(Encrypted):
    """Updates for viewers over ZeroMQ."""

    endpoint: Endpoint = Field("tcp://127.0.0.1:5556", description="Address to bind; port 0 takes a free one.")
    period_s: Positive = Field(0.1, description="Time between updates, s.")


class Http(Section):
    """The page, the REST interface and the metrics."""

    host: str = Field("127.0.0.1", description="Address to bind; off loopback a token is needed.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8080, description="Port; 0 takes a free one.")
    token_file: Path | None = Field(None, description="File whose first line is the bearer token.")
    certificate_file: Path | None = Field(None, description="PEM certificate chain: HTTPS in place of HTTP.")
    key_file: Path | None = Field(None, description="PEM private key; left out where the certificate's file holds it.")
    hosts: list[str] = Field([], description="Further names the page is asked by, for a proxy that knows who asks.")
    max_connections: Count = Field(
        256, description="Connections at once; for a further one the longest idle is closed, else itself."
    )
    max_viewers: Count = Field(64, description="WebSocket viewers at once; further ones are answered 503.")
    viewer_bytes_per_s: Count = Field(
        20_000_000,
        description="What all WebSocket viewers get together; beyond it each sees newer pictures less often.",
    )

    @model_validator(mode="after")
    def _has_a_token_off_loopback(self) -> Http:
        if self.token_file is None and not is_loopback(self.host):
            raise ValueError(f"host {self.host} can be reached by others, so a token is needed; give token_file")
        if self.key_file is not None and self.certificate_file is None:
            raise ValueError("key_file is of no use without certificate_file; give both or none")
        return self


class Log(Section):
    """What the daemon writes to stderr, one line an event."""

    format: Literal["text", "json"] = Field("text", description="text for people, json for programs.")
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least level that is written.")


class SinkOptions(Section):
    """One further place that pictures or results go to."""

    kind: str = Field(description="Name of the plug-in: pva, tiled, or one of an installed package.")
    layer: Literal["refined", "network"] = Field("refined", description="Layer of its pictures; else the other.")
    period_s: Positive = Field(1.0, description="Least time between its pictures, s.")
    options: dict[str, Any] = Field({}, description="What the plug-in itself needs.")


class Output(Section):
    """Files."""

    directory: Path = Field(Path("out"), description="Products go to DIRECTORY/SCAN_ID/product.h5.")
    journal: Literal["off"] | Path | None = Field(
        None, description="Folder of the journal, from which a killed daemon goes on; DIRECTORY/journal, or off."
    )
    checkpoint_s: Positive = Field(10.0, description="Time between products while a scan runs, s.")
    keep_checkpoints: Count = Field(2, description="Newest checkpoints kept of a running scan; none after its end.")
    sinks: list[SinkOptions] = Field([], description="Further places for pictures and results.")


class Limits(Section):
    """Bounds on memory."""

    queue_bytes: Count = Field(256 << 20, description="Bytes before the decoders, and again before the engine.")
    pending_bytes: Count = Field(1 << 30, description="Bytes of frames that wait for positions.")
    pending_s: Positive = Field(600.0, description="Longest wait of a frame for its position, s.")
    open_scans: Count = Field(4, description="Scans open at once; the oldest is closed.")
    journal_bytes: Count = Field(16 << 30, description="Bytes of the journal on disk; finished scans go first.")
    stop_s: Positive = Field(20.0, description="Longest work on frames that wait when the daemon is stopped, s.")
    decode_workers: Count = Field(2, description="Threads that decode.")


class Config(Section):
    """The whole configuration."""

    frames: Frames
    detector: Detector
    positions: Positions = Positions()
    metadata: Metadata = Metadata()
    optics: Optics
    model: ModelOptions = ModelOptions()
    mosaic: MosaicOptions = MosaicOptions()
    diagnosis: Diagnosis = Diagnosis()
    finetune: Finetune = Finetune()
    refine: Refine = Refine()
    publish: Publish = Publish()
    http: Http = Http()
    log: Log = Log()
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
        else:
            parts.append(f"{name}: {error['msg'].removeprefix('Value error, ')}")
    return "; ".join(dict.fromkeys(parts))


def _with_found_files(config: Config, beside: Path) -> Config:
    changes: dict[str, Any] = {}
    places: list[tuple[str, str]] = [("optics", "probe_file"), ("positions", "file"), ("detector", "mask_file")]
    places.append(("detector", "flatfield_file"))
    places += [("http", "token_file"), ("http", "certificate_file"), ("http", "key_file")]
    places += [(part, key) for part in ("frames", "positions", "metadata", "publish") for key in Encrypted.model_fields]
    for section, key in places:
        part = changes.get(section, getattr(config, section))
        value = getattr(part, key)
        if value is None or value.exists():
            continue
        if not (beside / value).exists():
            raise ConfigError(f"[{section}] {key}: there is no file {value} here or beside the configuration")
        changes[section] = part.model_copy(update={key: beside / value})
    bundle = config.model.bundle
    if not Path(bundle).is_file() and (beside / bundle).is_file():
        changes["model"] = config.model.model_copy(update={"bundle": str(beside / bundle)})
    return config.model_copy(update=changes)
