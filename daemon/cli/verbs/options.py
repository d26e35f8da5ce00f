"""Options that several verbs have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_URL = "http://127.0.0.1:8080"
"""The page's address with the default ``[http]`` section."""

DEFAULT_UPDATES = "tcp://127.0.0.1:5556"
"""The default of ``[publish] endpoint``."""

ConfigPath = Annotated[Path, typer.Option("--config", help="Configuration file (TOML).")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Override a value of the file: section.key=value. Repeatable.")
]
ScanNumber = Annotated[
    int | None, typer.Option("--scan", min=0, help="Number of the scan in a file with several, from 0.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value on stdout.")]
Url = Annotated[str, typer.Option("--url", envvar="PTYCHOLIVE_URL", help="HTTP address of the daemon.")]
Token = Annotated[Path | None, typer.Option("--token-file", help="File with the access token of the daemon.")]

CurvePublic = Annotated[Path | None, typer.Option("--curve-public-file", help="File with this end's public CURVE key.")]
CurveSecret = Annotated[Path | None, typer.Option("--curve-secret-file", help="File with this end's secret CURVE key.")]
CurveServer = Annotated[
    Path | None,
    typer.Option("--curve-server-file", help="If this end connects: file with the public key of the other end."),
]
CurveAllowed = Annotated[
    Path | None,
    typer.Option(
        "--curve-allowed-file", help="If this end binds: file or directory with the public keys of admitted clients."
    ),
]

WorkflowPath = Annotated[
    Path | None,
    typer.Option("--config", help="Workflow configuration: TOML or JSON with the five sections, or mlflow:RUN."),
]
WorkflowSettings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a value: section.name=value, for example training.epochs=20. Repeatable."),
]
MlflowUri = Annotated[
    str | None, typer.Option("--mlflow", help="MLflow store that tracks the run, and that holds the run of mlflow:RUN.")
]

OnCluster = Annotated[
    str | None,
    typer.Option(
        "--on",
        metavar="local|auto|ray://HOST:PORT",
        help="Run on a Ray cluster, one task for each scan: local (processes on this machine), auto (the cluster of this "
        "machine) or an address. Needs ptycholive[cluster].",
    ),
]
