"""``config``: the configuration for people and programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import typer

from daemon.config import Config
from ptychopinn.config import legacy, params
from ptychopinn.config.manager import ConfigManager

RUN = "mlflow:"
"""Begins the name of a tracked run in place of a configuration file."""


def show_schema() -> None:
    """Print the JSON schema."""
    typer.echo(json.dumps(Config.model_json_schema(), indent=2))


def show_config(config: Config) -> None:
    """Print a whole configuration."""
    typer.echo(config.model_dump_json(indent=2))


def workflow_of(path: Path | None, store: str | None) -> ConfigManager:
    """Return the workflow's configuration of a file, or of a tracked run ``mlflow:RUN``; defaults for None."""
    if path is None:
        return ConfigManager()
    if str(path).startswith(RUN):
        return ConfigManager.from_mlflow(str(path).removeprefix(RUN), store)
    return ConfigManager.from_file(path)


def show_workflow(path: Path | None, settings: Sequence[str], store: str | None, *, is_legacy: bool) -> None:
    """Print a whole configuration of the workflow, or what the older code's dictionary makes of it."""
    configs = workflow_of(path, store).update(settings)
    legacy.tell(configs)
    typer.echo(json.dumps(params.cfg if is_legacy else configs.to_dict(), indent=2))
