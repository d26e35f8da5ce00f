"""Client of an MLflow tracking store."""

from __future__ import annotations

import importlib
import os
from typing import Any

from ptychopinn.errors import ConfigurationError

FILE_STORE = "MLFLOW_ALLOW_FILE_STORE"
"""Newer versions of mlflow need this to open a store that is a directory."""


def mlflow_client(tracking_uri: str | None = None) -> Any:
    """Return a client of a store; None: the store that mlflow is configured for.

    Raises
    ------
    ConfigurationError
        If mlflow is not installed, or the store cannot be opened.
    """
    mlflow = import_mlflow()
    os.environ.setdefault(FILE_STORE, "true")
    try:
        return mlflow.MlflowClient(tracking_uri)
    except Exception as fault:  # tracking stores raise errors of any kind
        raise ConfigurationError(f"the tracking store {tracking_uri} cannot be opened ({one_line(fault)})") from fault


def import_mlflow() -> Any:
    """Return the module; without it one sentence says how to install it, before any work."""
    try:
        return importlib.import_module("mlflow")
    except ImportError:
        raise ConfigurationError("mlflow is not installed; install ptycholive[mlflow]") from None


def one_line(fault: Exception) -> str:
    """Return the message of an error on one line."""
    return " ".join(str(fault).split())[:200] or type(fault).__name__
