"""``model``: manage the bundles on this machine and the model of a running daemon."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from daemon.cli.remote import fetch
from daemon.errors import ConfigError
from ptychopinn.atomic import write_atomically
from ptychopinn.errors import FileFormatError
from ptychopinn.model.bundle import (
    Bundle,
    build_network,
    bundle_files,
    find_bundle,
    read_bundle,
    read_model,
    user_directory,
    write_bundle,
)
from ptychopinn.model.ptycho_model import PtychoModel
from ptychopinn.model.scale_contract import object_scale


def list_models(as_json: bool) -> None:
    """Print the bundles on this machine; one that cannot be read becomes one sentence on stderr."""
    found = []
    for name, path in bundle_files().items():
        try:
            found.append(_about(read_bundle(path), name, path))
        except FileFormatError as fault:
            typer.echo(f"ptycholive: {fault}", err=True)
    if as_json:
        typer.echo(json.dumps(found))
        return
    for one in found:
        typer.echo(f"{one['name']}  {one['architecture']}  {one['parameters']} parameters  {one['file']}")


def show_model(name: str, as_json: bool) -> None:
    """Show the details of a model."""
    path = _path(name)
    about = _about(read_bundle(path), name, path)
    typer.echo(json.dumps(about, indent=None if as_json else 1))


def export_model(name: str, target: Path) -> None:
    """Copy a bundle, checked, to a file."""
    path = _path(name)
    build_network(read_bundle(path), path)
    target = target / f"{path.stem}.zip" if target.is_dir() else target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, path.read_bytes())
    except OSError as fault:
        raise ConfigError(f"{target} cannot be written ({fault.strerror}); choose another file") from fault
    typer.echo(f"{target}")


def import_model(source: Path, name: str | None, store: str | None) -> None:
    """Check a bundle, a PtychoPINN checkpoint or the model of a tracked run, and copy it to the user's directory."""
    bundle = read_model(source) if store is None else PtychoModel.from_mlflow(str(source), store).bundle
    build_network(bundle, source)
    chosen = name or source.stem
    if chosen in ("none", "shipped") or not chosen.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise ConfigError(
            f"--name {chosen}: the name of a model may contain letters, digits, -, _ and . and may not be none or shipped"
        )
    directory = user_directory()
    directory.mkdir(parents=True, exist_ok=True)
    digest = write_bundle(directory / f"{chosen}.zip", replace(bundle, name=chosen))
    typer.echo(f"{chosen}: {bundle.architecture}, weights {digest[:16]}")


def set_model(name: str, url: str, token_file: Path | None) -> None:
    """Switch a running daemon to another model, between two batches."""
    answer = fetch(url, "/api/v1/models/active", token_file, {"name": name})
    typer.echo(f"the daemon now uses {answer['name']}, generation {answer['generation']}")


def roll_back(url: str, token_file: Path | None) -> None:
    """Undo the last fine-tuning promotion of a running daemon."""
    answer = fetch(url, "/api/v1/models/rollback", token_file, {})
    typer.echo(f"the daemon uses {answer['name']} again, generation {answer['generation']}")


def _path(name: str) -> Path:
    path = find_bundle(name)
    if path is None:
        raise ConfigError('"none" is the lift without a network, which has no bundle; give another name')
    return path


def _about(bundle: Bundle, name: str, path: Path) -> dict[str, Any]:
    return {
        "name": name,
        "file": str(path),
        "architecture": bundle.architecture,
        "options": dict(bundle.options),
        "parameters": sum(value.numel() for value in bundle.weights.values()),
        "sha256": bundle.sha256,
        "configs": dict(bundle.configs),
        "scaling": dict(bundle.scaling),
        "object_scale": object_scale(bundle.has_own_scale, bundle.configs),
        "provenance": dict(bundle.provenance),
    }
