"""``config``: print the schema or a complete configuration."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import typer

from daemon.cli.workflow_config import workflow_of
from daemon.config import Config
from ptychopinn.config import legacy, params


def show_schema() -> None:
    """Print the JSON schema."""
    typer.echo(json.dumps(Config.model_json_schema(), indent=2))


def show_config(config: Config) -> None:
    """Print the complete configuration."""
    typer.echo(config.model_dump_json(indent=2))


def show_workflow(path: Path | None, settings: Sequence[str], store: str | None, *, is_legacy: bool) -> None:
    """Print the complete workflow configuration or, if ``is_legacy``, the ``params.cfg`` of the older PtychoPINN."""
    configs = workflow_of(path, store).update(settings)
    legacy.update_params(configs)
    typer.echo(json.dumps(params.cfg if is_legacy else configs.to_dict(), indent=2))
