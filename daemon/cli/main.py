"""The command ``ptycholive``: its verbs in the order of the help. An error becomes one sentence and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from daemon.cli.exit_codes import ExitCode, exit_code
from daemon.cli.grouped_help import GroupedHelp
from daemon.cli.verbs import configuration, files, live, measure, models, streams
from daemon.errors import DaemonError
from daemon.service.disk import fault_words, is_of_disk
from daemon.version import VERSION
from ptychopinn.errors import ReconstructionError
from streams.errors import StreamError

VERBS: tuple[Callable[..., None], ...] = (
    live.demo,
    live.serve,
    streams.init,
    live.check,
    streams.record,
    streams.replay,
    live.watch,
    files.refine,
    files.simulate,
    files.predict,
    files.validate,
    files.convert,
    measure.compare,
    models.train,
    models.finetune,
    live.scans,
    live.status,
    live.stop,
    measure.bench,
)
CONFIG_VERBS: dict[str, Callable[..., None]] = {
    "schema": configuration.config_schema,
    "show": configuration.config_show,
    "workflow": configuration.config_workflow,
}
MODEL_VERBS: dict[str, Callable[..., None]] = {
    "list": models.model_list,
    "show": models.model_show,
    "export": models.model_export,
    "import": models.model_import,
    "set": models.model_set,
    "rollback": models.model_rollback,
}

app = typer.Typer(
    name="ptycholive",
    help="Live ptychography: reconstruct a picture of the sample during the scan.",
    no_args_is_help=True,
    cls=GroupedHelp,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
config_app = typer.Typer(help="Print the schema or the complete configuration.")
model_app = typer.Typer(help="Manage the models on this machine and in a running daemon.")
app.add_typer(config_app, name="config")
app.add_typer(model_app, name="model")
for _verb in VERBS:
    app.command()(_verb)
for _group, _verbs in ((config_app, CONFIG_VERBS), (model_app, MODEL_VERBS)):
    for _name, _grouped in _verbs.items():
        _group.command(_name)(_grouped)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(VERSION)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Live ptychography: reconstruct a picture of the sample during the scan."""


def _terminate(number: int, frame: FrameType | None) -> None:
    """On SIGTERM, unwind the stack, so that files are complete and child processes end."""
    del number, frame
    raise SystemExit(ExitCode.TERMINATED)


def main() -> None:
    """Run the command line."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app()
    except (DaemonError, ReconstructionError, StreamError, TimeoutError) as fault:
        typer.echo(f"ptycholive: {fault}", err=True)
        sys.exit(exit_code(fault))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.FAILED)
    except OSError as fault:
        if not is_of_disk(fault):
            raise
        folder = Path(fault.filename).parent if isinstance(fault.filename, str) else Path("the output")
        typer.echo(f"ptycholive: {fault_words(fault, folder)}", err=True)
        sys.exit(ExitCode.FAILED)
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
