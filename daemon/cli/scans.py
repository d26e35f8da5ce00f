"""``scans --journal``: list the scans in a journal; no daemon is needed."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import typer

from daemon.errors import ConfigError
from daemon.journal.reading import journals, summary


def show_journal(folder: Path, as_json: bool) -> None:
    """Print the scans of a journal, oldest first."""
    if not folder.is_dir():
        raise ConfigError(f"--journal {folder}: this folder does not exist; give [output] journal of the configuration")
    found = [summary(path) for path in journals(folder)]
    if as_json:
        typer.echo(json.dumps([asdict(scan) for scan in found]))
        return
    for scan in found:
        due = "" if scan.expected is None else f" of {scan.expected}"
        words = "closed" if scan.is_closed else "open, resumes at the next start"
        refused = f", {scan.refused} refused" if scan.refused else ""
        size = f"{scan.bytes / 1e6:.1f} MB"
        typer.echo(f"{scan.scan_id}  {scan.started}  {scan.frames}{due} frames{refused}  {size}  {words}")
