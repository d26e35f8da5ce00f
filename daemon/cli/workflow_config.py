"""Reads the workflow configuration of ``train``, ``finetune``, ``simulate`` and ``config workflow``."""

from __future__ import annotations

from pathlib import Path

from ptychopinn.config.manager import ConfigManager

RUN = "mlflow:"
"""Prefix of the id of a tracked run, given in place of a file."""


def workflow_of(path: Path | None, store: str | None) -> ConfigManager:
    """Return the workflow configuration of a file or of a tracked run ``mlflow:RUN``; the defaults for None."""
    if path is None:
        return ConfigManager()
    if str(path).startswith(RUN):
        return ConfigManager.from_mlflow(str(path).removeprefix(RUN), store)
    return ConfigManager.from_file(path)
