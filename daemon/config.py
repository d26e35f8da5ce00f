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
from streams.position_sources.samples import UNITS_M
from streams.sockets.keys import CurveKeys, KeyFiles, read_keys

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
    curve_secret_file: Path | None = Field(
        None, description="This end's secret CURVE key; other users must not be able to read it."
    )
    curve_server_file: Path | None = Field(None, description="If this end connects: the other end's public key.")
    curve_allowed_file: Path | None = Field(
        None, description="If this end binds: file or directory with the public keys of admitted clients."
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
    channel: str | None = Field(None, description="Image channel. Default: the first in the header.")
    max_message_bytes: Count = Field(128 << 20, description="Larger messages are refused, bytes.")
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
            raise ValueError('format = "pva" goes with endpoint = "pva://NAME" and no other; correct one of them')
        if self.format == "merlin" and not self.endpoint.startswith("tcp://"):
            raise ValueError('format = "merlin" goes with the endpoint of its data port, as tcp://merlin:6342')
        if self.has_keys and self.format in ("pva", "merlin"):
            raise ValueError(f'format = "{self.format}" knows no CURVE keys; leave them out')
        return self


class Detector(Section):
    """From the detector's frame to the pattern."""

    orientation: Orientation = Field("identity", description="Orientation applied to the whole frame before the crop.")
    center_px: tuple[int, int] | Literal["auto"] = Field(
        "auto", description="Row and column of the beam in the oriented frame; auto finds it in the first frames."
    )
    size_px: Annotated[int, Field(ge=16, le=2048, multiple_of=2)] = Field(128, description="Side of the pattern, px.")
    binning: Literal[1, 2, 4] = Field(
        1, description="Detector pixels along one side of a pattern pixel; their counts are summed."
    )
    mask_file: Path | None = Field(
        None, description="NPY file of the pattern or the oriented frame; non-zero marks a bad pixel."
    )
    flatfield_file: Path | None = Field(None, description="NPY file of the oriented frame with factors on the counts.")
    saturation: Positive | None = Field(None, description="Largest valid count. Default: from the stream.")


class Positions(Encrypted):
    """Where the scan positions come from."""

    source: PositionKind = Field("frame", description="Type of position source.")
    endpoint: Endpoint | None = Field(
        None, description="For a stream: address; a leading @ binds. pandablocks: tcp://HOST:8889."
    )
    socket: Literal["pull", "sub"] = Field("pull", description="Socket type; for panda and bluesky sub by default.")
    channels: tuple[str, str] | None = Field(
        None, description="Names of the y and the x channel or data key, in this order."
    )
    event_stream: Annotated[str, Field(min_length=1)] = Field(
        "primary", description="For bluesky: name of the stream of events that holds the positions."
    )
    resource_folders: list[Path] = Field(
        [], description="For bluesky: folders from which the daemon may read a run's HDF5 files."
    )
    time_channel: str | None = Field(
        None, description="For panda and pandablocks: channel with the sample times, s, to check against frame times."
    )
    samples_per_frame: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        1, description="Samples averaged for each frame."
    )
    first_sample: Annotated[int, Field(ge=0)] = Field(0, description="Index of the first sample of frame 0.")
    unit: Literal["m", "mm", "um", "nm", "pm"] = Field("m", description="Unit of the source's values.")
    file: Path | None = Field(None, description="For file: NPZ with position_m (n, 2), CSV, or a product.")
    shape: tuple[Count, Count] | None = Field(None, description="For raster: rows, columns.")
    count: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(None, description="For spiral: positions.")
    step_m: tuple[float, float] | None = Field(None, description="For raster, spiral: steps dy, dx, m.")
    snake: bool = Field(False, description="For raster: every second row runs in reverse.")
    scale: Positive | tuple[Positive, Positive] = Field(
        1.0, description="Factor on all positions, or one factor each for y and x."
    )
    flips: list[Literal["y", "x"]] = Field([], description="Axes to negate.")
    timeout_s: Positive = Field(5.0, description="Time that frames wait for positions after the scan's end, s.")

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
    """Documents of the control system about its runs, beside the streams."""

    source: Literal["bluesky"] = Field("bluesky", description="Bluesky documents, JSON or msgpack.")
    endpoint: Endpoint | None = Field(None, description="ZeroMQ address of the documents. Default: none.")
    socket: Literal["pull", "sub"] = Field("sub", description="Socket type.")
    energy_key: str | None = Field(None, description="Key of the photon energy in a run's start document, to compare.")
    energy_unit: Literal["eV", "keV"] = Field("keV", description="Unit of that energy.")


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


PROBE_SOURCES = ("probe_file", "zone_plate", "pinhole", "kb")


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


class ModelOptions(Section):
    """The network layer."""

    bundle: str = Field("shipped", description="Model: a name, a file, shipped, or none (the lift without a network).")
    device: str = Field("auto", description="Device: auto, cpu, cuda or cuda:N.")
    threads: Annotated[int, Field(ge=0)] = Field(0, description="CPU threads of the engine; 0: all cores but one.")
    batch_frames: Count = Field(32, description="Largest number of frames in a batch.")
    batch_timeout_s: Positive = Field(0.05, description="Longest time that the engine waits for frames, s.")
    gridsize: Literal[1, 2] = Field(1, description="Number of frames in a group is gridsize squared.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Number type of the lift's network; auto selects bfloat16 on a GPU that supports it."
    )
    projections: Annotated[int, Field(ge=1, le=16)] = Field(
        2, description="Projections of the lift without a network; a bundle has its own number."
    )


class MosaicOptions(Section):
    """The stitched object."""

    weighting: Literal["probe"] = Field("probe", description="Weight of the patches: the probe's intensity.")
    max_side_px: Count = Field(16384, description="Largest side of the mosaic, px; frames beyond it are refused.")
    keep_patch_bytes: Annotated[int, Field(ge=0)] = Field(
        256 << 20, description="Memory for patches that later looks can replace, all open scans together, bytes."
    )


class Diagnosis(Section):
    """Test of patterns, positions and probe on a scan's first frames."""

    enabled: bool = Field(True, description="Test whether data and probe fit, and report misfits with numbers.")
    auto_fix: bool = Field(False, description="Also correct misfits, in this scan and in later ones.")
    frames: Annotated[int, Field(ge=16, le=1000)] = Field(50, description="Number of frames for the first test.")


class Finetune(Section):
    """Background fine-tuning."""

    enabled: bool = Field(True, description="Fine-tune the model on the frames of running scans in a separate process.")
    buffer_frames: Annotated[int, Field(ge=64)] = Field(2000, description="Number of frames kept for training.")
    device_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5, description="Largest share of the device time; on a CPU at the lowest priority."
    )
    promote_if: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.002, description="Promote a candidate if its R on held-out frames is lower by this share."
    )
    rate: Positive = Field(3e-4, description="Initial learning rate; halved after each discarded candidate.")


class Refine(Section):
    """The refined layer."""

    enabled: bool = Field(True, description="Compute the refined layer during the scan.")
    buffer_bytes: Count = Field(
        512 << 20,
        description="Memory for the patterns of the refined layers, all open scans, bytes; the oldest are dropped first.",
    )
    update_probe: bool = Field(True, description="Refine the probe too.")
    subpixel: bool = Field(False, description="Use positions between pixels; otherwise positions are rounded.")
    position_bound_px: Annotated[float, Field(ge=0, le=16)] = Field(
        0.0, description="Largest position correction, px; 0 disables it, more implies subpixel."
    )
    finish_s: Annotated[float, Field(ge=0)] = Field(
        1.5, description="Longest time for refinement after the scan's end, before the product, s."
    )
    improve_s: Annotated[float, Field(ge=0)] = Field(
        10.0, description="Longest time for further refinement after the product, which is then replaced, s."
    )
    engine: Literal["own", "pty-chi"] = Field(
        "own", description="pty-chi: also reconstruct each finished scan with its LSQML."
    )
    engine_python: Path | None = Field(None, description="Python executable of the environment with pty-chi.")
    engine_epochs: Count = Field(100, description="Epochs of that reconstruction.")

    @model_validator(mode="after")
    def _has_a_python_for_the_engine(self) -> Refine:
        if self.engine != "own" and self.engine_python is None:
            raise ValueError(f'engine = "{self.engine}" runs in an environment of its own; give engine_python')
        return self


class Publish(Encrypted):
    """Updates for viewers over ZeroMQ."""

    endpoint: Endpoint = Field("tcp://127.0.0.1:5556", description="Address to bind; port 0 selects a free port.")
    period_s: Positive = Field(0.1, description="Time between updates, s.")


class Http(Section):
    """The page, the REST interface and the metrics."""

    host: str = Field("127.0.0.1", description="Address to bind; any other than loopback requires a token.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8080, description="Port; 0 selects a free port.")
    token_file: Path | None = Field(None, description="File whose first line is the bearer token.")
    certificate_file: Path | None = Field(None, description="PEM certificate chain; enables HTTPS.")
    key_file: Path | None = Field(None, description="PEM private key; not needed if the certificate file contains it.")
    hosts: list[str] = Field([], description="Further host names of the page, for a proxy that authenticates users.")
    max_connections: Count = Field(
        256, description="Largest number of connections; a further one replaces the longest idle one, or is closed."
    )
    max_viewers: Count = Field(64, description="Largest number of WebSocket viewers; further ones get 503.")
    viewer_bytes_per_s: Count = Field(
        20_000_000,
        description="Bandwidth of all WebSocket viewers together, bytes/s; beyond it each gets fewer updates.",
    )

    @model_validator(mode="after")
    def _has_a_token_off_loopback(self) -> Http:
        if self.token_file is None and not is_loopback(self.host):
            raise ValueError(f"host {self.host} can be reached by others, so a token is needed; give token_file")
        if self.key_file is not None and self.certificate_file is None:
            raise ValueError("key_file is of no use without certificate_file; give both or none")
        return self


class Log(Section):
    """Log of the daemon on stderr, one line for each event."""

    format: Literal["text", "json"] = Field("text", description="text for people, json for programs.")
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest level to write.")


class SinkOptions(Section):
    """One further place that pictures or results go to."""

    kind: str = Field(description="Name of the plug-in: pva, tiled, or one from an installed package.")
    layer: Literal["refined", "network"] = Field(
        "refined", description="Layer of its pictures; the other layer until this one exists."
    )
    period_s: Positive = Field(1.0, description="Shortest time between its pictures, s.")
    options: dict[str, Any] = Field({}, description="Options of the plug-in.")


class Output(Section):
    """Files."""

    directory: Path = Field(Path("out"), description="Folder for results: DIRECTORY/SCAN_ID/product.h5.")
    journal: Literal["off"] | Path | None = Field(
        None,
        description="Folder of the journal, from which a killed daemon resumes; off disables it. Default: DIRECTORY/journal.",
    )
    checkpoint_s: Positive = Field(10.0, description="Time between checkpoint products during a scan, s.")
    keep_checkpoints: Count = Field(
        2, description="Number of checkpoints kept during a scan; none are kept after its end."
    )
    sinks: list[SinkOptions] = Field([], description="Plug-ins that send pictures and results elsewhere.")


class Limits(Section):
    """Bounds on memory."""

    queue_bytes: Count = Field(
        256 << 20, description="Size of the queue before the decoders, and of the queue before the engine, bytes."
    )
    pending_bytes: Count = Field(1 << 30, description="Memory for frames that wait for positions, bytes.")
    pending_s: Positive = Field(600.0, description="Longest time that a frame waits for its position, s.")
    open_scans: Count = Field(4, description="Largest number of open scans; beyond it the oldest is closed.")
    journal_bytes: Count = Field(
        16 << 30, description="Largest size of the journal on disk, bytes; finished scans are deleted first."
    )
    stop_s: Positive = Field(
        20.0, description="Longest time for work on waiting frames after the daemon is stopped, s."
    )
    decode_workers: Count = Field(2, description="Number of decoder threads.")


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
