"""The verbs and their options, and what a fault becomes: one sentence on stderr and an exit code.

0 good, 1 anything else, 2 usage or configuration, 3 input data refused, 4 endpoint unreachable or silent, 5 scan ended
incomplete. A verb's work is imported when it is called, so that a word of help does not wait for torch.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, Literal

import typer

from daemon.disk import fault_words, is_of_disk
from daemon.errors import ConfigError, DaemonError, IncompleteScanError
from daemon.version import VERSION
from ptychopinn.errors import ConfigurationError, ReconstructionError
from streams.errors import EndpointError, KeyFileError, StreamError

app = typer.Typer(
    name="ptycholive",
    help="Live ptychography: a picture of the sample while it is scanned.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
config_app = typer.Typer(help="The configuration: its JSON schema, or a whole one as it would be used.")
model_app = typer.Typer(help="Model bundles on this machine, and the model of a running daemon.")
app.add_typer(config_app, name="config")
app.add_typer(model_app, name="model")

ConfigPath = Annotated[Path, typer.Option("--config", help="TOML file.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="section.key=value, changes the file's; repeatable.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON value on stdout.")]
Url = Annotated[str, typer.Option("--url", help="The daemon's HTTP address.")]
Token = Annotated[Path | None, typer.Option("--token-file", help="File with the daemon's token.")]
CurvePublic = Annotated[Path | None, typer.Option("--curve-public-file", help="This end's public CURVE key.")]
CurveSecret = Annotated[Path | None, typer.Option("--curve-secret-file", help="This end's secret CURVE key.")]
CurveServer = Annotated[
    Path | None, typer.Option("--curve-server-file", help="The binding end's public key, for an end that connects.")
]
CurveAllowed = Annotated[
    Path | None, typer.Option("--curve-allowed-file", help="Public keys that an end that binds lets in.")
]
DEFAULT_URL = "http://127.0.0.1:8080"


@app.command()
def demo(
    headless: Annotated[bool, typer.Option("--headless", help="Exit after the scan; print one JSON object.")] = False,
    output: Annotated[Path, typer.Option(help="The product file to write.")] = Path("demo.h5"),
    rate: Annotated[float, typer.Option(min=0.1, help="Frames a second.")] = 40.0,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0 takes a free one.")] = 8080,
    no_finetune: Annotated[bool, typer.Option("--no-finetune", help="Do not fine-tune the model.")] = False,
    no_refine: Annotated[bool, typer.Option("--no-refine", help="Show the network's mosaic alone.")] = False,
    fault: Annotated[str, typer.Option(help="Faults of the stream, as in replay.")] = "",
) -> None:
    """Stream the shipped scan of a Siemens star over TCP and reconstruct it live in the browser."""
    from daemon.cli.demo import DemoOptions, run_demo

    run_demo(DemoOptions(headless, output, rate, port, refine=not no_refine, finetune=not no_finetune, fault=fault))


@app.command()
def serve(config: ConfigPath, settings: Settings = None, as_json: AsJson = False) -> None:
    """Run the daemon until SIGTERM or Ctrl-C; with --json its addresses are one line on stdout when it is ready."""
    from daemon.cli.serve import run_daemon
    from daemon.config import load_config

    run_daemon(load_config(config, settings or [], os.environ), as_json)


@app.command()
def check(
    config: ConfigPath,
    settings: Settings = None,
    wait: Annotated[float, typer.Option(min=0, help="How long to listen at each endpoint, s.")] = 3.0,
    as_json: AsJson = False,
) -> None:
    """Test configuration, probe, output and endpoints before beam time: OK, WARN, SILENT or ERROR for each."""
    from daemon.cli.check import run_check
    from daemon.config import load_config

    run_check(load_config(config, settings or [], os.environ), wait, as_json)


@app.command()
def record(
    config: ConfigPath,
    output: Annotated[Path, typer.Option(help="The recording to write; a new file.")],
    settings: Settings = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Stop after so long, s.")] = None,
    messages: Annotated[int | None, typer.Option(min=1, help="Stop after so many messages.")] = None,
    beside_daemon: Annotated[
        bool, typer.Option("--beside-daemon", help="Pull a share of the messages although a daemon runs.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Record every message of the configuration's streams, byte for byte, until Ctrl-C; `replay` plays it."""
    from daemon.cli.record import RecordOptions, run_record
    from daemon.config import load_config

    options = RecordOptions(seconds, messages, beside_daemon)
    run_record(load_config(config, settings or [], os.environ), output, options, as_json)


@app.command()
def replay(
    data: Annotated[Path, typer.Argument(help="Scan (CXI, NPZ, PTYD, product's patterns file), or a recording.")],
    bind: Annotated[str, typer.Option(help="Address to bind for frames; a leading > connects.")],
    stream_format: Annotated[
        str | None,
        typer.Option("--format", help="native, dectris-v1, dectris-v2, array-1.0; a recording has its own."),
    ] = None,
    positions: Annotated[
        str | None, typer.Option(help="Address for positions; without it they go in the frames.")
    ] = None,
    positions_format: Annotated[Literal["native", "panda"], typer.Option(help="Form of the positions.")] = "native",
    positions_socket: Annotated[
        Literal["push", "pub"] | None,
        typer.Option(help="Socket type for positions; else pub for panda, as for frames for native."),
    ] = None,
    samples_per_frame: Annotated[int, typer.Option(min=1, help="For panda: samples of a frame.")] = 1,
    socket: Annotated[Literal["push", "pub"], typer.Option(help="Socket type.")] = "push",
    flatten: Annotated[
        bool, typer.Option("--flatten", help="Send each part as a message of its own, as some relays do.")
    ] = False,
    rate: Annotated[
        float | None, typer.Option(min=0.01, help="Frames a second; without it as fast as taken, or a recording's own.")
    ] = None,
    fault: Annotated[str, typer.Option(help="drop=P,duplicate=P,reorder=FRAMES,corrupt=P,late-positions=SECONDS")] = "",
    scan_id: Annotated[str, typer.Option(help="Name of the scan.")] = "",
    encoding: Annotated[
        Literal["bslz4", "lz4", "none"], typer.Option(help="Compression of the pixels; lz4 is for dectris-v1.")
    ] = "bslz4",
    repeat: Annotated[int, typer.Option(min=1, help="Send the frames this many times, as one scan.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the faults.")] = 0,
    wait: Annotated[float, typer.Option(min=0, help="How long to wait for a receiver, s.")] = 60.0,
    curve_public: CurvePublic = None,
    curve_secret: CurveSecret = None,
    curve_server: CurveServer = None,
    curve_allowed: CurveAllowed = None,
    as_json: AsJson = False,
) -> None:
    """Send a data file as a detector and a position source would, faults and all; or play a recording."""
    from daemon.cli.playback import PlaybackOptions, run_playback
    from daemon.cli.replay import ReplayOptions, run_replay
    from streams.keys import KeyFiles
    from streams.recording import is_recording

    keys = KeyFiles(curve_public, curve_secret, curve_server, curve_allowed)
    if is_recording(data):
        run_playback(data, PlaybackOptions(bind, positions, socket, rate, wait, keys), as_json)
        return
    if stream_format is None:
        raise ConfigError(f"--format is missing; {data} is no recording, so say in which format to send it")
    packing = "" if encoding == "none" else encoding
    options = ReplayOptions(
        stream_format,
        bind,
        positions,
        socket,
        rate,
        fault,
        scan_id,
        packing,
        repeat,
        seed,
        wait,
        keys,
        flatten,
        positions_format,
        positions_socket,
        samples_per_frame,
    )
    run_replay(data, options, as_json)


@app.command()
def watch(
    endpoint: Annotated[str, typer.Argument(help="The daemon's [publish] endpoint.")],
    save: Annotated[Path | None, typer.Option(help="Directory for an NPY of each layer when a scan ends.")] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Longest silence, s.")] = 30.0,
    once: Annotated[bool, typer.Option("--once", help="Leave when a scan has ended.")] = False,
    picture: Annotated[
        Literal["phase", "amplitude", "coverage"] | None,
        typer.Option(help="Draw the picture in the terminal (half blocks, 24-bit colours) instead of lines."),
    ] = None,
    layer: Annotated[Literal["refined", "network"], typer.Option(help="Layer of --picture.")] = "refined",
    curve_public: CurvePublic = None,
    curve_secret: CurveSecret = None,
    curve_server: CurveServer = None,
    as_json: AsJson = False,
) -> None:
    """Follow the daemon's updates as a viewer does: a line each, or the picture."""
    from daemon.cli.watch import run_watch
    from streams.keys import KeyFiles

    keys = KeyFiles(curve_public, curve_secret, curve_server)
    run_watch(endpoint, save, timeout, once, keys, as_json, picture, layer)


@app.command()
def refine(
    data: Annotated[Path, typer.Argument(help="Scan with positions: CXI, NPZ, PTYD.")],
    output: Annotated[Path, typer.Option(help="The product file to write.")],
    probe: Annotated[Path | None, typer.Option(help="First guess of the probe; without it the file's own.")] = None,
    sweeps: Annotated[int, typer.Option(min=1, help="Sweeps over all frames.")] = 40,
    full_sweeps: Annotated[int, typer.Option(min=0, help="Sweeps at full step, before it falls.")] = 12,
    decay: Annotated[float, typer.Option(min=0.1, max=1, help="Factor on the step in each later sweep.")] = 0.9,
    keep_probe: Annotated[bool, typer.Option("--keep-probe", help="Refine the object alone.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the order of frames.")] = 0,
    pixel_size: Annotated[float | None, typer.Option(help="Object pixel, m, for a file that does not give it.")] = None,
    probe_output: Annotated[Path | None, typer.Option(help="NPZ to write the probe alone to.")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Take the first frames alone, so many.")] = None,
    as_json: AsJson = False,
) -> None:
    """Retrieve probe and object of a data file by iterative refinement, to a product."""
    from daemon.cli.refine import RefineOptions, run_refine

    options = RefineOptions(probe, sweeps, full_sweeps, decay, not keep_probe, seed, pixel_size, probe_output, frames)
    run_refine(data, output, options, as_json)


@app.command()
def simulate(
    output: Annotated[Path, typer.Argument(help="NPZ to write.")],
    size: Annotated[int, typer.Option(min=16, max=1024, help="Side of the patterns, px.")] = 128,
    probe: Annotated[str, typer.Option(help="Kind: zone_plate, pinhole, mirrors, gaussian, aberrated, diffuser.")] = (
        "zone_plate"
    ),
    probe_file: Annotated[Path | None, typer.Option(help="Probe from a file in place of a kind.")] = None,
    modes: Annotated[int, typer.Option(min=1, max=8, help="Incoherent modes.")] = 1,
    footprint: Annotated[float, typer.Option(min=0.05, max=0.9, help="Lit diameter over the side.")] = 0.4,
    texture: Annotated[str, typer.Option("--object", help="Kind of object; a wrong one lists them all.")] = "shapes",
    phase: Annotated[float, typer.Option(help="Phase of the thickest part, rad.")] = 0.5,
    absorption: Annotated[float, typer.Option(min=0, help="-log of the least amplitude.")] = 0.1,
    counts: Annotated[float, typer.Option(min=1, help="Photons of a vacuum frame.")] = 1e5,
    track: Annotated[str, typer.Option(help="raster, snake, spiral or jitter.")] = "raster",
    overlap: Annotated[float, typer.Option(min=0, max=0.95, help="1 - step / footprint.")] = 0.7,
    frames: Annotated[int, typer.Option(min=1, help="Frames of a scan.")] = 100,
    jitter: Annotated[float, typer.Option(min=0, help="Scatter of the stage, recorded, px rms.")] = 0.0,
    count: Annotated[int, typer.Option(min=1, help="Scans, in numbered files, of consecutive seeds.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed; the same one gives the same scan.")] = 0,
    config: Annotated[
        Path | None,
        typer.Option(
            help="Workflow configuration: its datagen_config, N, nphotons and seed in place of all other options; "
            "OUTPUT is a directory then."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write synthetic scans, with their truth."""
    from daemon.cli.simulate import run_datagen, run_simulate
    from ptychopinn.simulate import Recipe

    if config is not None:
        run_datagen(output, config, as_json)
        return
    recipe = Recipe(
        size, probe, modes, footprint, texture, phase, absorption, counts, track, overlap, frames, jitter, seed=seed
    )
    run_simulate(output, recipe, probe_file, count, as_json)


@app.command()
def predict(
    data: Annotated[list[Path], typer.Argument(help="Scans with positions: CXI, NPZ, PTYD, product's patterns.")],
    output: Annotated[
        Path, typer.Option(help="The product to write, or a picture alone (.npz); a directory for several.")
    ],
    bundle: Annotated[str, typer.Option(help="Bundle: a name, a file, shipped, or none.")] = "shipped",
    probe: Annotated[Path | None, typer.Option(help="Probe; without it each file's own.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        typer.Option(help="Of the lift's network; auto: bfloat16 on a GPU that has it."),
    ] = "auto",
    looks: Annotated[int, typer.Option(min=1, max=4, help="Looks; further ones start from the neighbours.")] = 2,
    sweeps: Annotated[int, typer.Option(min=0, help="Sweeps of the refiner afterwards.")] = 0,
    pixel_size: Annotated[float | None, typer.Option(help="Object pixel, m, for files that do not give it.")] = None,
    plot: Annotated[
        Literal["png", "svg"] | None, typer.Option(help="A plot beside each product, of this kind.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Predict one file or many, to products."""
    from daemon.cli.predict import PredictOptions, run_predict

    run_predict(data, output, PredictOptions(bundle, probe, device, dtype, looks, sweeps, pixel_size, plot), as_json)


@app.command()
def validate(
    data: Annotated[list[Path], typer.Argument(help="Scans and products of any kind.")],
    as_json: AsJson = False,
) -> None:
    """Check files against the data contract; list every violation."""
    from daemon.cli.validate import run_validate

    run_validate(data, as_json)


@app.command()
def convert(
    data: Annotated[Path, typer.Argument(help="Scan, product or ptypy result.")],
    output: Annotated[Path, typer.Argument(help="File to write; its ending says the kind.")],
    kind: Annotated[str | None, typer.Option("--to", help="Kind; a wrong one lists them all.")] = None,
    probe: Annotated[Path | None, typer.Option(help="Probe in place of the file's own.")] = None,
    pixel_size: Annotated[float | None, typer.Option(help="Object pixel, m, for a file that does not give it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Convert between NPZ (two dialects), CXI, ptypy, NeXus and Ptychodus files."""
    from daemon.cli.convert import run_convert

    run_convert(data, output, kind, probe, pixel_size, as_json)


TrainingConfigPath = Annotated[
    Path | None,
    typer.Option("--config", help="Workflow configuration: TOML or JSON with the five sections, or mlflow:RUN."),
]
TrainingSettings = Annotated[
    list[str] | None, typer.Option("--set", help="section.name=value, as training.epochs=20; repeatable.")
]
TrainingData = Annotated[
    list[Path] | None,
    typer.Argument(help="Scans with positions, or directories of them; else those that the configuration names."),
]
BundleOutput = Annotated[Path, typer.Option("--output", help="The bundle to write, a .zip.")]
TrainingProbe = Annotated[Path | None, typer.Option("--probe", help="Probe; without it each file's own.")]
PixelSize = Annotated[
    float | None, typer.Option("--pixel-size", help="Object pixel, m, for files that do not give it.")
]
Work = Annotated[Path | None, typer.Option("--work", help="Folder of checkpoints and log; by default OUTPUT.training.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with an interrupted training, to the same weights.")]
Devices = Annotated[int, typer.Option("--devices", min=1, help="Devices, or processes on a CPU; needs Lightning.")]
MlflowUri = Annotated[
    str | None, typer.Option("--mlflow", help="MLflow store that the run is tracked in, and of mlflow:RUN.")
]
Compiled = Annotated[bool, typer.Option("--compile", help="Compile the network first; pays for long trainings.")]


@app.command()
def train(
    output: BundleOutput,
    data: TrainingData = None,
    model: Annotated[
        Literal["cnn", "lift"] | None, typer.Option(help="Model family; else the configuration's.")
    ] = None,
    config: TrainingConfigPath = None,
    settings: TrainingSettings = None,
    probe: TrainingProbe = None,
    pixel_size: PixelSize = None,
    work: Work = None,
    resume: Resume = False,
    devices: Devices = 1,
    mlflow: MlflowUri = None,
    compiled: Compiled = False,
    as_json: AsJson = False,
) -> None:
    """Train a new model on scans, to a bundle."""
    from daemon.cli.train import run_train
    from daemon.cli.training_run import TrainingOptions

    told = tuple(settings or ())
    options = TrainingOptions(config, told, probe, pixel_size, work, resume, devices, mlflow, compiled)
    run_train(data or [], output, model, options, as_json)


@app.command()
def finetune(
    bundle: Annotated[str, typer.Argument(help="Bundle: a name or a file.")],
    output: BundleOutput,
    data: TrainingData = None,
    config: TrainingConfigPath = None,
    settings: TrainingSettings = None,
    probe: TrainingProbe = None,
    pixel_size: PixelSize = None,
    work: Work = None,
    resume: Resume = False,
    devices: Devices = 1,
    mlflow: MlflowUri = None,
    compiled: Compiled = False,
    as_json: AsJson = False,
) -> None:
    """Fine-tune a model's decoders on scans, its encoder frozen, to another bundle."""
    from daemon.cli.finetune import run_finetune
    from daemon.cli.training_run import TrainingOptions

    told = tuple(settings or ())
    options = TrainingOptions(config, told, probe, pixel_size, work, resume, devices, mlflow, compiled)
    run_finetune(bundle, data or [], output, options, as_json)


@model_app.command("list")
def model_list(as_json: AsJson = False) -> None:
    """List the bundles that have a name here."""
    from daemon.cli.model import list_models

    list_models(as_json)


ModelName = Annotated[str, typer.Argument(help="Name or file.")]


@model_app.command("show")
def model_show(name: ModelName = "shipped", as_json: AsJson = False) -> None:
    """Print what a bundle says of itself."""
    from daemon.cli.model import show_model

    show_model(name, as_json)


@model_app.command("export")
def model_export(name: ModelName, target: Annotated[Path, typer.Argument(help="File to write.")]) -> None:
    """Copy a bundle to a file."""
    from daemon.cli.model import export_model

    export_model(name, target)


@model_app.command("import")
def model_import(
    source: Annotated[Path, typer.Argument(help="Bundle, or checkpoint of PtychoPINN; with --mlflow a run.")],
    name: Annotated[str | None, typer.Option(help="Name; by default the file's.")] = None,
    mlflow: Annotated[str | None, typer.Option(help="MLflow store; the model is that of the run SOURCE.")] = None,
) -> None:
    """Take a bundle, or a checkpoint of PtychoPINN, into the user's models."""
    from daemon.cli.model import import_model

    import_model(source, name, mlflow)


@model_app.command("set")
def model_set(name: ModelName, url: Url = DEFAULT_URL, token_file: Token = None) -> None:
    """Swap a running daemon's model."""
    from daemon.cli.model import set_model

    set_model(name, url, token_file)


@model_app.command("rollback")
def model_rollback(url: Url = DEFAULT_URL, token_file: Token = None) -> None:
    """Have a running daemon take the model's generation before the fine-tuned one."""
    from daemon.cli.model import roll_back

    roll_back(url, token_file)


@app.command()
def scans(
    url: Url = DEFAULT_URL,
    token_file: Token = None,
    journal: Annotated[Path | None, typer.Option(help="List the scans of this journal instead of a daemon's.")] = None,
    as_json: AsJson = False,
) -> None:
    """List what a running daemon has done, or what its journal holds."""
    if journal is not None:
        from daemon.cli.scans import show_journal

        show_journal(journal, as_json)
        return
    from daemon.cli.remote import show_scans

    show_scans(url, token_file, as_json)


@app.command()
def status(url: Url = DEFAULT_URL, token_file: Token = None, as_json: AsJson = False) -> None:
    """Say what a running daemon is doing."""
    from daemon.cli.remote import show_status

    show_status(url, token_file, as_json)


@app.command()
def stop(
    scan: Annotated[str, typer.Argument(help="The scan's id.")] = "latest",
    url: Url = DEFAULT_URL,
    token_file: Token = None,
) -> None:
    """Have a running daemon finish a scan with the frames it has."""
    from daemon.cli.remote import stop_scan

    stop_scan(scan, url, token_file)


@config_app.command("schema")
def config_schema() -> None:
    """Print the JSON schema of the configuration."""
    from daemon.cli.config import show_schema

    show_schema()


@config_app.command("show")
def config_show(config: ConfigPath, settings: Settings = None) -> None:
    """Print the whole configuration as JSON, defaults and all."""
    from daemon.cli.config import show_config
    from daemon.config import load_config

    show_config(load_config(config, settings or [], os.environ))


@config_app.command("workflow")
def config_workflow(
    config: TrainingConfigPath = None,
    settings: TrainingSettings = None,
    mlflow: MlflowUri = None,
    legacy: Annotated[bool, typer.Option("--legacy", help="As the older code's params.cfg has it.")] = False,
) -> None:
    """Check a configuration of the workflow and print it whole as JSON, defaults and all."""
    from daemon.cli.config import show_workflow

    show_workflow(config, settings or [], mlflow, is_legacy=legacy)


@app.command()
def bench(
    names: Annotated[
        list[str] | None, typer.Argument(help="Measurements; without any, those that are quick. Or: resolution.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="Name of a measurement; repeatable.")] = None,
    engine_python: Annotated[
        Path | None, typer.Option(help="For resolution: Python of an environment with pty-chi, to compare.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="For resolution: the plot to write (png, svg, pdf).")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure the speed of every stage and of the whole chain on this machine; or the resolution of the demo's picture."""
    chosen = [*(names or []), *(only or [])]
    if chosen == ["resolution"]:
        from daemon.cli.bench_resolution import run_resolution

        run_resolution(engine_python, plot, as_json)
        return
    if engine_python is not None or plot is not None:
        raise ConfigError("--engine-python and --plot go with `bench resolution` alone; leave them out")
    from daemon.cli.bench import run_bench

    run_bench(chosen, as_json)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(VERSION)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True)] = False,
) -> None:
    """Live ptychography: a picture of the sample while it is scanned."""


def exit_code(fault: BaseException) -> int:
    """Return the exit code that a fault gives."""
    if isinstance(fault, ConfigError | ConfigurationError | KeyFileError):
        return 2
    if isinstance(fault, EndpointError | TimeoutError):
        return 4
    if isinstance(fault, IncompleteScanError):
        return 5
    return 3 if isinstance(fault, ReconstructionError | StreamError) else 1


def _leave(number: int, frame: FrameType | None) -> None:
    """On SIGTERM, unwind, so that files are whole and child processes end."""
    del number, frame
    raise SystemExit(143)


def main() -> None:
    """Run the command line."""
    signal.signal(signal.SIGTERM, _leave)
    try:
        app()
    except (DaemonError, ReconstructionError, StreamError, TimeoutError) as fault:
        typer.echo(f"ptycholive: {fault}", err=True)
        sys.exit(exit_code(fault))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as fault:
        if not is_of_disk(fault):
            raise
        folder = Path(fault.filename).parent if isinstance(fault.filename, str) else Path("the output")
        typer.echo(f"ptycholive: {fault_words(fault, folder)}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
