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

from daemon.errors import ConfigError, DaemonError, IncompleteScanError
from daemon.service.disk import fault_words, is_of_disk
from daemon.version import VERSION
from ptychopinn.errors import ConfigurationError, ReconstructionError
from streams.errors import EndpointError, KeyFileError, StreamError

app = typer.Typer(
    name="ptycholive",
    help="Live ptychography: reconstruct a picture of the sample during the scan.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
config_app = typer.Typer(help="Print the JSON schema of the configuration, or a complete configuration.")
model_app = typer.Typer(help="Manage model bundles on this machine and the model of a running daemon.")
app.add_typer(config_app, name="config")
app.add_typer(model_app, name="model")

ConfigPath = Annotated[Path, typer.Option("--config", help="Configuration file (TOML).")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Override a value of the file: section.key=value. Repeatable.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value on stdout.")]
Url = Annotated[str, typer.Option("--url", help="HTTP address of the daemon.")]
Token = Annotated[Path | None, typer.Option("--token-file", help="File with the token of the daemon.")]
CurvePublic = Annotated[Path | None, typer.Option("--curve-public-file", help="This end's public CURVE key.")]
CurveSecret = Annotated[Path | None, typer.Option("--curve-secret-file", help="This end's secret CURVE key.")]
CurveServer = Annotated[
    Path | None, typer.Option("--curve-server-file", help="If this end connects: public key of the end that binds.")
]
CurveAllowed = Annotated[
    Path | None,
    typer.Option("--curve-allowed-file", help="If this end binds: public keys of the clients that it admits."),
]
DEFAULT_URL = "http://127.0.0.1:8080"


@app.command()
def demo(
    headless: Annotated[
        bool, typer.Option("--headless", help="Run without a page, print one JSON object and exit after the scan.")
    ] = False,
    output: Annotated[Path, typer.Option(help="Product file to write.")] = Path("demo.h5"),
    rate: Annotated[float, typer.Option(min=0.1, help="Frames per second.")] = 40.0,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0 selects a free port.")] = 8080,
    no_finetune: Annotated[bool, typer.Option("--no-finetune", help="Do not fine-tune the model.")] = False,
    no_refine: Annotated[bool, typer.Option("--no-refine", help="Do not compute the refined layer.")] = False,
    fault: Annotated[str, typer.Option(help="Simulated faults of the stream, as in replay.")] = "",
) -> None:
    """Stream the shipped scan of a Siemens star over TCP and reconstruct it live in the browser."""
    from daemon.cli.demo import DemoOptions, run_demo

    run_demo(DemoOptions(headless, output, rate, port, refine=not no_refine, finetune=not no_finetune, fault=fault))


@app.command()
def serve(config: ConfigPath, settings: Settings = None, as_json: AsJson = False) -> None:
    """Run the daemon until SIGTERM or Ctrl-C. With --json, print its addresses in one line when it is ready."""
    from daemon.config import load_config

    loaded = load_config(config, settings or [], os.environ)
    from daemon.cli.serve import run_daemon  # after it: a wrong configuration is refused before torch is loaded

    run_daemon(loaded, as_json)


@app.command()
def check(
    config: ConfigPath,
    settings: Settings = None,
    wait: Annotated[float, typer.Option(min=0, help="Time to listen at each endpoint, s.")] = 3.0,
    as_json: AsJson = False,
) -> None:
    """Test configuration, probe, output and endpoints before beam time: OK, WARN, SILENT or ERROR for each."""
    from daemon.config import load_config

    loaded = load_config(config, settings or [], os.environ)
    from daemon.cli.check import run_check

    run_check(loaded, wait, as_json)


@app.command()
def record(
    config: ConfigPath,
    output: Annotated[Path, typer.Option(help="Recording to write; the file must not exist.")],
    settings: Settings = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Stop after this many seconds.")] = None,
    messages: Annotated[int | None, typer.Option(min=1, help="Stop after this many messages.")] = None,
    beside_daemon: Annotated[
        bool, typer.Option("--beside-daemon", help="Record beside a running daemon; each gets a share of the messages.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Record every message of the configured streams byte for byte until Ctrl-C; `replay` plays it back."""
    from daemon.cli.record import RecordOptions, run_record
    from daemon.config import load_config

    options = RecordOptions(seconds, messages, beside_daemon)
    run_record(load_config(config, settings or [], os.environ), output, options, as_json)


@app.command()
def replay(
    data: Annotated[Path, typer.Argument(help="Scan (CXI, NPZ, PTYD, patterns file of a product) or recording.")],
    bind: Annotated[str, typer.Option(help="Address to bind for frames; with a leading > the address to connect to.")],
    stream_format: Annotated[
        str | None,
        typer.Option("--format", help="native, dectris-v1, dectris-v2 or array-1.0. A recording has its own format."),
    ] = None,
    positions: Annotated[
        str | None, typer.Option(help="Address to bind for positions. Default: send them inside the frames.")
    ] = None,
    positions_format: Annotated[
        Literal["native", "panda"], typer.Option(help="Format of the position messages.")
    ] = "native",
    positions_socket: Annotated[
        Literal["push", "pub"] | None,
        typer.Option(help="Socket type for positions. Default: pub for panda, that of the frames for native."),
    ] = None,
    samples_per_frame: Annotated[int, typer.Option(min=1, help="For panda: samples per frame.")] = 1,
    socket: Annotated[Literal["push", "pub"], typer.Option(help="Socket type for frames.")] = "push",
    flatten: Annotated[
        bool, typer.Option("--flatten", help="Send each part as a separate message, as some relays do.")
    ] = False,
    rate: Annotated[
        float | None,
        typer.Option(
            min=0.01, help="Frames per second. Default: as fast as the receiver accepts, or the recorded rate."
        ),
    ] = None,
    fault: Annotated[
        str, typer.Option(help="Simulated faults: drop=P,duplicate=P,reorder=FRAMES,corrupt=P,late-positions=SECONDS.")
    ] = "",
    scan_id: Annotated[str, typer.Option(help="Name of the scan.")] = "",
    encoding: Annotated[
        Literal["bslz4", "lz4", "none"], typer.Option(help="Compression of the pixels; lz4 requires dectris-v1.")
    ] = "bslz4",
    repeat: Annotated[int, typer.Option(min=1, help="Send the frames this many times within one scan.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the faults.")] = 0,
    wait: Annotated[float, typer.Option(min=0, help="Longest wait for a receiver, s.")] = 60.0,
    curve_public: CurvePublic = None,
    curve_secret: CurveSecret = None,
    curve_server: CurveServer = None,
    curve_allowed: CurveAllowed = None,
    as_json: AsJson = False,
) -> None:
    """Send a data file as a detector and a position source would, or play back a recording."""
    from daemon.cli.playback import PlaybackOptions, run_playback
    from daemon.cli.replay import ReplayOptions, run_replay
    from streams.replay.recording import is_recording
    from streams.sockets.keys import KeyFiles

    keys = KeyFiles(curve_public, curve_secret, curve_server, curve_allowed)
    if is_recording(data):
        run_playback(data, PlaybackOptions(bind, positions, socket, rate, wait, keys), as_json)
        return
    if stream_format is None:
        raise ConfigError(f"--format is missing; {data} is not a recording, so name the format in which to send it")
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
    endpoint: Annotated[str, typer.Argument(help="[publish] endpoint of the daemon.")],
    save: Annotated[
        Path | None, typer.Option(help="Directory for an NPY file of each layer at the end of each scan.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Exit after this time without a message, s.")] = 30.0,
    once: Annotated[bool, typer.Option("--once", help="Exit after the first scan.")] = False,
    picture: Annotated[
        Literal["phase", "amplitude", "coverage"] | None,
        typer.Option(help="Draw this picture in the terminal (half blocks, 24-bit colours)."),
    ] = None,
    layer: Annotated[Literal["refined", "network"], typer.Option(help="Layer for --picture.")] = "refined",
    curve_public: CurvePublic = None,
    curve_secret: CurveSecret = None,
    curve_server: CurveServer = None,
    as_json: AsJson = False,
) -> None:
    """Follow the updates of a daemon: print one line for each, or draw the picture."""
    from daemon.cli.watch import run_watch
    from streams.sockets.keys import KeyFiles

    keys = KeyFiles(curve_public, curve_secret, curve_server)
    run_watch(endpoint, save, timeout, once, keys, as_json, picture, layer)


@app.command()
def refine(
    data: Annotated[Path, typer.Argument(help="Scan with positions: CXI, NPZ, PTYD.")],
    output: Annotated[Path, typer.Option(help="Product file to write.")],
    probe: Annotated[
        Path | None, typer.Option(help="File with the initial probe. Default: the probe in the data file.")
    ] = None,
    sweeps: Annotated[int, typer.Option(min=1, help="Sweeps over all frames.")] = 40,
    full_sweeps: Annotated[int, typer.Option(min=0, help="Sweeps with the full step, before the step decreases.")] = 12,
    decay: Annotated[float, typer.Option(min=0.1, max=1, help="Factor on the step for each later sweep.")] = 0.9,
    keep_probe: Annotated[bool, typer.Option("--keep-probe", help="Refine only the object.")] = False,
    seed: Annotated[int, typer.Option(help="Seed for the order of the frames.")] = 0,
    pixel_size: Annotated[float | None, typer.Option(help="Object pixel, m, if the file does not give it.")] = None,
    probe_output: Annotated[Path | None, typer.Option(help="NPZ file to write the probe to.")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Use only the first N frames.")] = None,
    as_json: AsJson = False,
) -> None:
    """Reconstruct probe and object of a data file iteratively and write a product."""
    from daemon.cli.refine import RefineOptions, run_refine

    options = RefineOptions(probe, sweeps, full_sweeps, decay, not keep_probe, seed, pixel_size, probe_output, frames)
    run_refine(data, output, options, as_json)


@app.command()
def simulate(
    output: Annotated[Path, typer.Argument(help="NPZ file to write.")],
    size: Annotated[int, typer.Option(min=16, max=1024, help="Side of the patterns, px.")] = 128,
    probe: Annotated[
        str, typer.Option(help="Kind of probe: zone_plate, pinhole, mirrors, gaussian, aberrated or diffuser.")
    ] = ("zone_plate"),
    probe_file: Annotated[Path | None, typer.Option(help="File with a probe, in place of --probe.")] = None,
    modes: Annotated[int, typer.Option(min=1, max=8, help="Incoherent modes of the probe.")] = 1,
    footprint: Annotated[
        float, typer.Option(min=0.05, max=0.9, help="Diameter of the probe over the side of the patterns.")
    ] = 0.4,
    texture: Annotated[
        str,
        typer.Option(
            "--object", help="Kind of object: shapes, bars, lines, stars, glyphs, noise, cells, leaves or maze."
        ),
    ] = "shapes",
    phase: Annotated[float, typer.Option(help="Phase of the thickest part, rad.")] = 0.5,
    absorption: Annotated[float, typer.Option(min=0, help="-log of the smallest amplitude.")] = 0.1,
    counts: Annotated[float, typer.Option(min=1, help="Photons in a frame without sample.")] = 1e5,
    track: Annotated[str, typer.Option(help="Scan path: raster, snake, spiral or jitter.")] = "raster",
    overlap: Annotated[
        float, typer.Option(min=0, max=0.95, help="Overlap of neighbouring frames: 1 - step / footprint.")
    ] = 0.7,
    frames: Annotated[int, typer.Option(min=1, help="Frames per scan.")] = 100,
    jitter: Annotated[
        float, typer.Option(min=0, help="Random displacement of the positions, included in the recorded ones, px rms.")
    ] = 0.0,
    count: Annotated[int, typer.Option(min=1, help="Number of scans; numbered files with consecutive seeds.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed; the same seed gives the same scan.")] = 0,
    config: Annotated[
        Path | None,
        typer.Option(
            help="Workflow configuration; its datagen_config, N, nphotons and seed replace all other options, "
            "OUTPUT is a directory then."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Simulate scans and write them with the true object and probe."""
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
    data: Annotated[
        list[Path], typer.Argument(help="Scans with positions: CXI, NPZ, PTYD, patterns file of a product.")
    ],
    output: Annotated[
        Path, typer.Option(help="Product to write, or picture only (.npz); a directory for several scans.")
    ],
    bundle: Annotated[
        str, typer.Option(help="Model: a name, a file, shipped, or none (the lift without a network).")
    ] = "shipped",
    probe: Annotated[
        Path | None, typer.Option(help="File with the probe. Default: the probe in each data file.")
    ] = None,
    device: Annotated[str, typer.Option(help="Device: auto, cpu, cuda or cuda:N.")] = "auto",
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        typer.Option(help="Number type of the lift's network; auto selects bfloat16 on a GPU that supports it."),
    ] = "auto",
    looks: Annotated[
        int, typer.Option(min=1, max=4, help="Predictions per frame; later ones start from the stitched neighbours.")
    ] = 2,
    sweeps: Annotated[int, typer.Option(min=0, help="Sweeps of the refiner after the prediction.")] = 0,
    pixel_size: Annotated[float | None, typer.Option(help="Object pixel, m, for files without it.")] = None,
    plot: Annotated[
        Literal["png", "svg"] | None, typer.Option(help="Write a plot of this type beside each product.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Reconstruct data files with a model and write products."""
    from daemon.cli.predict import PredictOptions, run_predict

    run_predict(data, output, PredictOptions(bundle, probe, device, dtype, looks, sweeps, pixel_size, plot), as_json)


@app.command()
def validate(
    data: Annotated[list[Path], typer.Argument(help="Scan and product files.")],
    as_json: AsJson = False,
) -> None:
    """Check files against the data contract; list every violation."""
    from daemon.cli.validate import run_validate

    run_validate(data, as_json)


@app.command()
def convert(
    data: Annotated[Path, typer.Argument(help="Scan, product or ptypy result.")],
    output: Annotated[Path, typer.Argument(help="File to write; its extension selects the format.")],
    kind: Annotated[
        str | None,
        typer.Option(
            "--to",
            help="Format of the output: npz-diffraction, npz-diff3d, cxi, ptyd, nexus, patterns, product, ptyr. "
            "Default: by extension.",
        ),
    ] = None,
    probe: Annotated[
        Path | None, typer.Option(help="File with a probe that replaces the probe in the data file.")
    ] = None,
    pixel_size: Annotated[float | None, typer.Option(help="Object pixel, m, if the file does not give it.")] = None,
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
    list[str] | None,
    typer.Option("--set", help="Override a value: section.name=value, for example training.epochs=20. Repeatable."),
]
TrainingData = Annotated[
    list[Path] | None,
    typer.Argument(help="Scans with positions, or directories of scans. Default: those in the configuration."),
]
BundleOutput = Annotated[Path, typer.Option("--output", help="Bundle to write (.zip).")]
TrainingProbe = Annotated[
    Path | None, typer.Option("--probe", help="File with the probe. Default: the probe in each data file.")
]
PixelSize = Annotated[float | None, typer.Option("--pixel-size", help="Object pixel, m, for files without it.")]
Work = Annotated[Path | None, typer.Option("--work", help="Folder for checkpoints and log. Default: OUTPUT.training.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue an interrupted training; the result is the same.")]
Devices = Annotated[
    int, typer.Option("--devices", min=1, help="Number of devices, or of processes on a CPU; needs Lightning.")
]
MlflowUri = Annotated[
    str | None, typer.Option("--mlflow", help="MLflow store for tracking the run and for mlflow:RUN.")
]
Compiled = Annotated[bool, typer.Option("--compile", help="Compile the network first; worthwhile for long trainings.")]


@app.command()
def train(
    output: BundleOutput,
    data: TrainingData = None,
    model: Annotated[Literal["cnn", "lift"] | None, typer.Option(help="Model family. Default: as configured.")] = None,
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
    """Train a new model on scans and write a bundle."""
    from daemon.cli.train import run_train
    from daemon.cli.training_run import TrainingOptions

    told = tuple(settings or ())
    options = TrainingOptions(config, told, probe, pixel_size, work, resume, devices, mlflow, compiled)
    run_train(data or [], output, model, options, as_json)


@app.command()
def finetune(
    bundle: Annotated[str, typer.Argument(help="Model: a name or a file.")],
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
    """Fine-tune the decoders of a model on scans, with a fixed encoder, and write a new bundle."""
    from daemon.cli.finetune import run_finetune
    from daemon.cli.training_run import TrainingOptions

    told = tuple(settings or ())
    options = TrainingOptions(config, told, probe, pixel_size, work, resume, devices, mlflow, compiled)
    run_finetune(bundle, data or [], output, options, as_json)


@model_app.command("list")
def model_list(as_json: AsJson = False) -> None:
    """List the models on this machine."""
    from daemon.cli.model import list_models

    list_models(as_json)


ModelName = Annotated[str, typer.Argument(help="Name of a model, or bundle file.")]


@model_app.command("show")
def model_show(name: ModelName = "shipped", as_json: AsJson = False) -> None:
    """Show the details of a model."""
    from daemon.cli.model import show_model

    show_model(name, as_json)


@model_app.command("export")
def model_export(name: ModelName, target: Annotated[Path, typer.Argument(help="File to write.")]) -> None:
    """Copy a model to a bundle file."""
    from daemon.cli.model import export_model

    export_model(name, target)


@model_app.command("import")
def model_import(
    source: Annotated[Path, typer.Argument(help="Bundle or PtychoPINN checkpoint; with --mlflow the id of a run.")],
    name: Annotated[str | None, typer.Option(help="Name for the model. Default: the name of the file.")] = None,
    mlflow: Annotated[str | None, typer.Option(help="MLflow store; import the model of the run SOURCE.")] = None,
) -> None:
    """Import a bundle or a PtychoPINN checkpoint under a name."""
    from daemon.cli.model import import_model

    import_model(source, name, mlflow)


@model_app.command("set")
def model_set(name: ModelName, url: Url = DEFAULT_URL, token_file: Token = None) -> None:
    """Swap the model of a running daemon."""
    from daemon.cli.model import set_model

    set_model(name, url, token_file)


@model_app.command("rollback")
def model_rollback(url: Url = DEFAULT_URL, token_file: Token = None) -> None:
    """Undo the last fine-tuning promotion of a running daemon."""
    from daemon.cli.model import roll_back

    roll_back(url, token_file)


@app.command()
def scans(
    url: Url = DEFAULT_URL,
    token_file: Token = None,
    journal: Annotated[
        Path | None, typer.Option(help="List the scans in this journal instead of those of a daemon.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the scans of a running daemon or of a journal."""
    if journal is not None:
        from daemon.cli.scans import show_journal

        show_journal(journal, as_json)
        return
    from daemon.cli.remote import show_scans

    show_scans(url, token_file, as_json)


@app.command()
def status(url: Url = DEFAULT_URL, token_file: Token = None, as_json: AsJson = False) -> None:
    """Print the state of a running daemon."""
    from daemon.cli.remote import show_status

    show_status(url, token_file, as_json)


@app.command()
def stop(
    scan: Annotated[str, typer.Argument(help="Id of the scan.")] = "latest",
    url: Url = DEFAULT_URL,
    token_file: Token = None,
) -> None:
    """Tell a running daemon to finish a scan with the frames received so far."""
    from daemon.cli.remote import stop_scan

    stop_scan(scan, url, token_file)


@config_app.command("schema")
def config_schema() -> None:
    """Print the JSON schema of the configuration."""
    from daemon.cli.config import show_schema

    show_schema()


@config_app.command("show")
def config_show(config: ConfigPath, settings: Settings = None) -> None:
    """Print the complete configuration as JSON, including defaults."""
    from daemon.cli.config import show_config
    from daemon.config import load_config

    show_config(load_config(config, settings or [], os.environ))


@config_app.command("workflow")
def config_workflow(
    config: TrainingConfigPath = None,
    settings: TrainingSettings = None,
    mlflow: MlflowUri = None,
    legacy: Annotated[bool, typer.Option("--legacy", help="Print it as params.cfg of the older PtychoPINN.")] = False,
) -> None:
    """Check a workflow configuration and print it as JSON, including defaults."""
    from daemon.cli.config import show_workflow

    show_workflow(config, settings or [], mlflow, is_legacy=legacy)


@app.command()
def bench(
    names: Annotated[
        list[str] | None, typer.Argument(help="Measurements to run, or resolution. Default: all quick ones.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="Name of a measurement; repeatable.")] = None,
    engine_python: Annotated[
        Path | None, typer.Option(help="For resolution: Python of an environment with pty-chi, for comparison.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="For resolution: plot file to write (png, svg, pdf).")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure the speed of each stage and of the whole chain, or the resolution of the demo's picture."""
    chosen = [*(names or []), *(only or [])]
    if chosen == ["resolution"]:
        from daemon.cli.bench.resolution import run_resolution

        run_resolution(engine_python, plot, as_json)
        return
    if engine_python is not None or plot is not None:
        raise ConfigError("--engine-python and --plot go with `bench resolution` alone; leave them out")
    from daemon.cli.bench.stages import run_bench

    run_bench(chosen, as_json)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(VERSION)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True)] = False,
) -> None:
    """Live ptychography: reconstruct a picture of the sample during the scan."""


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
