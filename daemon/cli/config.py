"""``config``: the configuration for people and programs."""

from __future__ import annotations

import json

import typer

from daemon.config import Config


def show_schema() -> None:
    """Print the JSON schema."""
    typer.echo(json.dumps(Config.model_json_schema(), indent=2))


def show_config(config: Config) -> None:
    """Print a whole configuration."""
    typer.echo(config.model_dump_json(indent=2))
