"""Declares the verbs of the group config."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from daemon.cli.verbs.options import ConfigPath, MlflowUri, Settings, WorkflowPath, WorkflowSettings


def config_schema() -> None:
    """Print the JSON schema of the configuration."""
    from daemon.cli.config import show_schema

    show_schema()


def config_show(config: ConfigPath, settings: Settings = None) -> None:
    """Print the complete configuration as JSON, including defaults."""
    from daemon.cli.config import show_config
    from daemon.config import load_config

    show_config(load_config(config, settings or [], os.environ))


def config_workflow(
    config: WorkflowPath = None,
    settings: WorkflowSettings = None,
    mlflow: MlflowUri = None,
    legacy: Annotated[
        bool, typer.Option("--legacy", help="Print the params.cfg of the older PtychoPINN instead.")
    ] = False,
) -> None:
    """Check a workflow configuration and print it as JSON, including defaults."""
    from daemon.cli.config import show_workflow

    show_workflow(config, settings or [], mlflow, is_legacy=legacy)
