"""Declares the verbs on models: train, finetune and the group model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from daemon.cli.verbs.options import DEFAULT_URL, AsJson, MlflowUri, Token, Url, WorkflowPath, WorkflowSettings

TrainingData = Annotated[
    list[Path] | None,
    typer.Argument(help="Scans with positions, or directories of scans. Default: those in the configuration."),
]
BundleOutput = Annotated[Path, typer.Option("--output", help="Bundle to write (.zip).")]
TrainingProbe = Annotated[
    Path | None, typer.Option("--probe", help="File with the probe. Default: the probe in each data file.")
]
PixelSize = Annotated[
    float | None, typer.Option("--pixel-size", help="Side of an object pixel, m, for files that do not give it.")
]
Work = Annotated[Path | None, typer.Option("--work", help="Folder for checkpoints and log. Default: OUTPUT.training.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue an interrupted training; the result is as without the interruption.")
]
Devices = Annotated[
    int,
    typer.Option(
        "--devices", min=1, help="Number of devices, or of processes on a CPU; more than one needs Lightning."
    ),
]
Compiled = Annotated[
    bool, typer.Option("--compile", help="Compile the network first; this pays off in long trainings.")
]
ModelName = Annotated[str, typer.Argument(help="Name of a model, or bundle file.")]


def train(
    output: BundleOutput,
    data: TrainingData = None,
    model: Annotated[
        Literal["cnn", "lift", "fno"] | None, typer.Option(help="Architecture of the model. Default: as configured.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Settings by name: neighbourhoods (default of --model cnn and fno, unless settings contradict it), "
            "ptychopinn, ptychopinn-ci (its absolute scale)."
        ),
    ] = None,
    config: WorkflowPath = None,
    settings: WorkflowSettings = None,
    probe: TrainingProbe = None,
    pixel_size: PixelSize = None,
    work: Work = None,
    resume: Resume = False,
    devices: Devices = 1,
    mlflow: MlflowUri = None,
    compiled: Compiled = False,
    as_json: AsJson = False,
) -> None:
    """Train a new model on scans.

    Writes a bundle.
    """
    from daemon.cli.train import run_train
    from daemon.cli.training_run import TrainingOptions

    options = TrainingOptions(
        config=config,
        settings=tuple(settings or ()),
        probe=probe,
        pixel_size_m=pixel_size,
        work=work,
        is_resumed=resume,
        devices=devices,
        mlflow=mlflow,
        is_compiled=compiled,
    )
    run_train(data or [], output, model, options, preset, as_json=as_json)


def finetune(
    bundle: Annotated[str, typer.Argument(help="Model: a name or a file.")],
    output: BundleOutput,
    data: TrainingData = None,
    config: WorkflowPath = None,
    settings: WorkflowSettings = None,
    probe: TrainingProbe = None,
    pixel_size: PixelSize = None,
    work: Work = None,
    resume: Resume = False,
    devices: Devices = 1,
    mlflow: MlflowUri = None,
    compiled: Compiled = False,
    as_json: AsJson = False,
) -> None:
    """Fine-tune the decoders of a model on scans.

    The encoder stays as it is. Writes a new bundle.
    """
    from daemon.cli.finetune import run_finetune
    from daemon.cli.training_run import TrainingOptions

    options = TrainingOptions(
        config=config,
        settings=tuple(settings or ()),
        probe=probe,
        pixel_size_m=pixel_size,
        work=work,
        is_resumed=resume,
        devices=devices,
        mlflow=mlflow,
        is_compiled=compiled,
    )
    run_finetune(bundle, data or [], output, options, as_json)


def model_list(as_json: AsJson = False) -> None:
    """List the models on this machine."""
    from daemon.cli.model import list_models

    list_models(as_json)


def model_show(name: ModelName = "shipped", as_json: AsJson = False) -> None:
    """Show the details of a model."""
    from daemon.cli.model import show_model

    show_model(name, as_json)


def model_export(name: ModelName, target: Annotated[Path, typer.Argument(help="File to write.")]) -> None:
    """Copy a model to a bundle file."""
    from daemon.cli.model import export_model

    export_model(name, target)


def model_import(
    source: Annotated[Path, typer.Argument(help="Bundle or PtychoPINN checkpoint; with --mlflow: id of a run.")],
    name: Annotated[str | None, typer.Option(help="Name for the model. Default: the name of the file.")] = None,
    mlflow: Annotated[str | None, typer.Option(help="MLflow store; the model of the run SOURCE is imported.")] = None,
) -> None:
    """Import a bundle or a PtychoPINN checkpoint under a name."""
    from daemon.cli.model import import_model

    import_model(source, name, mlflow)


def model_set(name: ModelName, url: Url = DEFAULT_URL, token_file: Token = None) -> None:
    """Switch a running daemon to another model."""
    from daemon.cli.model import set_model

    set_model(name, url, token_file)


def model_rollback(url: Url = DEFAULT_URL, token_file: Token = None) -> None:
    """Undo the last fine-tuning promotion of a running daemon."""
    from daemon.cli.model import roll_back

    roll_back(url, token_file)
