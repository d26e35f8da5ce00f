"""``simulate``: write simulated scans as NPZ files that ``replay``, ``refine`` and other programs read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
import typer

from daemon.cli.progress import progress
from daemon.cli.workflow_config import workflow_of
from daemon.errors import ConfigError
from daemon.files import read_probe
from daemon.messages.summaries import SimulationSummary
from ptychopinn.contract.training_export import write_training_file
from ptychopinn.errors import ProbeMismatchError
from ptychopinn.simulate import PROBES, TEXTURES, TRACKS, Recipe, simulate_scan
from ptychopinn.workflow.datagen import Datagen, training_scan

PIXEL_SIZE_M = 2.8e-8
"""Size of the object pixel, m, unless a probe file gives it: about that of the demo scan."""


def run_simulate(output: Path, recipe: Recipe, probe_file: Path | None, count: int, as_json: bool) -> None:
    """Write one scan, or ``count`` scans with consecutive seeds to numbered files."""
    check_recipe(recipe, probe_file)
    written = []
    with progress(count, "simulating", "scans") as bar:
        for path, one in numbered(output, recipe, count):
            written.append(simulate_file(path, one, probe_file))
            bar.update()
    if as_json:
        typer.echo(json.dumps(written))
    else:
        for summary in written:
            typer.echo(simulation_line(summary))


def check_recipe(recipe: Recipe, probe_file: Path | None) -> None:
    """Raise an error for an unknown kind, or for a probe of another size."""
    for name, value, known in (
        ("--probe", recipe.probe_kind, PROBES),
        ("--object", recipe.texture, TEXTURES),
        ("--track", recipe.track, TRACKS),
    ):
        if value not in known:
            raise ConfigError(f"{name} {value} is not a known kind; choose one of {', '.join(known)}")
    _given_probe(recipe, probe_file)


def numbered(output: Path, recipe: Recipe, count: int) -> Iterator[tuple[Path, Recipe]]:
    """Yield the file and the recipe of each scan; makes the folder."""
    output.parent.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = output if count == 1 else output.with_name(f"{output.stem}-{number:04d}.npz")
        yield path, replace(recipe, seed=recipe.seed + number)


def simulate_file(path: Path, recipe: Recipe, probe_file: Path | None) -> SimulationSummary:
    """Simulate one scan, write its file, return a summary for JSON."""
    probe, pixel_size_m = _given_probe(recipe, probe_file)
    scan = simulate_scan(recipe, probe)
    write_training_file(path, training_scan(scan, pixel_size_m), "diff3d")
    return {"file": str(path), "frames": len(scan.amplitude), "size_px": recipe.size_px, "seed": scan.recipe.seed}


def simulation_line(summary: SimulationSummary) -> str:
    """Return the line for the screen."""
    return f"{summary['file']}: {summary['frames']} frames of {summary['size_px']} px, seed {summary['seed']}"


def _given_probe(recipe: Recipe, probe_file: Path | None) -> tuple[torch.Tensor | None, float]:
    """Return the probe in a file, if one is given, and the size of the object pixel, m."""
    if probe_file is None:
        return None, PIXEL_SIZE_M
    found = read_probe(probe_file)
    side_px = found.probe.shape[-1]
    if side_px != recipe.size_px:
        raise ProbeMismatchError(
            f"the probe in {probe_file} has {side_px} px but --size is {recipe.size_px}; give --size {side_px}"
        )
    return torch.from_numpy(found.probe), found.pixel_size_m or PIXEL_SIZE_M


def run_datagen(output: Path, config: Path, as_json: bool) -> None:
    """Write the scans of a workflow configuration to a directory."""
    datagen = Datagen(workflow_of(config, None))
    written = []
    with progress(len(datagen), "simulating", "scans") as bar:
        for path in datagen.write(output):
            written.append(str(path))
            bar.update()
            if not as_json:
                typer.echo(str(path))
    if as_json:
        typer.echo(json.dumps([{"file": path} for path in written]))
